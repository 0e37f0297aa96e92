"""Which run is inside which, and that nothing is lost, told twice or kept."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from langchain_logprobs.core.capture import Capture, Ended, OpenCall
from langchain_logprobs.core.model import Completion, ModelCall, RunTree
from langchain_logprobs.core.report import CallReport, call_report
from langchain_logprobs.core.tokens import TokenLogprob


def uid(number: int) -> UUID:
    return UUID(int=number)


def a_capture(*, max_open_calls: int = 1000, max_tokens: int = 1000) -> Capture:
    return Capture(max_open_calls=max_open_calls, max_tokens=max_tokens)


def a_call(number: int, parent: int | None = None, *, at: int = 0) -> OpenCall:
    return OpenCall(
        run_id=uid(number),
        root_run_id=uid(number),
        parent_run_id=None if parent is None else uid(parent),
        started_ns=at,
        operation="chat",
        model=None,
        provider=None,
        requested=True,
        metadata={},
        parameters={},
    )


def a_report(number: int, root: int, tokens: int = 1) -> CallReport:
    return call_report(
        ModelCall(
            run_id=uid(number),
            root_run_id=uid(root),
            started_ns=0,
            ended_ns=1,
            completions=(Completion(tokens=(TokenLogprob("a", -0.1),) * tokens),),
        )
    )


def start(capture: Capture, number: int, parent: int | None = None, *, at: int = 0) -> None:
    capture.start_run(uid(number), None if parent is None else uid(parent), f"run {number}", at)


def end(capture: Capture, number: int, *, at: int = 9) -> Ended:
    return capture.end_run(uid(number), "ok", None, at)


def numbers(calls: Any) -> list[int]:
    return [call.run_id.int for call in calls]


# Trees


def test_a_call_belongs_to_the_outermost_run_it_is_in() -> None:
    capture = a_capture()
    start(capture, 1, at=5)
    start(capture, 2, 1)
    start(capture, 3, 2)
    call = a_call(4, 3)

    capture.start_call(call)

    assert (call.root_run_id, call.root_name, call.root_started_ns) == (uid(1), "run 1", 5)


def test_a_call_alone_is_its_own_root() -> None:
    capture, call = a_capture(), a_call(1)

    capture.start_call(call)

    assert (call.root_run_id, call.root_name, call.root_started_ns) == (uid(1), None, None)
    assert len(capture) == 1
    assert capture.end_call(uid(1)) is call
    assert len(capture) == 0


def test_a_call_that_was_given_the_id_of_the_run_around_it_ends_by_itself_alone() -> None:
    capture, call = a_capture(), a_call(1, 1)
    start(capture, 1)

    capture.start_call(call)
    start(capture, 2, 1)

    assert (call.root_run_id, call.root_name, call.inside) == (uid(1), "run 1", None)
    assert capture.end_call(uid(1)) is call
    assert end(capture, 1).calls == ()
    assert len(capture) == 0


def test_a_run_that_was_given_the_id_of_an_open_call_is_that_call() -> None:
    capture, inner = a_capture(), a_call(3, 2)
    start(capture, 1)
    capture.start_call(a_call(2, 1))

    start(capture, 2, 1)
    capture.start_call(inner)

    assert (inner.root_run_id, inner.inside) == (uid(1), uid(2))
    assert end(capture, 2) == Ended()
    assert numbers(end(capture, 1).calls) == [2, 3]
    assert len(capture) == 0


def test_a_parent_that_nobody_told_of_is_none() -> None:
    capture = a_capture()
    call = a_call(2, 99)
    capture.start_call(call)
    start(capture, 3, 98)

    assert call.root_run_id == uid(2)
    ended = end(capture, 3)
    assert ended.tree == RunTree(root_run_id=uid(3), name="run 3", started_ns=0, ended_ns=9)
    assert capture.end_call(uid(2)) is call
    assert len(capture) == 0


def test_the_end_of_a_root_run_is_its_tree_with_the_reports_in_order() -> None:
    capture = a_capture()
    start(capture, 1)
    reports = [a_report(number, 1) for number in (7, 5, 6)]
    for report in reports:
        capture.add_report(report)

    ended = capture.end_run(uid(1), "error", "ValueError", 20)

    assert ended.reports == tuple(reports)
    assert ended.tree == RunTree(
        root_run_id=uid(1),
        name="run 1",
        started_ns=0,
        ended_ns=20,
        outcome="error",
        error="ValueError",
    )
    assert len(capture) == 0


def test_a_report_of_a_tree_that_has_ended_or_never_was_is_not_kept() -> None:
    capture = a_capture()
    start(capture, 1)
    end(capture, 1)

    capture.add_report(a_report(2, 1))
    capture.add_report(a_report(3, 77))
    start(capture, 1)

    assert end(capture, 1).reports == ()


def test_the_end_of_an_unknown_run_is_nothing() -> None:
    assert end(a_capture(), 5) == Ended()


def test_a_run_ends_once() -> None:
    capture = a_capture()
    start(capture, 1)

    assert end(capture, 1).tree is not None
    assert end(capture, 1) == Ended()


def test_a_call_ends_once() -> None:
    capture = a_capture()
    capture.start_call(a_call(1))

    assert capture.end_call(uid(1)) is not None
    assert capture.end_call(uid(1)) is None
    assert capture.call(uid(1)) is None


# What is open inside


def test_the_end_of_a_run_closes_the_calls_inside_it_at_any_depth_and_no_others() -> None:
    capture = a_capture()
    start(capture, 1)
    start(capture, 2, 1)
    start(capture, 3, 2)
    for number, parent in [(10, 1), (20, 2), (30, 3)]:
        capture.start_call(a_call(number, parent))

    ended = end(capture, 2)

    assert numbers(ended.calls) == [20, 30]
    assert ended.tree is None
    assert numbers(capture.open_calls()) == [10]
    assert numbers(end(capture, 1).calls) == [10]
    assert len(capture) == 0


def test_what_is_still_open_inside_an_ended_run_is_its_parents() -> None:
    capture = a_capture()
    start(capture, 1)
    start(capture, 2, 1)
    start(capture, 3, 2)
    start(capture, 4, 3)
    end(capture, 3)  # before its child
    capture.start_call(a_call(40, 4))

    assert numbers(end(capture, 2).calls) == [40]
    start(capture, 5, 4)
    capture.start_call(a_call(50, 5))
    assert capture.open_calls()[0].root_run_id == uid(1)
    assert numbers(end(capture, 4).calls) == [50]
    end(capture, 5)
    assert end(capture, 1).tree is not None
    assert len(capture) == 0


def test_a_call_made_by_a_call_belongs_to_the_same_tree() -> None:
    capture = a_capture()
    start(capture, 1)
    start(capture, 2, 1)
    capture.start_call(a_call(10, 2))
    inner = a_call(11, 10)  # a model that calls a model
    capture.start_call(inner)
    start(capture, 12, 10)  # and a chain

    assert inner.root_run_id == uid(1)
    capture.end_call(uid(10))  # what it called is open still
    assert numbers(end(capture, 2).calls) == [11]
    assert end(capture, 12).tree is None
    end(capture, 1)
    assert len(capture) == 0


def test_a_call_made_by_a_lone_call_is_alone_too() -> None:
    capture = a_capture()
    capture.start_call(a_call(1))
    inner = a_call(2, 1)

    capture.start_call(inner)

    assert inner.root_run_id == uid(2)
    assert [numbers(ended.calls) for ended in capture.expire(100, 200)] == [[1], [2]]
    assert len(capture) == 0


def test_a_start_told_twice_is_one_start() -> None:
    capture, first = a_capture(), a_call(10, 1)
    start(capture, 1)
    start(capture, 2, 1)
    start(capture, 1, 2)  # nobody is inside its own child
    start(capture, 2)
    assert capture.start_call(first) == ()
    assert capture.start_call(a_call(10, 2)) == ()

    assert (capture.call(uid(10)), first.told) == (first, 2)
    assert end(capture, 2) == Ended()
    assert numbers(end(capture, 1).calls) == [10]
    assert len(capture) == 0


def test_a_run_inside_itself_is_a_root() -> None:
    capture = a_capture()
    start(capture, 1, 1)

    assert end(capture, 1).tree is not None
    assert len(capture) == 0


# Bounds


def test_the_oldest_calls_are_given_up_when_there_are_too_many() -> None:
    capture = a_capture(max_open_calls=2)
    start(capture, 1)
    given_up = [numbers(capture.start_call(a_call(number, 1))) for number in (10, 11, 12, 13)]

    assert given_up == [[], [], [10], [11]]
    assert capture.end_call(uid(10)) is None
    assert numbers(end(capture, 1).calls) == [12, 13]


def test_reports_beyond_a_trees_bounds_are_counted() -> None:
    calls, tokens = a_capture(max_open_calls=2), a_capture(max_tokens=5)
    for capture in (calls, tokens):
        start(capture, 1)
        for number in (10, 11, 12):
            capture.add_report(a_report(number, 1, tokens=2))

    for capture in (calls, tokens):
        ended = end(capture, 1)
        assert (len(ended.reports), ended.omitted) == (2, 1)


def test_the_oldest_trees_go_when_there_are_too_many() -> None:
    capture = a_capture(max_open_calls=2)
    for number in (1, 2, 3):
        start(capture, number, at=100)

    (ended,) = capture.expire(0, 200)

    assert ended.tree is not None
    assert (ended.tree.root_run_id, ended.tree.outcome) == (uid(1), "abandoned")
    assert len(capture) == 2


def test_what_gave_no_sign_of_life_expires_and_the_rest_stays() -> None:
    capture = a_capture()
    start(capture, 1, at=10)
    capture.start_call(a_call(2, 1, at=10))
    capture.start_call(a_call(3, at=10))
    start(capture, 4, at=10)
    capture.start_call(a_call(5, 4, at=10))
    capture.start_call(a_call(6, at=10))
    for alive in (uid(5), uid(6)):
        call = capture.call(alive)
        assert call is not None
        call.events.append((90, "a", None, None))

    expired = capture.expire(50, 200)

    assert [numbers(ended.calls) for ended in expired] == [[2], [3]]
    assert [ended.tree and ended.tree.ended_ns for ended in expired] == [200, None]
    assert numbers(capture.open_calls()) == [5, 6]
    assert capture.expire(50, 200) == []


@pytest.mark.parametrize("sign", ["start_run", "start_call", "end_run"])
def test_a_tree_in_which_anything_happens_is_alive(sign: str) -> None:
    capture = a_capture()
    start(capture, 1, at=10)
    start(capture, 2, 1, at=10)
    match sign:
        case "start_run":
            start(capture, 3, 1, at=90)
        case "start_call":
            capture.start_call(a_call(3, 1, at=90))
        case _:
            end(capture, 2, at=90)

    assert capture.expire(50, 100) == []


def test_clear_forgets_everything_even_while_the_lock_is_held() -> None:
    capture = a_capture()
    start(capture, 1)
    capture.start_call(a_call(2, 1))
    capture._lock.acquire()  # as by a thread that did not come along through the fork

    capture.clear()

    assert len(capture) == 0
    assert capture.open_calls() == ()
    assert end(capture, 1) == Ended()


# Whatever order things come in


class Runs(RuleBasedStateMachine):
    """Callbacks in any order, of runs and calls that may be anywhere, told twice, or unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.capture = a_capture(max_open_calls=5, max_tokens=20)
        self.now = 0
        self.started: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.trees: Counter[int] = Counter()
        self.roots: Counter[int] = Counter()

    def take(self, ended: Ended) -> None:
        self.delivered.update(numbers(ended.calls))
        if ended.tree is not None:
            self.trees[ended.tree.root_run_id.int] += 1

    # Nothing keeps an application from giving a run and a call the same id (10 to 12).
    @rule(run=st.integers(0, 6) | st.integers(10, 12), parent=st.none() | st.integers(0, 15))
    def run_starts(self, run: int, parent: int | None) -> None:
        self.now += 1
        known = uid(run) in self.capture._root_of
        start(self.capture, run, parent, at=self.now)
        if not known and uid(run) in self.capture._trees:
            self.roots[run] += 1

    @rule(call=st.integers(10, 15), parent=st.none() | st.integers(0, 15))
    def call_starts(self, call: int, parent: int | None) -> None:
        self.now += 1
        known = self.capture.call(uid(call)) is not None
        given_up = self.capture.start_call(a_call(call, parent, at=self.now))
        self.started[call] += not known
        self.delivered.update(numbers(given_up))

    @rule(call=st.integers(10, 15))
    def call_ends(self, call: int) -> None:
        ended = self.capture.end_call(uid(call))
        if ended is not None:
            self.delivered[call] += 1
            self.capture.add_report(a_report(call, ended.root_run_id.int))

    @rule(run=st.integers(0, 15))
    def run_ends(self, run: int) -> None:
        self.now += 1
        self.take(end(self.capture, run, at=self.now))

    @rule(age=st.integers(0, 20))
    def time_passes(self, age: int) -> None:
        for ended in self.capture.expire(self.now - age, self.now):
            self.take(ended)

    @rule()
    @precondition(lambda self: self.now > 30)
    def the_process_forks(self) -> None:
        for call in self.capture.open_calls():
            self.delivered[call.run_id.int] += 1
        self.trees.update(root.int for root in self.capture._trees)
        self.capture.clear()
        assert len(self.capture) == 0

    @invariant()
    def every_call_is_open_or_was_delivered_once(self) -> None:
        still = Counter(numbers(self.capture.open_calls()))
        assert self.started == self.delivered + still
        assert self.roots == self.trees + Counter(root.int for root in self.capture._trees)

    @invariant()
    def bounds_hold_and_the_indexes_agree(self) -> None:
        capture = self.capture
        assert len(capture.open_calls()) <= 5
        for tree in capture._trees.values():
            assert set(tree.parents) == {of for group in tree.children.values() for of in group}
            assert set(tree.calls) <= set(tree.parents)
            assert all(tree.children.values())
            assert len(tree.reports) <= 5
            assert tree.tokens <= 20
        runs = {run for tree in capture._trees.values() for run in tree.parents}
        calls = {call for tree in capture._trees.values() for call in tree.calls}
        assert set(capture._root_of) == runs - calls

    def teardown(self) -> None:
        for ended in self.capture.expire(self.now + 1, self.now + 1):
            self.take(ended)
        assert len(self.capture) == 0
        assert self.started == self.delivered


Runs.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestRuns = Runs.TestCase


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_under_threads_every_call_ends_exactly_once(seed: int) -> None:
    capture = a_capture(max_open_calls=50)
    for root in range(12):
        start(capture, root)
    starts, threads = 60, 8
    delivered: list[int] = []  # append is atomic
    barrier = threading.Barrier(threads)

    def work(thread: int) -> None:
        random = Random(seed + thread)
        barrier.wait()
        # Each starts its own share, and ends what others may be ending too.
        for step in range(starts):
            root = random.randrange(12)
            calls = list(capture.start_call(a_call(1000 * thread + 1000 + step, root)))
            other = 1000 * random.randrange(threads) + 1000 + random.randrange(starts)
            calls += filter(None, [capture.end_call(uid(other))])
            calls += end(capture, root).calls if step % 10 == 0 else ()
            silent = capture.expire(0, 1) if step % 20 == 0 else []
            delivered.extend(numbers([*calls, *(call for of in silent for call in of.calls)]))

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for left in capture.expire(10, 10):
        delivered.extend(numbers(left.calls))

    assert len(capture) == 0
    assert sorted(delivered) == sorted(set(delivered))
    assert len(delivered) == threads * starts
