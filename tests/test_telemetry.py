"""What is sent, whole: the spans of one call, the metrics, and what the settings leave out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from conftest import Observed, attributes_of
from inline_snapshot import snapshot
from langchain_core.messages import ToolCall
from opentelemetry.sdk.trace import TracerProvider

from langchain_logprobs import (
    LogprobsCallbackHandler,
    OpenTelemetrySink,
    get_logprobs_callback,
    redact,
)
from langchain_logprobs.telemetry import names
from langchain_logprobs.testing import (
    CollectingSink,
    FixedClock,
    ScriptedChatModel,
    answer,
    token,
)

SAID = answer(
    ("Syd", -0.5, {"Syd": -0.5, "Can": -1.5}),
    ("ney", -0.01, {"ney": -0.01, "ny": -5.0}),
)
RUN_ID = UUID(int=1)


def call(handler: LogprobsCallbackHandler, *answers: Any, **config: Any) -> None:
    model = ScriptedChatModel(answers=answers or (SAID,))
    list(model.stream("", {"callbacks": [handler], "run_id": RUN_ID, **config}))
    assert handler.flush()


def rounded(attributes: Any) -> dict[str, Any]:
    return {name: round(of, 6) if isinstance(of, float) else of for name, of in attributes.items()}


def test_the_spans_of_a_call(observed: Observed) -> None:
    handler = observed.handler(clock=FixedClock(), capture_content=True)

    call(handler)

    llm, first, _ = observed.spans()
    assert (llm.name, llm.kind.name, llm.start_time, llm.end_time) == snapshot(
        ("chat scripted-1", "CLIENT", 1001000000, 1007000000)
    )
    assert rounded(attributes_of(llm)) == snapshot(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "scripted",
            "gen_ai.request.model": "scripted-1",
            "gen_ai.response.model": "scripted-1",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.usage.output_tokens": 2,
            "langchain_logprobs.response.confidence": 0.774916,
            "langchain_logprobs.response.perplexity": 1.290462,
            "langchain_logprobs.logprob.mean": -0.255,
            "langchain_logprobs.logprob.sum": -0.51,
            "langchain_logprobs.logprob.min": -0.5,
            "langchain_logprobs.entropy.mean": 0.500743,
            "langchain_logprobs.entropy.max": 0.939455,
            "langchain_logprobs.margin.mean": 2.995,
            "langchain_logprobs.log_odds.min": 0.432752,
            "langchain_logprobs.surprisal.tail": 0.5,
            "langchain_logprobs.window.lowest": 0.774916,
            "langchain_logprobs.tokens.count": 2,
            "langchain_logprobs.tokens.low": 0,
            "langchain_logprobs.tokens.low_ratio": 0.0,
            "langchain_logprobs.tokens.low_longest_run": 0,
            "langchain_logprobs.tokens.with_candidates": 2,
            "langchain_logprobs.response.low": False,
            "langchain_logprobs.tokens.logprobs": (-0.5, -0.01),
            "langchain_logprobs.tokens.texts": ("Syd", "ney"),
            "langchain_logprobs.source": "stream",
            "langchain_logprobs.timed": True,
            "langchain_logprobs.outcome": "ok",
            "langchain_logprobs.run_id": "00000000-0000-0000-0000-000000000001",
        }
    )
    assert (first.name, first.kind.name, first.start_time, first.end_time) == snapshot(
        ("token", "INTERNAL", 1001000000, 1003000000)
    )
    assert rounded(attributes_of(first)) == snapshot(
        {
            "langchain_logprobs.token.index": 0,
            "langchain_logprobs.token.logprob": -0.5,
            "langchain_logprobs.token.probability": 0.606531,
            "langchain_logprobs.token.entropy": 0.939455,
            "langchain_logprobs.token.tail_mass": 0.170339,
            "langchain_logprobs.token.margin": 1.0,
            "langchain_logprobs.token.log_odds": 0.432752,
            "langchain_logprobs.token.rank": 1,
            "langchain_logprobs.token.low": False,
            "langchain_logprobs.token.timed": True,
            "langchain_logprobs.token.channel": "content",
            "langchain_logprobs.token.completion": 0,
            "langchain_logprobs.token.byte_start": 0,
            "langchain_logprobs.token.byte_end": 3,
            "langchain_logprobs.token.text": "Syd",
            "langchain_logprobs.token.candidates": ("Syd", "Can"),
            "langchain_logprobs.token.candidate_logprobs": (-0.5, -1.5),
        }
    )


def test_the_metrics_of_a_call(observed: Observed) -> None:
    call(observed.handler(metric_attributes=("tenant",)), metadata={"tenant": "t1", "user": "u"})

    metrics = {
        name: {tuple(sorted(key)): of for key, of in points.items()}
        for name, points in observed.metrics().items()
    }
    assert metrics == snapshot(
        {
            "langchain_logprobs.response.uncertainty": {
                (
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.response.surprisal": {
                (
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.response.surprisal.max": {
                (
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.response.entropy": {
                (
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.response.tokens": {
                (
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.responses": {
                (
                    ("confidence", "ok"),
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1
            },
            "langchain_logprobs.tokens": {
                (
                    ("band", "medium"),
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1,
                (
                    ("band", "high"),
                    ("gen_ai.operation.name", "chat"),
                    ("gen_ai.provider.name", "scripted"),
                    ("gen_ai.request.model", "scripted-1"),
                    ("gen_ai.response.model", "scripted-1"),
                    ("tenant", "t1"),
                ): 1,
            },
            "langchain_logprobs.token_spans": {(("result", "emitted"),): 2},
        }
    )


def test_every_metric_is_described_as_the_names_say(observed: Observed) -> None:
    call(observed.handler())

    data = observed.reader.get_metrics_data()
    assert data is not None
    sent = {
        of.name: (of.unit, of.description)
        for of in data.resource_metrics[0].scope_metrics[0].metrics
    }
    known = {of.name: (of.unit, of.description) for of in names.INSTRUMENTS}
    assert sent.items() <= known.items()
    assert data.resource_metrics[0].scope_metrics[0].scope.name == "langchain_logprobs"


WORDS = answer(*[(str(n), -0.1 * n) for n in range(10)])  # the last two are under 0.5


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, list(range(10))),
        ({"token_spans": "low"}, [7, 8, 9]),
        ({"token_spans": "none"}, []),
        ({"max_token_spans": 2}, [8, 9]),
        ({"max_token_spans": None}, list(range(10))),
        ({"token_spans": "low", "max_token_spans": 1}, [9]),
        ({"low_token": 0.45, "token_spans": "low"}, [8, 9]),
    ],
)
def test_the_settings_choose_which_tokens_become_spans(
    observed: Observed, settings: dict[str, Any], kept: list[int]
) -> None:
    call(observed.handler(**settings), WORDS)

    spans = [attributes_of(of) for of in observed.spans("token")]
    assert [of[names.TOKEN_INDEX] for of in spans] == kept
    omitted = 10 - len(kept)
    (llm,) = observed.spans("chat")
    assert attributes_of(llm).get(names.TOKEN_SPANS_OMITTED, 0) == omitted
    assert observed.total(names.TOKEN_SPANS.name, result="omitted") == omitted
    assert observed.total(names.TOKEN_SPANS.name, result="emitted") == len(kept)


def test_a_token_span_starts_where_the_one_before_ended(observed: Observed) -> None:
    call(observed.handler(token_spans="low"), WORDS)
    low = observed.spans("token")

    call(observed.handler(), WORDS)
    every = observed.spans("token")[len(low) :]

    durations = [(of.end_time or 0) - (of.start_time or 0) for of in low]
    assert all(duration > 0 for duration in durations)
    assert [of.start_time for of in every[1:]] == [of.end_time for of in every[:-1]]


def test_without_arrays_there_are_none(observed: Observed) -> None:
    call(observed.handler(token_arrays=False, capture_content=True))

    (llm,) = observed.spans("chat")
    assert not {names.TOKENS_LOGPROBS, names.TOKENS_TEXTS} & attributes_of(llm).keys()


def test_tokens_that_were_not_streamed_have_no_duration(observed: Observed) -> None:
    handler = observed.handler()

    ScriptedChatModel(answers=[SAID]).invoke("", {"callbacks": [handler]})

    handler.flush()
    llm, *tokens = observed.spans()
    assert [(of.start_time, of.end_time) for of in tokens] == [(llm.end_time, llm.end_time)] * 2
    assert [attributes_of(of)[names.TOKEN_TIMED] for of in tokens] == [False] * 2
    assert attributes_of(llm)[names.SOURCE] == "end"


def test_what_is_undefined_is_absent(observed: Observed) -> None:
    call(observed.handler(), answer("a", with_logprobs=False))

    (llm,) = observed.spans()
    assert attributes_of(llm)[names.UNAVAILABLE] == "not_sent"
    absent = {names.RESPONSE_CONFIDENCE, names.TOKENS_COUNT, names.TOKENS_LOW, names.SOURCE}
    assert not absent & attributes_of(llm).keys()
    metrics = observed.metrics()
    assert observed.total(names.RESPONSES.name, confidence="unavailable", reason="not_sent") == 1
    assert names.UNCERTAINTY.name not in metrics
    assert names.LENGTH.name not in metrics


def test_a_character_split_over_tokens_is_shown_once(observed: Observed) -> None:
    split = answer(token(b"\xf0\x9f"), token(b"\x98\x80"), token("!"))

    call(observed.handler(capture_content=True), split)

    shown = [attributes_of(of)[names.TOKEN_TEXT] for of in observed.spans("token")]
    places = [
        (attributes_of(of)[names.TOKEN_BYTE_START], attributes_of(of)[names.TOKEN_BYTE_END])
        for of in observed.spans("token")
    ]
    assert shown == ["", "😀", "!"]
    assert places == [(0, 2), (2, 4), (4, 5)]


def test_tools_called_without_logprobs_say_so(observed: Observed) -> None:
    tool = ToolCall(name="add", args={"a": 1}, id="1")

    call(observed.handler(), answer(tool_calls=(tool,), finish_reason="tool_calls"))

    (llm,) = observed.spans()
    assert attributes_of(llm)[names.UNAVAILABLE] == "provider_omits_tool_logprobs"
    assert attributes_of(llm)[names.FINISH_REASONS] == ("tool_calls",)


def test_a_report_that_a_processor_drops_leaves_no_span_and_no_metric(observed: Observed) -> None:
    handler = observed.handler(processors=[lambda _: None], keep=9)

    call(handler)

    assert not observed.spans()
    assert not observed.metrics()
    assert not handler.reports


def test_redacted_reports_send_the_same_numbers(observed: Observed) -> None:
    plain = Observed()
    call(plain.handler(capture_content=True))

    call(observed.handler(capture_content=True, processors=[redact()]))

    assert [numbers(of) for of in observed.spans()] == [numbers(of) for of in plain.spans()]
    assert "Syd" not in str([attributes_of(of) for of in observed.spans()])
    assert "Syd" in str([attributes_of(of) for of in plain.spans()])
    plain.close()


def numbers(span: Any) -> dict[str, Any]:
    skipped = {names.TOKEN_BYTE_START, names.TOKEN_BYTE_END}
    return {
        name: of
        for name, of in attributes_of(span).items()
        if isinstance(of, (int, float)) and name not in skipped
    }


def test_one_handler_given_twice_reports_once_and_two_handlers_twice(observed: Observed) -> None:
    one, two = observed.handler(keep=9), observed.handler(keep=9)
    model = ScriptedChatModel(answers=[SAID], callbacks=[one])

    model.invoke("", {"callbacks": [one]})
    model.invoke("", {"callbacks": [one, two]})

    assert (len(one.reports), len(two.reports)) == (2, 1)
    assert observed.total(names.RESPONSES.name) == 3


def test_the_context_manager_collects_and_sends_nothing(observed: Observed) -> None:
    model = ScriptedChatModel(answers=[SAID])

    with get_logprobs_callback() as outer:
        with get_logprobs_callback(tracer_provider=observed.tracer_provider) as inner:
            model.invoke("")
        model.invoke("")
    model.invoke("")

    assert (len(outer.reports), len(inner.reports)) == (2, 1)
    assert outer.last is not None
    assert outer.last.confidence.count == 2
    assert len(observed.spans("chat")) == 1


def test_our_sink_beside_another(observed: Observed) -> None:
    collecting = CollectingSink()
    ours = OpenTelemetrySink(tracer_provider=observed.tracer_provider)

    call(observed.handler(sinks=[collecting, ours]))

    assert len(collecting.calls) == 1
    assert observed.tree() == [["chat scripted-1", ["token"], ["token"]]]


def test_spans_go_to_the_provider_that_is_global_when_the_call_is_made(
    monkeypatch: pytest.MonkeyPatch, observed: Observed
) -> None:
    handler = LogprobsCallbackHandler(raise_errors=True)
    before = TracerProvider()
    current: list[TracerProvider] = [before]
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: current[-1])
    call(handler)

    current.append(observed.tracer_provider)
    call(handler)

    assert observed.tree() == [["chat scripted-1", ["token"], ["token"]]]
    before.shutdown()


def test_a_provider_that_is_no_sdk_is_no_trouble() -> None:
    handler = LogprobsCallbackHandler(raise_errors=True, keep=1)

    call(handler)

    assert handler.last is not None
    assert handler.last.confidence.count == 2
