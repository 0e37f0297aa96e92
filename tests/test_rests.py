"""Threads in the background rest in proportion to what they work, unless somebody is in a hurry."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from conftest import PATIENCE, wait_until
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.exporters.encoding import encode_spans
from langchain_logprobs.telemetry import exporting, names
from langchain_logprobs.telemetry.aside import Aside
from langchain_logprobs.telemetry.exporting import Exporting
from langchain_logprobs.telemetry.pace import FEW, SLICE, pace_of
from langchain_logprobs.telemetry.rests import LEAST, MOST, PIECE, RATIO, Budget, pause
from langchain_logprobs.telemetry.sink import OpenTelemetrySink
from langchain_logprobs.telemetry.worker import (
    BURST_SECONDS,
    ROOM,
    SHARED,
    Job,
    Worker,
    _Lane,
)
from langchain_logprobs.testing import ScriptedChatModel, answer

TOKENS = 2_000


def test_a_part_of_the_time_is_worked() -> None:
    budget, now, worked = Budget(), 100.0, 0.0

    for slice_ in [0.001, 0.0005, 0.003] * 1000:
        now += slice_
        worked += slice_
        now += budget.settle(slice_, now)

    assert worked / (now - 100.0) == pytest.approx(1 / (1 + RATIO), rel=0.03)


def test_threads_share_the_time_and_take_turns() -> None:
    budget = Budget(ratio=2.0, paid_until=100.0)

    first = budget.settle(0.001, now=100.001)
    second = budget.settle(0.001, now=100.001)

    assert first == pytest.approx(0.002)
    assert second == pytest.approx(first + 0.003)


def test_waiting_is_rest_too() -> None:
    budget = Budget(ratio=2.0, paid_until=100.0)

    assert budget.settle(0.010, now=100.010) == pytest.approx(0.020)
    assert budget.settle(0.010, now=100.030 + 0.010 + 0.050) == pytest.approx(LEAST * 0.010)


def test_an_idle_hour_is_worth_no_more_than_the_most_that_can_be_saved() -> None:
    budget = Budget(ratio=2.0, paid_until=100.0)

    begun = 3700.0
    first = budget.settle(MOST, now=begun + MOST)

    assert first == pytest.approx(MOST)  # instead of twice that


def test_nobody_rests_for_long_at_once() -> None:
    budget = Budget(ratio=2.0, paid_until=100.0)

    assert budget.settle(60.0, now=160.0) == pytest.approx(LEAST * 60.0)
    assert budget.paid_until == pytest.approx(160.0 + MOST)


def test_a_pause_ends_when_it_is_over() -> None:
    looks: list[float] = []

    def is_over() -> bool:
        looks.append(time.monotonic())
        return len(looks) > 3

    pause(3600.0, is_over)

    assert len(looks) == 4
    assert looks[-1] - looks[0] >= 2 * PIECE


def test_a_lane_presses_once_its_room_is_short_or_its_burst_does_not_end() -> None:
    limit = 100_000
    young, old = BURST_SECONDS - 1, BURST_SECONDS + 1

    assert not _Lane(pending=limit - ROOM, limit=limit, since=0.0).presses(young)
    assert _Lane(pending=limit - ROOM + 1, limit=limit, since=0.0).presses(young)
    assert not _Lane(pending=limit // 4, limit=limit, since=0.0).presses(old)
    assert _Lane(pending=limit // 4 + 1, limit=limit, since=0.0).presses(old)


@pytest.mark.parametrize(("things", "seen_then"), [(ROOM - 1, [False]), (ROOM + 1, [True])])
def test_a_worker_whose_room_is_short_does_not_rest(things: int, seen_then: list[bool]) -> None:
    worker, seen = Worker(), list[bool]()
    done = threading.Event()

    def slices() -> Iterator[int]:
        seen.append(worker.is_hurried)
        yield things
        done.set()

    worker.submit(Job(things, slices(), print, print), limit=2 * ROOM)

    assert done.wait(PATIENCE)
    assert seen == seen_then
    wait_until(lambda: not worker.is_hurried)


def waiting_for_a_hurry() -> Worker:
    """A worker whose only job gets on once somebody is in a hurry."""
    worker = Worker()

    def slices() -> Iterator[int]:
        while not worker.is_hurried:
            yield 0
        yield 1

    worker.submit(Job(1, slices(), print, print), limit=10 * ROOM)
    return worker


def test_who_flushes_has_everybody_hurry() -> None:
    worker = waiting_for_a_hurry()

    assert worker.flush(PATIENCE)
    assert not worker.is_hurried


def test_who_exits_has_everybody_hurry() -> None:
    worker = waiting_for_a_hurry()
    worker.at_exit()

    assert worker.pending == 0


def test_a_hurry_lasts_until_the_last_is_through() -> None:
    worker = Worker()

    with worker.hurried():
        with worker.hurried():
            pass
        assert worker.is_hurried
    assert not worker.is_hurried


def test_a_child_process_is_in_no_hurry_of_its_parents() -> None:
    worker = Worker()

    with worker.hurried():
        worker.after_fork()
        assert not worker.is_hurried
    assert not worker.is_hurried


def test_a_thread_that_rests_hurries_with_the_worker_the_shutdown_and_a_crowded_queue() -> None:
    processor = SimpleNamespace(_shutdown=False, _queue=deque([1, 2], maxlen=4))
    rests = exporting._Rests(processor)

    assert not rests._is_hurried()
    with SHARED.hurried():
        assert rests._is_hurried()
    processor._queue.append(3)
    assert rests._is_hurried()
    processor._queue.clear()
    processor._shutdown = True
    assert rests._is_hurried()


class Encoding(SpanExporter):
    """An exporter that encodes, and counts what it was given."""

    def __init__(self, encode: Callable[[Sequence[ReadableSpan]], object]) -> None:
        self.names: list[str] = []
        self._encode = encode

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._encode(spans)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("encode", [standard, encode_spans], ids=["theirs", "ours"])
def test_the_thread_that_exports_rests_and_everything_arrives(
    encode: Callable[[Sequence[ReadableSpan]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[tuple[str, float]] = []

    def noted(seconds: float, is_over: Callable[[], bool]) -> None:
        rested.append((threading.current_thread().name, seconds))
        pause(seconds, is_over)

    monkeypatch.setattr(exporting, "pause", noted)
    exporter = Encoding(encode)
    processor = BatchSpanProcessor(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    handler = LogprobsCallbackHandler(tracer_provider=provider, max_token_spans=None)
    ScriptedChatModel(answers=[answer(*["a"] * TOKENS)]).invoke(
        "?", config={"callbacks": [handler]}
    )
    wait_until(lambda: len(exporter.names) >= TOKENS // 2)  # nobody waits, so far

    thread = processor._batch_processor._worker_thread
    assert {name for name, _ in rested} == {thread.name}
    assert all(seconds > 0 for _, seconds in rested)
    assert handler.flush(PATIENCE)
    assert exporter.names.count(names.TOKEN_SPAN) == TOKENS
    provider.shutdown()


def test_who_is_waited_for_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "pause", lambda *_: pytest.fail("It rested."))

    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        exporting.rest()


def test_a_thread_that_empties_a_queue_for_us_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    rested = threading.Event()
    monkeypatch.setattr(exporting, "pause", lambda *_: rested.set())

    def works() -> None:
        while not rested.is_set():
            exporting.rest()

    Aside(works)

    assert rested.wait(PATIENCE)


class Clock:
    """A thread's, to be put forward."""

    def __init__(self) -> None:
        self.shown = 5.0

    def __call__(self) -> float:
        return self.shown


def test_a_thread_that_works_more_than_its_part_gets_nothing_until_it_has_rested() -> None:
    clock = Clock()
    thread = Exporting(clock, clock(), Budget(ratio=2.0, paid_until=100.0))

    assert thread.has_rested(now=100.0)
    clock.shown += 0.030
    assert not thread.has_rested(now=100.030)
    assert not thread.has_rested(now=100.085)
    assert thread.has_rested(now=100.095)


def test_a_thread_that_waits_for_a_network_gets_more_at_once() -> None:
    clock = Clock()
    thread = Exporting(clock, clock(), Budget(ratio=2.0, paid_until=100.0))

    for batch in range(1, 100):
        clock.shown += 0.030
        assert thread.has_rested(now=100.0 + batch * 0.130)


def test_who_exports_is_given_nothing_until_it_has_rested_unless_somebody_is_in_a_hurry() -> None:
    clock = Clock()
    idle = pace_of(TracerProvider(shutdown_on_exit=False))
    busy = replace(idle, threads=[Exporting(clock, clock())])

    assert busy.has_room()
    clock.shown += 60.0
    assert not busy.has_room()
    clock.shown += 60.0
    with SHARED.hurried():
        assert busy.has_room()


def test_the_clock_of_a_thread_shows_what_it_has_worked() -> None:
    assert exporting._tells_clocks() == hasattr(time, "pthread_getcpuclockid")
    if exporting._tells_clocks():
        clock = partial(exporting._worked, threading.get_native_id())
        before = time.thread_time()
        assert before <= clock() <= time.thread_time()


def test_a_thread_that_has_ended_works_no_more() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()

    assert thread.native_id is not None
    if exporting._tells_clocks():
        wait_until(partial(_shows_nothing, thread.native_id))


def _shows_nothing(native_id: int) -> bool:
    return exporting._worked(native_id) == 0.0


class Nosy(SpanProcessor):
    """A processor that looks at spans when they start: these have to be started."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        del parent_context
        span.set_attribute("tenant", "one")


class AtOnce(Worker):
    """A worker that does all slices of a job when it is submitted, and notes them."""

    def submit(self, job: Job, *, limit: int) -> bool:
        del limit
        self.slices = list(job.slices)
        return True


@pytest.mark.parametrize(
    ("processors", "sizes"),
    [([], [1, SLICE, SLICE]), ([Nosy()], [1, *[FEW] * (2 * SLICE // FEW)])],
    ids=["made", "started"],
)
def test_spans_that_have_to_be_started_come_a_few_at_once(
    processors: list[SpanProcessor], sizes: list[int]
) -> None:
    provider, worker = TracerProvider(shutdown_on_exit=False), AtOnce()
    for processor in processors:
        provider.add_span_processor(processor)
    sink = OpenTelemetrySink(tracer_provider=provider, worker=worker)
    handler = LogprobsCallbackHandler(sinks=[sink])

    ScriptedChatModel(answers=[answer(*["a"] * (1 + 2 * SLICE))]).invoke(
        "?", config={"callbacks": [handler]}
    )

    assert worker.slices == sizes
