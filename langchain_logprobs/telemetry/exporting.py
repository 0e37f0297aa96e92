"""The thread that exports rests, so that streams seldom meet it.

A batch of 512 token spans keeps OpenTelemetry's encoder busy for tens of milliseconds, in pure
Python. It looks at each of our spans, though, and is then in our code: that is where it rests. Only
a batch processor's own thread does, and one that empties its queue for us: for whatever other
thread exports, somebody waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from langchain_logprobs.telemetry import aside
from langchain_logprobs.telemetry.rests import SLICE, pause
from langchain_logprobs.telemetry.worker import SHARED


def rest() -> None:
    """Has this thread rest if it exports and that is due; to be called every few spans."""
    if _HERE.rests is not None:
        _HERE.rests.take()


def processor_of(thread: threading.Thread) -> object | None:
    """The batch processor whose own thread this is: no other thread runs a method of one."""
    processor = getattr(getattr(thread, "_target", None), "__self__", None)
    if isinstance(getattr(processor, "_shutdown", None), bool) and hasattr(processor, "_queue"):
        return processor
    return None


class _Rests:
    """When the thread that this is made in rests, which exports for a processor."""

    def __init__(self, processor: object) -> None:
        self._processor = processor
        self._woke, self._worked = time.monotonic(), time.thread_time()

    def take(self) -> None:
        """Rests, if that is due."""
        now = time.monotonic()
        if now - self._woke < SLICE or (worked := time.thread_time() - self._worked) < SLICE:
            return
        pause(SHARED.budget.settle(worked, now), self._is_hurried)
        # Anew, after the rest: where threads are greenlets, all of them share the other clock.
        self._woke, self._worked = time.monotonic(), time.thread_time()

    def _is_hurried(self) -> bool:
        """Whether anything could get lost meanwhile, or somebody waits."""
        return (
            SHARED.is_hurried
            or getattr(self._processor, "_shutdown", False) is True
            or _is_crowded(getattr(self._processor, "_queue", None))
        )


def _is_crowded(queue: object) -> bool:
    """Whether more of the queue is taken than our share: the application needs the rest of it."""
    return isinstance(queue, deque) and len(queue) > (queue.maxlen or 0) // 2 > 0


class _Here(threading.local):
    """The rests of each thread; `None` for those that take none."""

    def __init__(self) -> None:
        thread = threading.current_thread()
        processor = processor_of(thread)
        takes = processor is not None or thread.name == aside.NAME
        self.rests = _Rests(processor) if takes else None


_HERE = _Here()
