"""The background worker: in order, in slices, waited for, and never counting a thing twice."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from conftest import PATIENCE, wait_until

from langchain_logprobs.telemetry import worker as worker_module
from langchain_logprobs.telemetry.worker import Job, Worker

PLENTY = 10_000


@dataclass
class Told:
    """What jobs told of themselves."""

    sent: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)

    def job(
        self, name: str, *slices: int, before: Callable[[], object] | None = None, lane: str = ""
    ) -> Job:
        def run() -> Iterator[int]:
            for count in slices:
                if before is not None:
                    before()
                self.sent.append(name)
                yield count

        return Job(sum(slices), run(), self.lost.append, self.failed.append, lane)


@dataclass
class Ticking:
    """A ticker that notes what it is asked."""

    tick_seconds: float = 0.001
    ticks: threading.Event = field(default_factory=threading.Event)
    heard: list[str] = field(default_factory=list)

    def tick(self) -> None:
        self.ticks.set()

    def at_exit(self) -> None:
        self.heard.append("exit")

    def after_fork(self) -> None:
        self.heard.append("fork")

    def __hash__(self) -> int:
        return id(self)


class Counting(Ticking):
    """A ticker that says when it has ticked a hundred times."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.enough = 0, threading.Event()

    def tick(self) -> None:
        self.count += 1
        if self.count == 100:
            self.enough.set()


def test_jobs_are_done_in_the_order_in_which_they_came() -> None:
    worker, told = Worker(), Told()

    taken = [worker.submit(told.job(name, 1, 1), limit=PLENTY) for name in "abc"]

    assert taken == [True] * 3
    assert worker.flush(PATIENCE)
    assert told.sent == list("aabbcc")
    assert worker.pending == 0


def test_what_would_pass_the_limit_is_not_taken() -> None:
    worker, told, gate = Worker(), Told(), threading.Event()
    worker.submit(told.job("a", 6, before=gate.wait), limit=10)

    assert not worker.submit(told.job("b", 5), limit=10)
    assert worker.submit(told.job("c", 4), limit=10)
    assert worker.pending == 10
    gate.set()
    assert worker.flush(PATIENCE)
    assert (told.sent, told.lost) == (["a", "c"], [])


def test_lanes_take_turns() -> None:
    worker, told, gate = Worker(), Told(), threading.Event()
    worker.submit(told.job("first", 1, before=gate.wait), limit=PLENTY)

    for name, lane in (("a", "one"), ("b", "one"), ("c", "two")):
        worker.submit(told.job(name, 1, 1, lane=lane), limit=PLENTY)
    gate.set()

    assert worker.flush(PATIENCE)
    assert told.sent == ["first", "a", "c", "a", "c", "b", "b"]


def blocked(told: Told, gate: threading.Event, count: int) -> Job:
    """A job that has no room until the gate opens."""

    def run() -> Iterator[int]:
        while not gate.is_set():
            yield 0
        told.sent.append("blocked")
        yield count

    return Job(count, run(), told.lost.append, told.failed.append, "blocked")


def test_a_lane_that_is_blocked_holds_up_itself_alone() -> None:
    worker, told, gate = Worker(), Told(), threading.Event()
    for _ in range(100):
        worker.submit(blocked(told, gate, 10), limit=PLENTY)

    worker.submit(told.job("a", *[1] * 20, lane="free"), limit=PLENTY)

    assert worker.flush(PATIENCE, "free")
    assert told.sent == ["a"] * 20
    assert not worker.flush(0.05, "blocked")
    assert not worker.flush(0.05)
    assert worker.pending == 1000
    gate.set()
    assert worker.flush(PATIENCE)
    assert told.sent.count("blocked") == 100


class Looks(threading.Event):
    """A gate that counts how often somebody looks at it."""

    count = 0

    def is_set(self) -> bool:
        self.count += 1
        return super().is_set()


def test_a_worker_whose_lanes_are_all_blocked_sleeps() -> None:
    worker, told, looks = Worker(), Told(), Looks()
    began = time.monotonic()
    worker.submit(blocked(told, looks, 10), limit=PLENTY)

    assert not worker.flush(0.5)
    looked, seconds = looks.count, time.monotonic() - began
    looks.set()

    assert worker.flush(PATIENCE)
    assert 1 <= looked <= 2 + seconds / worker_module.WAIT  # going round would be thousands


def test_the_limit_is_that_of_each_lane() -> None:
    worker, told, gate = Worker(), Told(), threading.Event()
    assert worker.submit(blocked(told, gate, 10), limit=10)

    assert not worker.submit(blocked(told, gate, 1), limit=10)
    assert worker.submit(told.job("a", 10, lane="free"), limit=10)
    assert worker.flush(PATIENCE, "free")
    gate.set()
    assert worker.flush(PATIENCE)


def test_an_error_loses_the_rest_of_its_job_and_no_other() -> None:
    worker, told = Worker(), Told()

    def fail() -> None:
        if told.sent:
            raise OSError("full")

    worker.submit(told.job("a", 1, 2, 3, before=fail), limit=PLENTY)
    worker.submit(told.job("b", 1), limit=PLENTY)

    assert worker.flush(PATIENCE)
    assert told.sent == ["a", "b"]
    assert told.lost == [5]
    assert [str(error) for error in told.failed] == ["full"]
    assert worker.pending == 0


def test_what_a_job_ends_without_having_sent_is_lost() -> None:
    worker, told = Worker(), Told()
    job = told.job("a", 1)
    job.left = 3

    worker.submit(job, limit=PLENTY)

    assert worker.flush(PATIENCE)
    assert told.lost == [2]


def test_what_is_given_up_is_counted_once_even_while_it_is_being_sent() -> None:
    worker, told, gate, begun = Worker(), Told(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait()

    worker.submit(told.job("a", 2, 2, before=wait), limit=PLENTY)
    worker.submit(told.job("b", 3), limit=PLENTY)
    begun.wait()

    assert worker.give_up() == 7
    gate.set()
    worker.submit(told.job("c", 1), limit=PLENTY)
    assert worker.flush(PATIENCE)
    assert told.lost == [4, 3]
    assert told.sent == ["a", "c"]  # the slice under way could not be called back
    assert worker.pending == 0


def test_flush_waits_no_longer_than_it_is_told() -> None:
    worker, told, gate = Worker(), Told(), threading.Event()
    worker.submit(told.job("a", 1, before=gate.wait), limit=PLENTY)

    started = time.monotonic()
    assert not worker.flush(0.05)  # it would wait for ever
    assert time.monotonic() - started >= 0.05
    gate.set()
    assert worker.flush(PATIENCE)


def test_exit_waits_for_as_long_as_something_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "EXIT_PATIENCE", 2.0)
    worker, told = Worker(), Told()
    worker.submit(told.job("a", *[1] * 10, before=lambda: time.sleep(0.25)), limit=PLENTY)

    worker.at_exit()

    assert (len(told.sent), told.lost, worker.pending) == (10, [], 0)


def test_exit_gives_up_what_does_not_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "EXIT_PATIENCE", 0.05)
    monkeypatch.setattr(worker_module, "EXIT_TIMEOUT", 2 * PATIENCE)
    worker, told, gate = Worker(), Told(), threading.Event()
    worker.submit(told.job("a", 3, before=gate.wait), limit=PLENTY)

    started = time.monotonic()
    worker.at_exit()

    assert time.monotonic() - started < PATIENCE
    assert told.lost == [3]
    gate.set()


def test_exit_gives_up_what_gets_on_too_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "EXIT_TIMEOUT", 0.2)
    worker, told = Worker(), Told()
    worker.submit(told.job("a", *[1] * PLENTY, before=lambda: time.sleep(0.02)), limit=PLENTY)

    worker.at_exit()

    # The slice under way may still be sent.
    assert len(told.sent) + sum(told.lost) in {PLENTY, PLENTY + 1}
    assert sum(told.lost) > PLENTY / 2


def test_tickers_tick_for_as_long_as_they_exist() -> None:
    worker, ticker = Worker(), Ticking()

    worker.look_after(ticker)

    assert ticker.ticks.wait(PATIENCE)
    alive = weakref.ref(ticker)
    del ticker
    wait_until(lambda: alive() is None)


def test_a_ticker_ticks_as_often_as_it_asks_whatever_others_ask() -> None:
    worker, often, seldom = Worker(), Counting(), Ticking(tick_seconds=3600)
    worker.look_after(seldom)

    worker.look_after(often)

    assert often.enough.wait(PATIENCE)
    assert not seldom.ticks.is_set()


def test_a_ticker_that_comes_later_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "TICK", 3600)
    worker, seldom, told = Worker(), Ticking(tick_seconds=3600), Told()
    worker.look_after(seldom)
    worker.submit(told.job("a", 1), limit=PLENTY)
    assert worker.flush(PATIENCE)  # nothing is left to do but to wait for an hour

    often = Counting()
    worker.look_after(often)

    assert often.enough.wait(PATIENCE)


def test_tickers_hear_of_the_exit_and_of_a_fork() -> None:
    worker, ticker, told = Worker(), Ticking(tick_seconds=60), Told()
    worker.look_after(ticker)
    worker.submit(told.job("a", 1, before=lambda: time.sleep(3600)), limit=PLENTY)

    worker.after_fork()
    worker.at_exit()

    assert ticker.heard == ["fork", "exit"]
    assert worker.pending == 0
    worker.submit(told.job("b", 1), limit=PLENTY)
    assert worker.flush(PATIENCE)
    assert told.sent == ["b"]


def broken(_: object) -> None:
    raise OSError("gone")


def test_what_is_raised_by_whom_a_job_tells_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    worker, told = Worker(), Told()

    def fail() -> Iterator[int]:
        yield 1
        raise ValueError

    worker.submit(Job(3, fail(), lost=broken, failed=broken), limit=PLENTY)
    worker.submit(told.job("after", 1), limit=PLENTY)

    assert worker.flush(PATIENCE)
    assert (told.sent, worker.pending) == (["after"], 0)
    assert [of.exc_info[0] for of in caplog.records if of.exc_info] == [OSError, OSError]


def test_the_exit_gives_up_all_that_is_left_whoever_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Leaving(Ticking):
        def at_exit(self) -> None:
            broken(self)

    monkeypatch.setattr(worker_module, "EXIT_PATIENCE", 0.01)
    worker, told, leaving, gate = Worker(), Told(), Leaving(tick_seconds=60), threading.Event()
    worker.look_after(leaving)
    worker.submit(Job(1, blocked(told, gate, 1).slices, broken, broken, "blocked"), limit=PLENTY)
    worker.submit(blocked(told, gate, 2), limit=PLENTY)

    worker.at_exit()
    gate.set()

    assert told.lost == [2]
    assert [of.exc_info[0] for of in caplog.records if of.exc_info] == [OSError, OSError]


def test_a_ticker_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Raising:
        tick_seconds = 0.01

        def tick(self) -> None:
            raise RuntimeError

        def at_exit(self) -> None:
            """Holds nothing."""

        def after_fork(self) -> None:
            """Holds nothing."""

    worker, raising = Worker(), Raising()
    worker.look_after(raising)

    wait_until(lambda: caplog.records)
    assert worker.submit(Job(1, iter([1]), lambda _: None, lambda _: None), limit=1)
    assert worker.flush(PATIENCE)
