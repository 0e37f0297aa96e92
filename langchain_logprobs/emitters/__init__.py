"""Optional outputs that say a call's confidence in the words of one back end each, a file each.

Off by default: `LogprobsCallbackHandler(emitters=[evaluation_events(), langfuse_scores()])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from opentelemetry.trace import SpanContext

from langchain_logprobs.core.report import CallReport, Report, Sink
from langchain_logprobs.telemetry.sink import OpenTelemetrySink

Emitter = Callable[[CallReport, SpanContext | None], object]
"""Says a call's confidence somewhere; is handed the report, and where its LLM span is."""

NAME = "logprob.confidence"
"""What the score is called everywhere."""


def as_sinks(emitters: Iterable[Emitter], sinks: Sequence[Sink]) -> list[Sink]:
    """A sink for each emitter; the first OpenTelemetry sink among `sinks` knows the spans."""
    others: Iterable[Any] = sinks
    spans = next((of for of in others if isinstance(of, OpenTelemetrySink)), None)
    return [partial(_emit, emitter, spans) for emitter in emitters]


def label(report: CallReport) -> str:
    """The verdict that goes with the score: `low` or `ok`."""
    return "low" if report.low else "ok"


def _emit(emitter: Emitter, spans: OpenTelemetrySink | None, report: Report) -> None:
    if isinstance(report, CallReport) and report.confidence.confidence is not None:
        emitter(report, None if spans is None else spans.span_of(report.call.run_id))
