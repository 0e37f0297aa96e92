"""A call of which nothing will be sent is not listened to: its parent is sampled out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from conftest import Observed
from langchain_core.runnables import RunnableLambda
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry.sink import OpenTelemetrySink
from langchain_logprobs.testing import ScriptedChatModel, answer

MODEL = ScriptedChatModel(answers=[answer("a", "b", "c")])


class Recording(Sampler):
    """One of somebody else's, which records some spans of a trace that is not sampled."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        return "recording"


def heard(handler: LogprobsCallbackHandler, parent: trace.SpanContext | None) -> Sequence[int]:
    """How many token callbacks are noted after each chunk of a call under such a span."""
    around = trace.INVALID_SPAN if parent is None else trace.NonRecordingSpan(parent)
    with trace.use_span(around):
        noted = [
            sum(len(call.events) for call in handler.open_calls())
            for _ in MODEL.stream("?", {"callbacks": [handler]})
        ]
    assert handler.flush()
    assert handler.is_idle()
    return noted


def a_parent(*, sampled: bool) -> trace.SpanContext:
    return trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(sampled))


def test_nothing_is_noted_of_a_call_whose_parent_is_sampled_out(unsampled: Observed) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=unsampled.tracer_provider)

    noted = heard(handler, a_parent(sampled=False))

    assert set(noted) == {0}
    assert unsampled.spans() == []


def test_a_chain_and_its_calls_leave_nothing_behind_either(unsampled: Observed) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=unsampled.tracer_provider)
    twice = RunnableLambda(lambda q: [MODEL.invoke(q), MODEL.invoke(q)])

    with unsampled.tracer.start_as_current_span("request"):
        twice.invoke("", {"callbacks": [handler]})

    assert handler.is_idle()
    assert unsampled.spans() == []


@pytest.mark.parametrize(
    "sampler", [ALWAYS_OFF, TraceIdRatioBased(0), ParentBased(ALWAYS_ON), ParentBased(ALWAYS_OFF)]
)
def test_so_it_is_with_each_sampler_that_leaves_it_out(sampler: Sampler) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=TracerProvider(sampler=sampler))

    assert set(heard(handler, a_parent(sampled=False))) == {0}


@pytest.mark.parametrize(
    "sampler",
    [
        ALWAYS_ON,
        TraceIdRatioBased(1),
        Recording(),
        ParentBased(ALWAYS_ON, remote_parent_not_sampled=Recording()),
    ],
)
def test_a_sampler_that_may_record_it_has_it_noted(sampler: Sampler) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=TracerProvider(sampler=sampler))

    assert max(heard(handler, a_parent(sampled=False))) >= 3


@pytest.mark.parametrize("parent", [None, a_parent(sampled=True)])
def test_a_call_that_is_not_surely_sampled_out_is_noted(
    unsampled: Observed, parent: trace.SpanContext | None
) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=unsampled.tracer_provider)

    assert max(heard(handler, parent)) >= 3


@pytest.mark.parametrize(
    "somebody",
    [
        {"keep": 1},
        {"on_report": lambda _: None},
        {"on_low_confidence": lambda _: None},
        {"on_token": lambda *_: None},
        {"processors": [lambda report: report]},
        {"meter_provider": MeterProvider(shutdown_on_exit=False)},
        {"sinks": [lambda _: None]},
    ],
    ids=lambda of: next(iter(of)),
)
def test_what_somebody_else_wants_is_noted(unsampled: Observed, somebody: dict[str, Any]) -> None:
    handler = LogprobsCallbackHandler(tracer_provider=unsampled.tracer_provider, **somebody)

    assert max(heard(handler, a_parent(sampled=False))) >= 3


def test_a_sampled_out_call_still_counts_in_the_metrics(unsampled: Observed) -> None:
    handler = unsampled.handler()

    heard(handler, a_parent(sampled=False))

    assert unsampled.total("langchain_logprobs.tokens") == 3


def test_a_sink_that_cannot_say_whether_it_wants_a_call_gets_it(unsampled: Observed) -> None:
    class Broken(OpenTelemetrySink):
        def wants(self, run_id: UUID) -> bool:
            raise RuntimeError(run_id)

    handler = LogprobsCallbackHandler(sinks=[Broken(tracer_provider=unsampled.tracer_provider)])

    assert max(heard(handler, a_parent(sampled=False))) >= 3


def test_a_call_that_no_sink_was_told_of_is_wanted(unsampled: Observed) -> None:
    sink = OpenTelemetrySink(tracer_provider=unsampled.tracer_provider)

    assert sink.wants(UUID(int=1))


def test_handlers_in_a_list_twice_note_everything_twice(observed: Observed) -> None:
    handler = observed.handler(keep=1)

    MODEL.invoke("?", {"callbacks": [handler, handler]})

    (report,) = handler.reports
    assert [of.text for of in report.tokens] == ["a", "b", "c"]
