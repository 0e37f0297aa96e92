"""What would hold up the end of a call, and can be done beside it.

Its tokens are read and measured while it waits for its model. Its chunks, which nobody but us holds
any longer, are let go of after it: to free them takes a fifth of the time that it takes to read
them.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass
from weakref import ReferenceType, ref

from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from langchain_logprobs.core.capture import Event, OpenCall, ReadAhead
from langchain_logprobs.core.measures import take_measures
from langchain_logprobs.core.places import read_at_once
from langchain_logprobs.core.tokens import Tokens, side_by_side
from langchain_logprobs.telemetry.rests import SLICE
from langchain_logprobs.telemetry.worker import SHARED, Worker

LOOK = 0.05
"""Seconds between two looks at what has come of the calls in flight."""
MANY = 100
"""Of more calls than this, it is looked less often."""
FIRST, LEAST, MOST = 32, 16, 64
"""Token callbacks read at once: of a call that has not been read yet, and what they may become."""
PART = 192
"""Tokens to keep together: each part takes room of its own."""
FREED = 256
"""Token callbacks let go of at once."""
HELD = 20_000
"""Token callbacks that may be waiting for that, of calls that have ended."""
ENOUGH = 3
"""Times in a row that what is tried cannot be read at once, after which no more is tried."""
_CHUNKS = {ChatGenerationChunk, GenerationChunk}
"""What may be looked at in a thread of ours: of a chunk of another kind nobody knows what it does
there, such as wait for a lock."""


@dataclass(slots=True, eq=False)
class _Call:
    """A call in flight, for as long as somebody else holds it.

    Attributes:
        held: The call.
        with_candidates: Whether anybody may ask for more of these than their numbers.
        size: How many of its events to read at once.
        left: How many times in a row these had to be left for the end of the call.
    """

    held: ReferenceType[OpenCall]
    with_candidates: bool
    size: int = FIRST
    left: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be read ahead."""
        call = self.held()
        return call is not None and call.may_read_ahead and call.told == 1 and self.left < ENOUGH

    @property
    def has_enough(self) -> bool:
        """Whether there is as much to read of it as is read at once."""
        call = self.held()
        return (
            call is not None and self.is_open and len(call.events) - call.ahead_events >= self.size
        )

    def read(self) -> None:
        """Reads some of its events."""
        call = self.held()
        if call is None:
            return
        begun = time.thread_time()
        start = call.ahead_events
        events = call.events[start : start + self.size]
        call.ahead.append(ReadAhead(len(events), None))
        self.left += 1
        chunks = {type(chunk) for _, _, chunk, _ in events}
        tokens = read_at_once(events) if chunks <= _CHUNKS else None
        if tokens is not None:
            if isinstance(tokens, Tokens):
                take_measures(tokens)
                if not self.with_candidates:
                    tokens.block.forget()
            call.ahead[-1] = ReadAhead(len(events), tokens)
            _merge(call.ahead)
            self.left = 0
        share = SLICE / max(time.thread_time() - begun, SLICE / 2)
        self.size = max(LEAST, min(MOST, int(self.size * share)))


def _merge(ahead: list[ReadAhead]) -> None:
    """Puts what was read last to what was read before it: a few of these take too much room."""
    match ahead[-2:]:
        case [(some, Tokens() as before), (more, Tokens() as last)] if len(before) < PART:
            together = side_by_side([before, last])
            ahead.pop()  # first: a call that ends in this moment must find nothing twice
            ahead[-1] = ReadAhead(some + more, together)


class ReadingAhead:
    """A ticker that reads, at each tick, a few of the tokens of a call that waits for its model.

    Only what is plain JSON, in a provider's usual shape: the rest may run anybody's code, and is
    left for the call's end.

    One is enough for all handlers, of which there may be thousands.

    Args:
        worker: Lets it tick.
    """

    def __init__(self, worker: Worker = SHARED) -> None:
        self._worker = worker
        self._started: deque[_Call] = deque()  # in any thread
        self._calls: list[_Call] = []
        self._waiting: deque[_Call] = deque()
        self._ended: deque[list[Event]] = deque()
        self.tick_seconds = math.inf
        """How long until the next tick; for ever, if no call is in flight."""

    def call_started(self, call: OpenCall, *, with_candidates: bool) -> None:
        """Reads a call's tokens from now on, as they come.

        Args:
            call: Is not kept alive by that.
            with_candidates: Whether anybody may ask for more of these than their numbers.
        """
        self._started.append(_Call(ref(call), with_candidates))
        self._worker.look_after(self, within=LOOK)

    def call_ended(self, call: OpenCall) -> None:
        """Lets go of what was heard of a call, once nobody needs it any more."""
        events = call.events
        if len(events) >= FIRST and sum(map(len, list(self._ended))) + len(events) <= HELD:
            self._ended.append(events)
            self._worker.look_after(self, within=LOOK)

    def tick(self) -> None:
        """Reads what the call whose turn it is has, if any has some; or else looks for some."""
        self._let_go()
        if not self._waiting:
            self._look()
        while self._waiting:
            call = self._waiting.popleft()
            if call.has_enough:
                # What is wrong is met again at the end of the call, which tells.
                with contextlib.suppress(Exception):
                    call.read()
                if call.has_enough:
                    self._waiting.append(call)
                break
        is_busy = self._waiting or self._ended
        self.tick_seconds = 0.0 if is_busy else self._until_next_look()

    def at_exit(self) -> None:
        """Has nothing to hand over."""

    def after_fork(self) -> None:
        """Forgets the calls: in a child process, they are the parent's."""
        for calls in (self._started, self._calls, self._waiting, self._ended):
            calls.clear()

    def _let_go(self) -> None:
        if self._ended:
            del self._ended[0][-FREED:]
            if not self._ended[0]:
                self._ended.popleft()

    def _look(self) -> None:
        while self._started:
            self._calls.append(self._started.popleft())
        self._calls = [call for call in self._calls if call.is_open]
        self._waiting.extend(call for call in self._calls if call.has_enough)

    def _until_next_look(self) -> float:
        """The more calls there are, the slower each gets on, and the longer a look takes."""
        return LOOK * max(1.0, len(self._calls) / MANY) if self._calls else math.inf


AHEAD = ReadingAhead()
"""The process's own."""
