"""The thread that exports rests, so that streams seldom meet it.

An encoder in pure Python never gives the interpreter away by itself: whoever wakes up meanwhile
gets it at the switch interval only, 5 ms later. A batch of 512 token spans keeps OpenTelemetry's
encoder busy for several of these. It looks at each of our spans, though, and is then in our code:
there it rests, in proportion to the processor time that it took.

Only a batch processor's own thread rests: whatever other thread exports, somebody waits for. What a
thread waits for anyhow (a receiver that answers slowly, the next batch) is rest as well.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from langchain_logprobs.telemetry.worker import SHARED

SLICE = 0.0005
"""Seconds of work between two rests: what a token may be late for them."""
RATIO = 2.0
"""Rest, in all, for each second of work: a third of the time is worked."""
LEAST = 0.2
"""Rest for each second of work that was rested for in advance: others get in between."""
MOST_SAVED = 0.1
"""Seconds of rest in advance: about what a batch of 512 token spans owes OpenTelemetry's encoder."""
PIECE = 0.01
"""Seconds of rest at once: so soon is noticed that somebody is in a hurry."""


@dataclass(slots=True)
class Account:
    """What a thread has rested beyond what it owes.

    Attributes:
        saved: Seconds; below zero it owes them.
    """

    saved: float = 0.0

    def due(self, worked: float, rested: float) -> float:
        """How long to rest now.

        Args:
            worked: Seconds of processor time since this was last asked.
            rested: All other seconds since then.
        """
        saved = self.saved + rested - RATIO * worked
        self.saved = max(-MOST_SAVED, min(MOST_SAVED, saved))
        return max(-self.saved, LEAST * worked)


class _Rests:
    """When the batch processor's thread that this is made in rests."""

    def __init__(self, processor: object) -> None:
        self._processor = processor
        self._account = Account()
        self._settled = self._woke = time.perf_counter()
        self._worked = time.thread_time()

    def take(self) -> None:
        """Rests, if that is due."""
        now = time.perf_counter()
        if now - self._woke < SLICE:
            return
        worked = time.thread_time() - self._worked
        if worked < SLICE:
            return
        due = self._account.due(worked, now - self._settled - worked)
        self._settled = now
        while due > 0 and not self._is_hurried():
            time.sleep(min(due, PIECE))
            due -= PIECE
        self._woke, self._worked = time.perf_counter(), time.thread_time()

    def _is_hurried(self) -> bool:
        return SHARED.is_hurried or getattr(self._processor, "_shutdown", False) is True


def processor_of(thread: threading.Thread) -> object | None:
    """The batch processor whose own thread this is: no other thread runs a method of one."""
    processor = getattr(getattr(thread, "_target", None), "__self__", None)
    if isinstance(getattr(processor, "_shutdown", None), bool) and hasattr(processor, "_queue"):
        return processor
    return None


class _Here(threading.local):
    """The rests of each thread; `None` where there are none."""

    def __init__(self) -> None:
        processor = processor_of(threading.current_thread())
        self.rests = None if processor is None else _Rests(processor)


_HERE = _Here()


def rest() -> None:
    """Has a batch processor's own thread rest, if that is due: to be called every few spans."""
    if _HERE.rests is not None:
        _HERE.rests.take()
