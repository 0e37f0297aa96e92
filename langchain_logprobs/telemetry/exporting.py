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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from weakref import WeakKeyDictionary

from langchain_logprobs.telemetry import aside
from langchain_logprobs.telemetry.rests import SLICE, Budget, pause
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


@dataclass(slots=True)
class Exporting:
    """A thread that exports, by the processor time that it takes.

    Most token spans have it rest while it encodes them. Those that were started and ended do not:
    so it gets no more of them than a part of its time is enough for.

    Attributes:
        clock: Tells how long it has worked.
        worked: What it showed when this was last looked at.
        budget: What the thread may work.
    """

    clock: Callable[[], float]
    worked: float
    budget: Budget = field(default_factory=Budget)

    def has_rested(self, now: float) -> bool:
        """Whether it may be given more to do."""
        before, self.worked = self.worked, self.clock()
        self.budget.settle(self.worked - before, now)
        return self.budget.paid_until <= now


_EXPORTING: WeakKeyDictionary[threading.Thread, Exporting] = WeakKeyDictionary()


def exporting_of(thread: threading.Thread) -> Exporting | None:
    """What is known of a thread that exports, if its processor time can be told."""
    if not thread.native_id or not _tells_clocks():
        return None
    clock = partial(_worked, thread.native_id)
    return _EXPORTING.setdefault(thread, Exporting(clock, clock()))


def _worked(native_id: int) -> float:
    """Seconds of processor time that a thread has taken; none, once it has ended."""
    try:
        return time.clock_gettime(_clock(native_id))
    except OSError:
        return 0.0


def _clock(native_id: int) -> int:
    """The id of a thread's clock, as Linux defines it.

    To ask `pthread_getcpuclockid` of a thread that has just ended can end the process.
    """
    return ~native_id << 3 | 6


@cache
def _tells_clocks() -> bool:
    """Whether that is what this system calls the clock of a thread, asked of this one."""
    try:
        return time.pthread_getcpuclockid(threading.get_ident()) == _clock(
            threading.get_native_id()
        )
    except (AttributeError, OSError):  # neither Windows nor macOS has it
        return False
