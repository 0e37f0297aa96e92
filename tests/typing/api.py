"""What a type checker makes of the public API: read by mypy, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

from langchain_core.runnables import RunnableBinding
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI

from langchain_logprobs import (
    CallReport,
    Candidate,
    Confidence,
    LogprobsCallbackHandler,
    ModelCall,
    OpenTelemetrySink,
    Processor,
    Report,
    Settings,
    Sink,
    TokenLogprob,
    TokenMeasures,
    TreeReport,
    confidence_of,
    get_logprobs_callback,
    keep_lowest,
    measure,
    redact,
    sample,
    through,
    with_logprobs,
)


def models_keep_their_kind(
    chat: ChatOpenAI, azure: AzureChatOpenAI, legacy: OpenAI, bound: RunnableBinding[str, str]
) -> None:
    assert_type(with_logprobs(chat), ChatOpenAI)
    assert_type(with_logprobs(azure, top_logprobs=20), AzureChatOpenAI)
    assert_type(with_logprobs(legacy), OpenAI)
    assert_type(with_logprobs(bound), RunnableBinding[str, str])


def a_handler_takes_hooks_sinks_and_settings(sink: Sink) -> None:
    def on_report(report: CallReport) -> None:
        assert_type(report.confidence, Confidence)

    def sometimes(report: Report) -> Report | None:
        return report if isinstance(report, TreeReport) else None

    handler = LogprobsCallbackHandler(
        sinks=[sink, OpenTelemetrySink()],
        processors=[redact(), sample(0.1), keep_lowest(10), sometimes],
        on_report=on_report,
        on_low_confidence=print,
        token_spans="low",
        metric_attributes=("langgraph_node",),
        labels={"mood": ["good", "bad"]},
        thresholds={"$.total": 0.9},
    )
    assert_type(handler.reports, tuple[CallReport, ...])
    assert_type(handler.trees, tuple[TreeReport, ...])
    assert_type(handler.last, CallReport | None)
    assert_type(handler.flush(), bool)
    assert_type(handler.settings, Settings)
    LogprobsCallbackHandler(token_spans="some")  # type: ignore[arg-type]
    LogprobsCallbackHandler(token_span="low")  # type: ignore[call-arg]


def a_report_is_read(report: CallReport) -> None:
    assert_type(report.call, ModelCall)
    assert_type(report.tokens, tuple[TokenLogprob, ...])
    assert_type(report.tokens[0].candidates, tuple[Candidate, ...])
    assert_type(report.confidence.confidence, float | None)
    assert_type(report.fields["$.total"].confidence, Confidence)
    assert_type(measure(report.tokens[0]), TokenMeasures)
    assert_type(confidence_of(report.tokens, low_token=0.4), Confidence)


def processors_are_joined(one: Processor, other: Processor) -> None:
    assert_type(through(one, other), Processor)


def everything_in_a_context_is_captured(labels: Mapping[str, object]) -> None:
    with get_logprobs_callback(labels=labels) as captured:
        assert_type(captured, LogprobsCallbackHandler)
