"""What is read while a call is in flight: the same report, in less time at its end."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from conftest import PATIENCE, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult

from langchain_logprobs import CallReport, LogprobsCallbackHandler
from langchain_logprobs.ahead import LOOK, MANY, ReadingAhead
from langchain_logprobs.core.capture import Capture, Event, OpenCall
from langchain_logprobs.core.columns import STRIDE
from langchain_logprobs.core.finish import finish
from langchain_logprobs.core.model import tokens_of
from langchain_logprobs.core.report import call_report
from langchain_logprobs.core.shapes import SHAPES
from langchain_logprobs.core.tokens import TokenLogprob, Tokens, settle
from langchain_logprobs.telemetry.worker import Worker
from langchain_logprobs.testing import CollectingSink

RUN = UUID(int=7)


def entry(at: int, width: int = 3) -> dict[str, Any]:
    """The datum of a token, as OpenAI sends it."""
    top = [
        {"token": f" {at}.{of}", "logprob": -0.1 - of - at % 7, "bytes": [32, at % 256, of]}
        for of in range(width)
    ]
    return {**(top or [{"token": " ", "logprob": -0.5, "bytes": [32]}])[0], "top_logprobs": top}


def chunk(*entries: Any, info: Any = None) -> ChatGenerationChunk:
    said = {"logprobs": {"content": list(entries), "refusal": None}} if entries else info
    text = "".join(of["token"] for of in entries)
    return ChatGenerationChunk(message=AIMessageChunk(content=text), generation_info=said)


def event(at: int, *entries: Any) -> Event:
    of = chunk(*entries)
    return at, of.text, of, None


def stream(tokens: int, width: int = 3) -> list[Event]:
    """An answer: a chunk without tokens, as the first is, and those of the tokens."""
    return [event(0), *(event(at, entry(at, width)) for at in range(tokens))]


def a_call(events: Sequence[Event] = (), run: UUID = RUN, **given: Any) -> OpenCall:
    return OpenCall(
        **{
            "run_id": run,
            "root_run_id": run,
            "parent_run_id": None,
            "started_ns": 1,
            "operation": "chat",
            "model": None,
            "provider": None,
            "requested": True,
            "metadata": {},
            "parameters": {},
            "events": list(events),
            **given,
        }
    )


class Guarded:
    """A guard, and what it has met."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def __call__(self, _: str, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - what a guard is for
            self.errors.append(error)


def reading(
    *calls: OpenCall, with_candidates: bool = False, guard: Guarded | None = None
) -> tuple[ReadingAhead, Capture]:
    capture = Capture(max_open_calls=10_000, max_tokens=100_000)
    for call in calls:
        capture.start_call(call)
    ahead = ReadingAhead(capture, SHAPES, with_candidates=with_candidates, guard=guard or Guarded())
    return ahead, capture


def ticked(ahead: ReadingAhead) -> int:
    """How many ticks it takes until it has nothing more to do at once."""
    ticks = 1
    ahead.tick()
    while ahead.tick_seconds == 0:
        ahead.tick()
        ticks += 1
    return ticks


def report_of(call: OpenCall) -> CallReport:
    finished, unavailable = finish(call, outcome="ok", ended_ns=10**9)
    report = call_report(finished, unavailable=unavailable)
    for of in finished.completions:
        settle(tokens_of(of), with_candidates=True)
    return report


def tokens_at_the_end(call: OpenCall) -> Sequence[TokenLogprob]:
    (of,) = finish(call, outcome="ok", ended_ns=9).call.completions
    return tokens_of(of)


UNUSUAL = st.sampled_from(
    [
        [],
        [entry(1), entry(2)],
        [entry(3, 0)],
        [{**entry(4), "bytes": None}],
        [{**entry(5), "logprob": None}],
        [{**entry(6), "logprob": -9999.0}],
        [{**entry(7), "top_logprobs": entry(7)["top_logprobs"][::-1]}],
        [{**entry(8), "token": "bytes:\\xf0"}],
    ]
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 600), UNUSUAL), max_size=3),
    st.booleans(),
    st.integers(0, 4),
)
def test_a_report_is_the_same_however_much_was_read_ahead(
    unusual: list[tuple[int, list[Any]]],
    with_candidates: bool,  # noqa: FBT001 - drawn
    strides: int,
) -> None:
    events = stream(STRIDE * 3 + 5)
    for at, entries in unusual:
        events.insert(at, event(at, *entries))
    call = a_call(events)
    ahead, _ = reading(call, with_candidates=with_candidates)

    for _ in range(2 * strides):
        ahead.tick()

    assert len(call.ahead) <= strides
    expected = report_of(a_call(events))
    report = report_of(call)
    assert report == expected
    assert repr(report.measured.columns) == repr(expected.measured.columns)
    assert [of.candidates for of in report.tokens] == [of.candidates for of in expected.tokens]
    assert [of.raw for of in report.tokens] == [of.raw for of in expected.tokens]


@pytest.mark.parametrize("with_candidates", [False, True])
def test_what_was_read_ahead_stays_column_by_column(*, with_candidates: bool) -> None:
    call = a_call(stream(3 * STRIDE))
    ahead, _ = reading(call, with_candidates=with_candidates)

    ticked(ahead)

    assert list(map(len, call.ahead)) == [STRIDE - 1, STRIDE, STRIDE]
    tokens = tokens_at_the_end(call)
    assert isinstance(tokens, Tokens)
    assert tokens.block.is_settled is with_candidates


def test_calls_take_turns_a_stride_each_and_then_it_looks_again_later() -> None:
    long, short = a_call(stream(2 * STRIDE)), a_call(stream(STRIDE - 2), UUID(int=8))
    other = a_call(stream(2 * STRIDE), UUID(int=9))
    ahead, _ = reading(long, short, other)

    ahead.tick()  # looks
    ahead.tick()
    ahead.tick()

    assert [len(of.ahead) for of in (long, short, other)] == [1, 0, 1]
    ticked(ahead)
    assert [len(of.ahead) for of in (long, short, other)] == [2, 0, 2]
    assert ahead.tick_seconds == LOOK


def test_no_call_in_flight_no_ticks() -> None:
    call = a_call(stream(5))
    ahead, capture = reading(call)
    ahead.tick()
    assert ahead.tick_seconds == LOOK

    capture.end_call(RUN)
    ahead.tick()

    assert ahead.tick_seconds == math.inf


def test_of_many_calls_it_is_looked_less_often() -> None:
    ahead, _ = reading(*(a_call((), UUID(int=of)) for of in range(5 * MANY)))

    ahead.tick()

    assert ahead.tick_seconds == pytest.approx(5 * LOOK)


def test_a_call_that_has_ended_is_not_read() -> None:
    call, other = a_call(stream(STRIDE)), a_call(stream(STRIDE), UUID(int=8))
    ahead, capture = reading(call, other)
    ahead.tick()

    capture.end_call(RUN)
    ticked(ahead)

    assert [len(call.ahead), len(other.ahead)] == [0, 1]


@pytest.mark.parametrize("given", [{"wanted": False}, {"told": 2}])
def test_what_nobody_wants_or_is_told_twice_is_left(given: dict[str, Any]) -> None:
    call = a_call(stream(STRIDE), **given)
    ahead, _ = reading(call)

    ticked(ahead)

    assert call.ahead == []
    assert ahead.tick_seconds == math.inf


def test_what_was_read_before_it_was_told_twice_counts_once() -> None:
    """An id that is given twice: of two events, one is the other again."""
    events = [of for each in stream(STRIDE) for of in (each, each)]
    call = a_call(events)
    ahead, _ = reading(call)
    ticked(ahead)
    assert call.ahead

    call.told = 2

    assert report_of(call) == report_of(a_call(stream(STRIDE)))


def test_tokens_that_are_read_one_by_one_are_left_for_the_end() -> None:
    class Odd(dict[str, Any]):
        """No dict, strictly."""

    events = [event(at, Odd(entry(at))) for at in range(2 * STRIDE)]
    call = a_call(events)
    ahead, _ = reading(call)

    ticked(ahead)

    assert call.ahead == []
    assert not call.is_read_ahead
    assert len(report_of(call).tokens) == 2 * STRIDE


def test_thoughts_without_numbers_before_an_answer_do_not_end_it() -> None:
    call = a_call([*(event(at) for at in range(STRIDE)), *stream(STRIDE)])
    ahead, _ = reading(call)

    ticked(ahead)

    assert list(map(len, call.ahead)) == [0, STRIDE - 1]
    assert isinstance(tokens_at_the_end(call), Tokens)


def test_an_unreadable_datum_is_told_of_at_the_end() -> None:
    broken = [event(at) for at in range(STRIDE)]
    broken[3] = (3, "a", chunk(info={"logprobs": {"odd": 1}}), None)
    call, guard = a_call([*broken, *broken]), Guarded()
    ahead, _ = reading(call, guard=guard)

    ticked(ahead)

    assert (call.ahead, guard.errors) == ([], [])
    assert finish(call, outcome="ok", ended_ns=9).unavailable == "unreadable"


def test_a_chunk_that_raises_is_met_once_and_left_for_the_end() -> None:
    class Raising:
        @property
        def generation_info(self) -> object:
            raise RuntimeError("no")

    call, guard = a_call([(1, "a", Raising(), None)] * 2 * STRIDE), Guarded()
    ahead, _ = reading(call, guard=guard)

    ticked(ahead)
    ticked(ahead)

    assert [str(error) for error in guard.errors] == ["no"]
    assert not call.is_read_ahead


@pytest.mark.parametrize("width", [0, 1, 4])
def test_an_application_that_empties_its_lists_meanwhile_changes_no_number(width: int) -> None:
    events = stream(STRIDE, width)
    expected = report_of(a_call(stream(STRIDE, width)))
    call = a_call(events)
    ahead, _ = reading(call)
    ticked(ahead)
    assert call.ahead

    for at, (_, _, of, _) in enumerate(events[1:-1]):
        (said,) = of.generation_info["logprobs"]["content"]
        if at % 3 == 0:
            said["top_logprobs"].clear()
        if at % 3 == 1 and width:
            said["top_logprobs"][0] = None

    report = report_of(call)
    assert report.confidence == expected.confidence
    assert repr(report.measured.columns) == repr(expected.measured.columns)
    for at, of in enumerate(report.tokens[:-1]):
        known = [of.logprob for of in expected.tokens[at].candidates]
        assert [of.logprob for of in of.candidates] == known
        if at % 3 == 2:
            assert of == expected.tokens[at]


def test_candidates_taken_over_ahead_are_what_they_were() -> None:
    events = stream(2 * STRIDE)
    call = a_call(events)
    ahead, _ = reading(call, with_candidates=True)
    ticked(ahead)

    for _, _, of, _ in events[1 : STRIDE - 1]:
        (said,) = of.generation_info["logprobs"]["content"]
        said["top_logprobs"].clear()

    assert report_of(call).tokens == report_of(a_call(stream(2 * STRIDE))).tokens


def test_a_child_process_reads_no_call_of_its_parent() -> None:
    call = a_call(stream(STRIDE))
    ahead, _ = reading(call)
    ahead.tick()

    ahead.after_fork()
    ahead.tick()

    assert call.ahead == []


# With a handler, and the worker


def streamed(handler: LogprobsCallbackHandler, tokens: int) -> tuple[Any, list[Any]]:
    """A run that has had so many tokens, and its chunks."""
    manager = CallbackManager.configure([handler])
    (run,) = manager.on_chat_model_start({}, [[]], invocation_params={"logprobs": True})
    chunks = [chunk(entry(at)) for at in range(tokens)]
    for of in chunks:
        run.on_llm_new_token(of.text, chunk=of)
    return run, chunks


def ended(chunks: list[Any]) -> LLMResult:
    whole = chunks[0]
    for of in chunks[1:]:
        whole += of
    return LLMResult(generations=[[whole]])


def test_the_worker_reads_while_the_call_waits_for_its_model() -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink])
    run, chunks = streamed(handler, 3 * STRIDE + 10)
    (call,) = handler.open_calls()

    wait_until(lambda: len(call.ahead) == 3)
    run.on_llm_end(ended(chunks))

    (report,) = sink.calls
    assert report.text == "".join(of.text for of in chunks)
    assert [of.text for of in report.tokens] == [of.text for of in chunks]
    assert report.confidence.with_candidates == len(chunks)


def test_it_goes_on_with_the_next_call_after_a_rest() -> None:
    handler = LogprobsCallbackHandler(sinks=[CollectingSink()])
    for _ in range(3):
        run, chunks = streamed(handler, STRIDE)
        (call,) = handler.open_calls()
        wait_until(lambda call=call: len(call.ahead) == 1)
        run.on_llm_end(ended(chunks))
        wait_until(lambda: handler._ahead.tick_seconds == math.inf)  # idle again


def test_the_readers_of_the_application_run_on_its_own_threads() -> None:
    asked: set[int] = set()

    def own(_: object) -> None:
        asked.add(threading.get_ident())

    handler = LogprobsCallbackHandler(sinks=[CollectingSink()], shapes=[own])
    run, chunks = streamed(handler, 2 * STRIDE)
    (call,) = handler.open_calls()
    time.sleep(4 * LOOK)

    run.on_llm_end(ended(chunks))

    assert call.ahead == []
    assert len(asked) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_reads_ahead_too() -> None:
    handler = LogprobsCallbackHandler(sinks=[CollectingSink()])
    streamed(handler, STRIDE)

    child = os.fork()
    if not child:
        try:
            run, chunks = streamed(handler, STRIDE)
            (call,) = handler.open_calls()
            until = time.monotonic() + PATIENCE
            while not call.ahead and time.monotonic() < until:
                time.sleep(0.01)
            run.on_llm_end(ended(chunks))
            os._exit(0 if call.ahead else 1)
        finally:
            os._exit(2)

    assert os.waitpid(child, 0)[1] == 0


def test_being_asked_for_during_a_tick_is_not_forgotten() -> None:
    class Asking:
        """A ticker for whom somebody asks while it ticks."""

        tick_seconds = math.inf

        def __init__(self) -> None:
            self.ticks = 0

        def tick(self) -> None:
            self.ticks += 1
            if self.ticks < 3:
                worker.look_after(self, within=0.001)

        def at_exit(self) -> None: ...

        def after_fork(self) -> None: ...

    worker, asking = Worker(), Asking()

    worker.look_after(asking, within=0.0)

    wait_until(lambda: asking.ticks == 3)


def test_a_later_wish_does_not_put_off_an_earlier_one() -> None:
    class Once:
        tick_seconds = math.inf
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1

        def at_exit(self) -> None: ...

        def after_fork(self) -> None: ...

    worker, once = Worker(), Once()

    worker.look_after(once, within=0.05)
    worker.look_after(once, within=3600)

    wait_until(lambda: once.ticks == 1)
