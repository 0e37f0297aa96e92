"""What is read while a call is in flight: the same report, in less time at its end."""

from __future__ import annotations

import copy
import json
import math
import os
import threading
import time
import weakref
from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
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
from langchain_logprobs import ahead as ahead_module
from langchain_logprobs.ahead import (
    AHEAD,
    ENOUGH,
    FIRST,
    FREED,
    HELD,
    LEAST,
    LOOK,
    MANY,
    MOST,
    PART,
    ReadingAhead,
)
from langchain_logprobs.core import columns
from langchain_logprobs.core.capture import Capture, Event, OpenCall
from langchain_logprobs.core.confidence import TokenMeasures, measure
from langchain_logprobs.core.finish import finish
from langchain_logprobs.core.measures import by_token, columns_of, take_measures
from langchain_logprobs.core.model import tokens_of
from langchain_logprobs.core.packed import chained, packed
from langchain_logprobs.core.places import read_at_once
from langchain_logprobs.core.report import call_report
from langchain_logprobs.core.tokens import (
    TokenLogprob,
    Tokens,
    as_tuple,
    joined,
    settle,
    side_by_side,
)
from langchain_logprobs.telemetry.worker import SHARED, Ticker, Worker
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


class Still(Worker):
    """A worker that leaves it to the test when a ticker ticks."""

    def look_after(self, ticker: Ticker, *, within: float | None = None) -> None: ...


def reading(*calls: OpenCall, with_candidates: bool = True) -> ReadingAhead:
    ahead = ReadingAhead(Still())
    for call in calls:
        ahead.call_started(call, with_candidates=with_candidates)
    return ahead


def read_all(ahead: ReadingAhead) -> None:
    """Has it look, and read until it has nothing to do at once, again and again."""
    for _ in range(2):
        ahead.tick()
        while ahead.tick_seconds == 0:
            ahead.tick()


def entries_of(call: OpenCall) -> list[dict[str, Any]]:
    """What the application has been handed of it so far."""
    return [of.generation_info["logprobs"]["content"][0] for _, _, of, _ in call.events[1:]]


def report_of(call: OpenCall, *, with_candidates: bool = True, **how: Any) -> CallReport:
    finished, unavailable = finish(call, outcome="ok", ended_ns=10**9, **how)
    labels = {"$": [" 1.0", " 1.2"]} if with_candidates else None
    report = call_report(finished, unavailable=unavailable, labels=labels)
    for of in finished.completions:
        settle(tokens_of(of), with_candidates=with_candidates)
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
    st.lists(st.tuples(st.integers(0, 400), UNUSUAL), max_size=3),
    st.integers(0, 8),
    st.sampled_from([100, 200_000]),
    st.booleans(),
    st.booleans(),
)
def test_a_report_is_the_same_however_much_was_read_ahead(
    unusual: list[tuple[int, list[Any]]],
    ticks: int,
    max_tokens: int,
    is_ended: bool,  # noqa: FBT001 - drawn
    with_candidates: bool,  # noqa: FBT001 - drawn
) -> None:
    events = stream(400)
    for at, entries in unusual:
        events.insert(at, event(at, *entries))
    call = a_call(events)
    ahead = reading(call, with_candidates=with_candidates)

    for _ in range(ticks):
        ahead.tick()

    assert call.ahead or not ticks
    how: dict[str, Any] = {
        "max_tokens": max_tokens,
        "response": ended([of for _, _, of, _ in events]),
        "with_candidates": with_candidates,
    }
    if not is_ended:
        del how["response"]
    expected = report_of(a_call(events), **how)
    report = report_of(call, **how)
    assert report == expected
    assert repr(report.measured.columns) == repr(expected.measured.columns)
    assert [of.candidates for of in report.tokens] == [of.candidates for of in expected.tokens]
    assert [of.raw for of in report.tokens] == [of.raw for of in expected.tokens]


def test_what_was_read_ahead_stays_column_by_column() -> None:
    call = a_call(stream(1000))  # parts are shorter than PART + MOST

    read_all(reading(call))

    assert len(call.ahead) > 2
    assert isinstance(tokens_at_the_end(call), Tokens)


def test_one_unusual_token_leaves_no_more_than_what_is_read_with_it_to_the_end() -> None:
    call = a_call(stream(600))
    call.events[250] = event(250, {**entry(249), "logprob": Decimal(-1)})

    read_all(reading(call))

    (left,) = [at for at, of in enumerate(call.ahead) if of.tokens is None]
    before = sum(of.events for of in call.ahead[:left])
    assert before <= 250 < before + call.ahead[left].events
    assert call.ahead_events > 600 - MOST


@pytest.mark.parametrize(
    "unusual", [{"logprob": None}, {"logprob": -1}, {"bytes": None}, {"top_logprobs": None}]
)
def test_what_json_has_is_read_ahead_however_unusual(unusual: dict[str, Any]) -> None:
    call, expected = a_call(stream(600)), a_call(stream(600))
    for of in (call, expected):
        for at in range(250, 260):
            of.events[at] = event(at, {**entry(at), **unusual})

    read_all(reading(call))

    assert all(of.tokens is not None for of in call.ahead)
    assert report_of(call) == report_of(expected)


def test_a_call_that_ends_while_it_is_read_is_read_by_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = a_call(stream(3 * FIRST))
    ahead, reports = reading(call), []

    def ending(events: Sequence[Event]) -> Sequence[TokenLogprob] | None:
        reports.append(report_of(call))
        return read_at_once(events)

    monkeypatch.setattr(ahead_module, "read_at_once", ending)
    read_all(ahead)

    assert reports == [report_of(a_call(stream(3 * FIRST)))] * len(reports)
    assert len(reports) > 1


def test_calls_take_turns_and_then_it_looks_again_later() -> None:
    long, short = a_call(stream(FIRST)), a_call(stream(FIRST - 2), UUID(int=8))
    other = a_call(stream(FIRST), UUID(int=9))
    ahead = reading(long, short, other)

    ahead.tick()

    assert [of.ahead_events for of in (long, short, other)] == [FIRST, 0, 0]
    assert ahead.tick_seconds == 0
    ahead.tick()
    assert [of.ahead_events for of in (long, short, other)] == [FIRST, 0, FIRST]
    assert ahead.tick_seconds == LOOK


@pytest.mark.parametrize("width", [0, 20])
def test_so_much_is_read_at_once_as_takes_no_time_that_anybody_notices(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    sizes: list[int] = []

    def noting(events: Sequence[Event]) -> Sequence[TokenLogprob] | None:
        sizes.append(len(events))
        return read_at_once(events)

    monkeypatch.setattr(ahead_module, "read_at_once", noting)
    call = a_call([event(at, *[entry(at, width)] * (width + 1)) for at in range(1000)])
    read_all(reading(call))

    assert all(LEAST <= size <= MOST for size in sizes)
    assert sum(sizes) > 1000 - MOST
    if width:
        assert sizes[-1] < FIRST  # 21 tokens of 20 candidates each


def test_what_was_read_in_small_pieces_is_put_together() -> None:
    call = a_call(stream(1000))

    read_all(reading(call))

    assert all(of.tokens is None or len(of.tokens) >= PART for of in call.ahead[:-1])
    assert len(call.ahead) <= 1000 / PART + 1


@pytest.mark.parametrize("tokens", [90, 400])
def test_where_numbers_are_all_that_is_wanted_candidates_are_let_go_of(tokens: int) -> None:
    call = a_call(stream(tokens))

    read_all(reading(call, with_candidates=False))

    expected = report_of(a_call(stream(tokens)))
    report = report_of(call)
    assert report.confidence == expected.confidence
    assert repr(report.measured.columns) == repr(expected.measured.columns)
    assert [of.raw for of in report.tokens] == [of.raw for of in expected.tokens]
    assert {of.candidates for of in report.tokens[: FIRST - 1]} == {()}


@pytest.mark.parametrize("with_candidates", [True, False])
@pytest.mark.parametrize("width", [0, 1, 3])
def test_what_was_read_ahead_is_measured_by_then(
    width: int,
    with_candidates: bool,  # noqa: FBT001 - a parameter
) -> None:
    call = a_call(stream(PART + 2 * MOST, width)[1:])

    read_all(reading(call, with_candidates=with_candidates))

    assert len(call.ahead) > 1
    start = 0
    for count, tokens in call.ahead:
        assert isinstance(tokens, Tokens)
        fresh = read_at_once(call.events[start : start + count])
        assert fresh is not None
        measured = tuple(map(list, tokens.block.measured))
        assert repr(measured) == repr(tuple(map(list, columns_of(fresh))))
        start += count


def test_measures_are_kept_no_longer_than_their_report_is_made() -> None:
    call = a_call(stream(FIRST - 1))
    read_all(reading(call))
    (known,) = call.ahead
    assert isinstance(known.tokens, Tokens)
    assert known.tokens.block.measured

    report = report_of(call)

    assert isinstance(report.headline, Tokens)
    assert not report.headline.block.measured
    expected = report_of(a_call(stream(FIRST - 1)))
    assert repr(report.measured.columns) == repr(expected.measured.columns)


def test_tokens_of_which_some_are_measured_can_be_put_together() -> None:
    tokens = [tokens_at_the_end(a_call(stream(9))) for _ in range(2)]
    apart = [as_tuple(of) for of in tokens]
    assert isinstance(tokens[0], Tokens)
    take_measures(tokens[0])

    together = joined(tokens)

    expected = [measure(of) for part in apart for of in part]
    assert by_token(columns_of(together)) == expected
    assert list(map(measure, together)) == expected


@pytest.mark.parametrize(("width", "lists"), [(0, 4), (1, 1), (3, 0)])
def test_what_was_read_ahead_takes_little_room(width: int, lists: int) -> None:
    """Without alternatives four measures are `None` for every token, with one alone one is."""
    call = a_call(stream(PART + 2 * MOST, width)[1:])

    read_all(reading(call))

    blocks = [of.tokens.block for of in call.ahead if isinstance(of.tokens, Tokens)]
    assert len(blocks) > 1
    for of in blocks:
        kinds = list(map(type, of.measured))
        assert kinds.count(array) + kinds.count(bytes) == len(TokenMeasures._fields) - lists
        assert not width or type(of.logprobs) is array


def test_numbers_of_candidates_that_nobody_asks_for_are_let_go_of() -> None:
    call = a_call(stream(PART + 2 * MOST)[1:])

    read_all(reading(call, with_candidates=False))

    blocks = [of.tokens.block for of in call.ahead if isinstance(of.tokens, Tokens)]
    assert len(blocks) > 1
    assert not any(of.logprobs or of.entries or any(of.widths) for of in blocks)


def test_what_is_left_of_a_token_without_its_candidates_can_be_measured() -> None:
    tokens = tokens_at_the_end(a_call(stream(3)))
    alone = [TokenLogprob(of.text, of.logprob) for of in tokens]

    settle(tokens, with_candidates=False)

    assert list(map(measure, tokens)) == list(map(measure, alone))


def test_numbers_are_kept_in_little_room() -> None:
    floats, numbers, some = [0.5, -0.0, 1e-300], [1, 2, 255], [1, None, 2.5]

    kept = [packed(of) for of in (floats, numbers, some, [], [1, 256])]

    assert repr(list(map(list, kept))) == repr([floats, numbers, some, [], [1, 256]])
    assert [type(of) for of in kept] == [array, bytes, list, list, array]


def test_what_is_packed_in_one_way_stays_so_when_it_is_put_together() -> None:
    floats, numbers, large = packed([0.5, -0.0]), packed([1, 2]), packed([1, -1])

    for parts in ([floats, floats], [numbers, numbers], [large, large]):
        together = chained(parts)
        assert type(together) is type(parts[0])
        assert repr(list(together)) == repr([*parts[0], *parts[1]])
    for parts in ([numbers, large], [floats, [None]], []):
        assert repr(chained(parts)) == repr([of for part in parts for of in part])


def test_tokens_measured_and_not_are_not_put_side_by_side() -> None:
    tokens = [tokens_at_the_end(a_call(stream(9))) for _ in range(2)]
    assert isinstance(tokens[0], Tokens)
    take_measures(tokens[0])

    with pytest.raises(ValueError, match="shorter"):
        side_by_side(tokens)


def test_no_call_in_flight_no_ticks() -> None:
    call = a_call(stream(5))
    ahead = reading(call)
    ahead.tick()
    assert ahead.tick_seconds == LOOK

    call.may_read_ahead = False
    ahead.tick()

    assert ahead.tick_seconds == math.inf


def test_a_call_that_nobody_holds_any_more_is_forgotten() -> None:
    call = a_call(stream(5))
    ahead = reading(call)
    ahead.tick()

    held = weakref.ref(call)
    del call
    ahead.tick()

    assert held() is None
    assert ahead.tick_seconds == math.inf


def test_of_many_calls_it_is_looked_less_often() -> None:
    calls = [a_call() for _ in range(5 * MANY)]
    ahead = reading(*calls)

    ahead.tick()

    assert ahead.tick_seconds == pytest.approx(5 * LOOK)


def test_a_call_that_has_ended_is_not_read() -> None:
    capture = Capture(max_open_calls=9, max_tokens=9)
    first, call, other = (a_call(stream(FIRST), UUID(int=of)) for of in range(3))
    for of in (first, call, other):
        capture.start_call(of)
    ahead = reading(first, call, other)
    ahead.tick()

    capture.end_call(UUID(int=1))
    read_all(ahead)

    assert [of.ahead_events for of in (first, call, other)] == [FIRST, 0, FIRST]


def test_what_was_read_before_it_was_told_twice_counts_once() -> None:
    """An id that is given twice: of two events, one is the other again."""
    call = a_call([of for each in stream(FIRST) for of in (each, each)])
    ahead = reading(call)
    ahead.tick()
    assert call.ahead

    call.told = 2
    read_all(ahead)

    assert call.ahead_events == FIRST
    assert report_of(call) == report_of(a_call(stream(FIRST)))


class Odd(dict[str, Any]):
    """No dict, strictly."""


class Chunk(ChatGenerationChunk):
    """No chunk of LangChain's, strictly."""


@pytest.mark.parametrize(
    "odd",
    [
        event(1, Odd(entry(1))),  # read one by one
        (1, "a", chunk(info={"logprobs": {"odd": 1}}), None),
        (1, "a", None, {"content": [entry(1)]}),
        (1, "a", Chunk(message=AIMessageChunk(content="a")), None),
    ],
)
def test_what_is_unusual_is_left_for_the_end(odd: Event) -> None:
    call = a_call([odd] * 1000)
    ahead = reading(call)

    read_all(ahead)

    assert {of.tokens for of in call.ahead} == {None}
    assert len(call.ahead) == ENOUGH  # and no more is tried
    assert ahead.tick_seconds == math.inf
    unread = finish(a_call([odd] * 1000), outcome="ok", ended_ns=9).unavailable
    assert finish(call, outcome="ok", ended_ns=9).unavailable == unread


def test_json_of_any_depth_is_read_or_left() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    (odd,) = stream(1)[1:]
    odd[2].generation_info["logprobs"]["content"][0].update(top_logprobs=None, extra=deep)  # type: ignore[attr-defined]

    assert len(read_at_once([odd]) or ()) == 1


def test_what_raises_there_is_left_for_the_end() -> None:
    class Raising(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError(key)

        __iter__ = __len__ = __getitem__  # type: ignore[assignment]

    of = chunk(entry(3))
    of.message.response_metadata = Raising()  # type: ignore[assignment]
    of.generation_info = None
    call = a_call(stream(3 * FIRST))
    call.events[3] = (3, "a", of, None)

    read_all(reading(call))

    assert [of.tokens is None for of in call.ahead] == [True, *[False] * (len(call.ahead) - 1)]


def test_what_no_reader_knows_is_told_of_though_the_rest_was_read() -> None:
    call = a_call([event(at) for at in range(2 * FIRST)])
    call.events[-1] = (1, "a", chunk(info={"logprobs": {"odd": 1}}), None)
    ahead = reading(call)

    ahead.tick()

    assert call.ahead == [(FIRST, ())]
    assert finish(call, outcome="ok", ended_ns=9).unavailable == "unreadable"


def test_thoughts_without_numbers_before_an_answer_do_not_end_it() -> None:
    call = a_call([*(event(at) for at in range(500)), *stream(500)])

    read_all(reading(call))

    assert call.ahead[0] == (FIRST, ())
    assert call.ahead_events > 1000 - MOST
    assert isinstance(tokens_at_the_end(call), Tokens)


@pytest.mark.parametrize("width", [0, 1, 4])
@pytest.mark.parametrize("censored", [False, True])
@pytest.mark.parametrize("change", ["clear", "reverse", "redact", "empty"])
def test_an_application_that_changes_what_it_was_handed_changes_no_number(
    width: int, change: str, *, censored: bool
) -> None:
    events = stream(200, width)
    for (said,) in [of.generation_info["logprobs"]["content"] for _, _, of, _ in events[1:]]:
        if censored and width:
            said["top_logprobs"][-1]["logprob"] = -9999.0
    expected = report_of(a_call(copy.deepcopy(events)))
    call = a_call(events)
    read_all(reading(call))
    read = call.ahead_events - 1
    assert read > 100

    for said in entries_of(call)[:read]:
        top = said["top_logprobs"]
        match change:
            case "clear":
                top.clear()
            case "reverse":
                top.reverse()
            case "redact":
                for of in [said, *top]:
                    of.update(token="***", bytes=None)
            case _:
                for of in [said, *top]:
                    of.clear()

    report = report_of(call)
    assert report.confidence == expected.confidence
    assert repr(report.measured.columns) == repr(expected.measured.columns)
    assert [of.text for of in report.tokens] == [of.text for of in expected.tokens]
    assert [of.raw for of in report.tokens] == [of.raw for of in expected.tokens]
    if change in {"clear", "reverse"}:
        assert report.tokens == expected.tokens


def test_an_application_that_changes_it_at_that_very_moment_gives_no_token_another_s_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call, expected = a_call(stream(2 * FIRST)), a_call(stream(2 * FIRST))
    for of in (call, expected):
        entries_of(of)[3]["logprob"] = 0.0  # not in the usual range
    sound = columns.sound_logprob

    def changing(value: object) -> float | None:
        """When its candidates have been looked at, and are about to be kept."""
        entries_of(call)[3]["top_logprobs"].clear()
        return sound(value)

    monkeypatch.setattr(columns, "sound_logprob", changing)
    reading(call).tick()
    monkeypatch.undo()

    assert call.ahead_events == FIRST
    assert report_of(call) == report_of(expected)


def test_the_chunks_of_a_call_that_has_ended_are_let_go_of_a_few_at_a_time() -> None:
    call, other = a_call(stream(FREED + 9)), a_call(stream(9))
    ahead = reading()

    ahead.call_ended(call)
    ahead.call_ended(other)  # has so few that it would not be worth it

    assert [len(call.events), len(other.events)] == [FREED + 10, 10]
    ahead.tick()
    assert len(call.events) == 10
    assert ahead.tick_seconds == 0
    ahead.tick()
    assert not call.events
    assert ahead.tick_seconds == math.inf


def test_no_more_chunks_than_a_bound_wait_to_be_let_go_of() -> None:
    events = stream(HELD // 2)
    calls = [a_call(events, UUID(int=at)) for at in range(3)]
    ahead = reading()

    for call in calls:
        ahead.call_ended(call)
    read_all(ahead)

    assert [len(call.events) for call in calls] == [0, len(events), len(events)]


def test_reports_keep_what_is_let_go_of() -> None:
    handler = LogprobsCallbackHandler(sinks=[], keep=1)
    run, chunks = streamed(handler, 2 * FIRST)
    (call,) = handler.open_calls()
    run.on_llm_end(ended(chunks))
    before = repr(handler.last)

    wait_until(lambda: not call.events)

    assert repr(handler.last) == before


def test_a_child_process_reads_no_call_of_its_parent() -> None:
    call, other = a_call(stream(FIRST)), a_call(stream(FIRST), UUID(int=8))
    ahead = reading(call, other)
    ahead.tick()

    ahead.after_fork()
    read_all(ahead)

    assert [call.ahead_events, other.ahead_events] == [FIRST, 0]


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
    run, chunks = streamed(handler, 500)
    (call,) = handler.open_calls()

    wait_until(lambda: call.ahead_events > 500 - MOST)
    run.on_llm_end(ended(chunks))

    (report,) = sink.calls
    assert report.text == "".join(of.text for of in chunks)
    assert [of.text for of in report.tokens] == [of.text for of in chunks]
    assert report.confidence.with_candidates == len(chunks)


def test_it_goes_on_with_the_next_call_after_a_rest() -> None:
    handler = LogprobsCallbackHandler(sinks=[CollectingSink()])
    for _ in range(3):
        run, chunks = streamed(handler, FIRST)
        (call,) = handler.open_calls()
        wait_until(partial(len, call.ahead))
        run.on_llm_end(ended(chunks))
        del call
        wait_until(lambda: AHEAD.tick_seconds == math.inf)  # idle again


def test_the_readers_of_the_application_run_on_its_own_threads() -> None:
    asked: set[int] = set()

    def own(_: object) -> None:
        asked.add(threading.get_ident())

    handler = LogprobsCallbackHandler(sinks=[CollectingSink()], shapes=[own])
    other = LogprobsCallbackHandler(sinks=[CollectingSink()])
    run, chunks = streamed(handler, 2 * FIRST)
    streamed(other, 2 * FIRST)
    (call,), (later,) = handler.open_calls(), other.open_calls()
    wait_until(lambda: later.ahead_events > 2 * FIRST - MOST)  # by then it would have been, too

    run.on_llm_end(ended(chunks))

    assert call.ahead == []
    assert asked == {threading.get_ident()}
    other.close()


def test_a_thousand_handlers_have_one_reader() -> None:
    handlers = [LogprobsCallbackHandler(sinks=[CollectingSink()]) for _ in range(1000)]
    for handler in handlers:
        streamed(handler, 1)

    assert sum(isinstance(of, ReadingAhead) for of in SHARED.tickers()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_reads_ahead_too() -> None:
    handler = LogprobsCallbackHandler(sinks=[CollectingSink()])
    streamed(handler, FIRST)

    child = os.fork()
    if not child:
        try:
            run, chunks = streamed(handler, FIRST)
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


def test_work_done_in_a_tick_is_rested_for() -> None:
    class Working:
        tick_seconds = math.inf
        ticks = 0

        def tick(self) -> None:
            until = time.thread_time() + 0.005
            while time.thread_time() < until:
                pass
            self.ticks += 1

        def at_exit(self) -> None: ...

        def after_fork(self) -> None: ...

    worker, working = Worker(), Working()

    worker.look_after(working, within=0.0)

    wait_until(lambda: worker.budget.paid_until > 0)
    assert working.ticks == 1


def test_a_ticker_that_was_ticking_at_a_fork_ticks_in_the_child() -> None:
    class Ticking:
        """Its first tick is never over: that thread is the parent's."""

        tick_seconds = 0.001
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1
            if self.ticks == 1:
                over.wait(PATIENCE)

        def at_exit(self) -> None: ...

        def after_fork(self) -> None: ...

    over = threading.Event()
    worker, ticking, other = Worker(), Ticking(), Ticking()
    worker.look_after(ticking, within=0.0)
    wait_until(lambda: ticking.ticks)

    worker.after_fork()
    other.ticks = 1
    worker.look_after(other, within=0.0)

    wait_until(lambda: ticking.ticks > 1)
    over.set()
