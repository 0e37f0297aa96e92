"""One daemon thread for the whole process that does, in small slices, what can wait.

A thread that never pauses costs the stream's thread more than half of its speed (the interpreter
lock changes hands every 5 ms at the soonest), so the worker rests after every slice. It starts with
the first job, starts anew after a fork, and is waited for at interpreter exit.

Jobs that go the same way wait for each other, in a lane. The lanes take turns: where one is blocked
(an exporter that is dead), the others pass it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from langchain_logprobs.telemetry.rests import LEAST, Budget, pause

_LOG = logging.getLogger("langchain_logprobs")
_Result = TypeVar("_Result")

REST = 0.001
"""Seconds of rest after every slice, at least, unless somebody is in a hurry."""
NOTICED = 0.0001
"""Seconds of work after which no rest is due: nobody notices less."""
ROOM = 5_000
"""Things that a lane always has room for, or else there are no rests: calls end in bursts."""
BURST_SECONDS = 10.0
"""Seconds after which what fills a quarter of a lane is no burst, but more comes than goes."""
WAIT = 0.01
"""Seconds between two looks at lanes that are all blocked."""
TICK = 5.0
"""Seconds between two looks at which tickers are due, at the most."""
EXIT_TIMEOUT = 30.0
"""Seconds that interpreter exit waits for what is under way: as long as OpenTelemetry's own."""
EXIT_PATIENCE = 5.0
"""Seconds without any progress after which interpreter exit waits no longer."""


class Ticker(Protocol):
    """Something that wants to be looked after now and then."""

    @property
    def tick_seconds(self) -> float:
        """How long after a tick the next is due."""

    def tick(self) -> None:
        """Does it; raises nothing."""

    def at_exit(self) -> None:
        """Hands over what it still holds: the interpreter is about to end."""

    def after_fork(self) -> None:
        """Forgets what it holds: in a child process, that is the parent's."""


@dataclass(slots=True, eq=False)
class Job:
    """Work in slices.

    Attributes:
        left: How many things it still has to send.
        slices: Does one slice at a time, and gives how many things that sent: none if there is no
            room for them at present.
        lost: Is told how many of its things will never be sent.
        failed: Is told of what went wrong; the rest of the job is then lost.
        lane: Which other jobs it must not overtake, and may be held up by.
    """

    left: int
    slices: Iterator[int]
    lost: Callable[[int], None]
    failed: Callable[[Exception], None]
    lane: Hashable = None


@dataclass(slots=True)
class _Lane:
    """Jobs in the order in which they came.

    Attributes:
        jobs: Those that are not done.
        pending: How many things they have still to send.
        limit: How many these may be.
        since: When the first came, since there were none.
    """

    jobs: deque[Job] = field(default_factory=deque)
    pending: int = 0
    limit: int = 0
    since: float = field(default_factory=time.monotonic)

    def presses(self, now: float) -> bool:
        """Whether things will be lost unless they go faster than at leisure."""
        is_filling = self.pending > self.limit / 4 and now - self.since > BURST_SECONDS
        return is_filling or self.limit - self.pending < ROOM


class Worker:
    """Runs jobs, one slice at a time and in turns, and lets the tickers tick."""

    def __init__(self) -> None:
        self._tickers: WeakKeyDictionary[Ticker, float] = WeakKeyDictionary()  # when each is due
        self.budget = Budget()
        """What the worker works, and what exporters do for it."""
        self._reset()

    def _reset(self) -> None:
        self._lanes: dict[Hashable, _Lane] = {}  # whose turn it is stands first
        self._blocked = 0
        self._hurries = 0
        self._is_pressed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Things submitted and neither sent nor given up."""
        with self._changed:
            return self._count()

    @property
    def is_hurried(self) -> bool:
        """Whether nobody is to rest: somebody waits, or things would be lost. Takes no lock."""
        return self._is_pressed or self._hurries > 0

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Has nobody rest while this lasts."""
        with self._changed:
            self._hurries += 1
        try:
            yield
        finally:
            with self._changed:
                self._hurries = max(0, self._hurries - 1)  # a fork meanwhile forgot it

    def tickers(self) -> tuple[Ticker, ...]:
        """Those that are looked after."""
        with self._changed:  # handlers come and go in any thread
            return tuple(self._tickers)

    def look_after(self, ticker: Ticker, *, within: float | None = None) -> None:
        """Lets it tick for as long as it exists.

        Args:
            ticker: May be looked after already.
            within: Seconds until its next tick, at the most; what it says itself, if not given.
        """
        due = time.monotonic() + (ticker.tick_seconds if within is None else within)
        with self._changed:
            self._start()
            if due < self._tickers.setdefault(ticker, math.inf):
                self._tickers[ticker] = due
                self._changed.notify_all()

    def submit(self, job: Job, *, limit: int) -> bool:
        """Takes a job, unless more than `limit` things would then be waiting in its lane.

        Returns:
            Whether it was taken; what was not, the caller counts.
        """
        with self._changed:
            lane = self._lanes.get(job.lane) or _Lane()
            if lane.pending + job.left > limit:
                return False
            lane.jobs.append(job)
            lane.pending += job.left
            lane.limit = limit
            self._lanes.setdefault(job.lane, lane)
            self._start()
            self._changed.notify_all()
            return True

    def flush(self, timeout: float, *lanes: Hashable) -> bool:
        """Waits until every job (in these lanes, if any are given) is done; whether they are.

        Args:
            timeout: Seconds to wait at the most.
            lanes: Which to wait for.
        """
        with self.hurried(), self._changed:
            return self._changed.wait_for(
                lambda: self._lanes.keys().isdisjoint(lanes) if lanes else not self._lanes, timeout
            )

    def give_up(self) -> int:
        """Drops the jobs that are left; how many things are lost by that."""
        with self._changed:
            jobs = [job for lane in self._lanes.values() for job in lane.jobs]
            left = [(job, self._take(job, job.left)) for job in jobs]
            self._lanes.clear()
            self._changed.notify_all()
        for job, count in left:
            _guarded(_say, job.lost, count)
        return sum(count for _, count in left)

    def at_exit(self) -> None:
        """Lets the tickers hand over what they hold, and the jobs run out."""
        with self.hurried():
            for ticker in self.tickers():
                _guarded(_say, ticker.at_exit)
            if not self._run_out(time.monotonic() + EXIT_TIMEOUT):
                self.give_up()

    def _run_out(self, until: float) -> bool:
        """Waits for the jobs for as long as they get on, at the longest until then."""
        with self._changed:
            while self._lanes and self._gets_on(min(EXIT_PATIENCE, until - time.monotonic())):
                pass
            return not self._lanes

    def _gets_on(self, patience: float) -> bool:
        left = self._count()
        return self._changed.wait_for(lambda: not self._lanes or self._count() < left, patience)

    def _count(self) -> int:
        return sum(lane.pending for lane in self._lanes.values())

    def _take(self, job: Job, count: int) -> int:
        """Takes things off a job; how many, which is none if it was given up meanwhile."""
        with self._changed:
            taken = min(count, job.left)
            job.left -= taken
            if lane := self._lanes.get(job.lane):
                lane.pending -= taken
            return taken

    def after_fork(self) -> None:
        """In a child process: the jobs are the parent's, and the thread did not come along."""
        self._reset()
        for ticker in self.tickers():
            _guarded(_say, ticker.after_fork)
            self._tickers[ticker] = time.monotonic() + ticker.tick_seconds

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._run, name="langchain-logprobs", daemon=True
            )
            # While the interpreter shuts down no thread starts; the exit handler has run by then.
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._tick()
            job = self._next()
            if job is not None:
                self._do_slice(job)

    # Apart from the loop, whose variables would keep alive what nobody else holds.

    def _tick(self) -> None:
        due, begun = self._due(), time.thread_time()
        for ticker in due:
            with self._changed:
                self._tickers[ticker] = math.inf
            try:
                _guarded(_say, ticker.tick)
            finally:  # meanwhile somebody may have asked for it to be looked after sooner
                self.look_after(ticker)
        if (worked := time.thread_time() - begun) > NOTICED:
            self._rest(worked)

    def _due(self) -> list[Ticker]:
        """The tickers whose time has come."""
        with self._changed:
            now = time.monotonic()
            return [ticker for ticker, at in self._tickers.items() if at <= now]

    def _next(self) -> Job | None:
        """The job whose turn it is, if there is one before a ticker is due or one more comes."""
        with self._changed:
            self._look()
            if self._lanes and self._blocked >= len(self._lanes):
                self._blocked = 0
                self._changed.wait(WAIT)
            if not self._lanes:
                first = min(self._tickers.values(), default=math.inf)
                self._changed.wait(min(TICK, max(0.0, first - time.monotonic())))
            if not self._lanes:
                return None
            turn = next(iter(self._lanes))
            lane = self._lanes[turn] = self._lanes.pop(turn)  # the next lane is first now
            return lane.jobs[0]

    def _look(self) -> None:
        now = time.monotonic()
        self._is_pressed = any(lane.presses(now) for lane in self._lanes.values())

    def _do_slice(self, job: Job) -> None:
        begun = time.thread_time()
        sent = _guarded(partial(_guarded, _say, job.failed), next, job.slices, None)
        if sent is None and (lost := self._take(job, job.left)):
            _guarded(_say, job.lost, lost)
        with self._changed:
            if sent is None:
                self._end(job)
            else:
                self._take(job, sent)
            self._changed.notify_all()
        self._blocked = self._blocked + 1 if sent == 0 else 0
        if sent:
            self._rest(time.thread_time() - begun)

    def _rest(self, worked: float) -> None:
        due = self.budget.settle(worked, time.monotonic())
        if self.is_hurried:
            time.sleep(min(REST, LEAST * worked))
        else:
            pause(max(REST, due), lambda: self.is_hurried)

    def _end(self, job: Job) -> None:
        lane = self._lanes.get(job.lane)
        if lane and lane.jobs[0] is job:  # it may have been given up
            lane.jobs.popleft()
            if not lane.jobs:
                del self._lanes[job.lane]


def _guarded(
    told: Callable[[Exception], object], call: Callable[..., _Result], *args: object
) -> _Result | None:
    """What it returns; `None` where it raises, and somebody is told.

    The far end of the sinks' guard: all that is called here is a sink's or a handler's, and must
    not end the thread that works for all of them.
    """
    try:
        return call(*args)
    except Exception as error:  # noqa: BLE001 - their exporters', span processors', instruments'
        told(error)
        return None


def _say(error: Exception) -> None:
    _LOG.warning("Error in the background, swallowed so that the rest goes on.", exc_info=error)


SHARED = Worker()
"""The process's worker. One is enough, and handlers are often made anew for every call."""


def flush_at_exit() -> None:
    """Has the interpreter wait for the worker at its end, before whoever asked for that earlier.

    Exit handlers run last come, first served, and a tracer provider registers its own when it is
    made: so this is called whenever a new one is met.
    """
    atexit.unregister(SHARED.at_exit)
    atexit.register(SHARED.at_exit)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHARED.after_fork)
