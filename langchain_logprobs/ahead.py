"""Reads the tokens of calls in flight, so that the ends of these need not read them all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from langchain_logprobs.core.capture import Capture, OpenCall
from langchain_logprobs.core.columns import STRIDE
from langchain_logprobs.core.places import read_events
from langchain_logprobs.core.shapes import SHAPES, Shape
from langchain_logprobs.core.tokens import Tokens, settle
from langchain_logprobs.telemetry.worker import SHARED, Worker

LOOK = 0.05
"""Seconds between two looks at what has come of the calls in flight."""
MANY = 100
"""Of more calls than this, it is looked less often."""


class ReadingAhead:
    """A ticker that reads a stride of one call at each tick, while the call waits for its model.

    Only what is read column by column, as most is: the rest would take more room than the payloads
    do, and is left for the end of the call; so is everything where readers of the application's own
    come first, whose code is run on the call's own thread.

    Args:
        capture: Where the calls are.
        shapes: Payload readers, tried in order.
        with_candidates: Whether the texts of candidates will be asked for.
        guard: Calls a function in the name of some part, and gives `None` where it raises.
        worker: Lets it tick.
    """

    def __init__(
        self,
        capture: Capture,
        shapes: Sequence[Shape],
        *,
        with_candidates: bool,
        guard: Callable[[str, Callable[[OpenCall], None], OpenCall], None],
        worker: Worker = SHARED,
    ) -> None:
        self._capture = capture
        self._shapes = shapes
        self._with_candidates = with_candidates
        self._guard = guard
        self._worker = worker
        self._waiting: deque[OpenCall] = deque()
        self.tick_seconds = math.inf
        """How long until the next tick; for ever, if no call is in flight."""

    def call_started(self) -> None:
        """Looks at the calls in flight from now on."""
        if self._shapes[0] is SHAPES[0]:
            self._worker.look_after(self, within=LOOK)

    def tick(self) -> None:
        """Reads a stride, if any call has one that is unread."""
        if self._waiting:
            call = self._waiting.popleft()
            if self._capture.call(call.run_id) is call:  # it may have ended meanwhile
                self._guard("handler", self._read, call)
        else:
            self._look()
        if self._waiting:
            self.tick_seconds = 0.0

    def _look(self) -> None:
        calls = [call for call in self._capture.open_calls() if _may_be_read(call)]
        self._waiting.extend(filter(_has_stride, calls))
        # The more there are, the slower each gets on, and the longer it takes to look at them.
        self.tick_seconds = LOOK * max(1.0, len(calls) / MANY) if calls else math.inf

    def at_exit(self) -> None:
        """Has nothing to hand over."""

    def after_fork(self) -> None:
        """Forgets the calls: in a child process, they are the parent's."""
        self._waiting.clear()

    def _read(self, call: OpenCall) -> None:
        call.is_read_ahead = False  # and stays so, if reading raises
        start = len(call.ahead) * STRIDE
        tokens, unreadable = read_events(call.events[start : start + STRIDE], self._shapes)
        if unreadable or (tokens and not isinstance(tokens, Tokens)):
            return
        if self._with_candidates:
            settle(tokens, with_candidates=True)
        call.ahead.append(tokens)
        call.is_read_ahead = True


def _may_be_read(call: OpenCall) -> bool:
    return call.is_read_ahead and call.wanted and call.told == 1


def _has_stride(call: OpenCall) -> bool:
    return len(call.events) >= (len(call.ahead) + 1) * STRIDE
