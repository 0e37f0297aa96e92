"""Scores on Langfuse's observations, through its own client (extra `langfuse`)."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanContext, format_span_id, format_trace_id

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.emitters import NAME, Emitter, label


def langfuse_scores(client: Any = None) -> Emitter:
    """An emitter of one numeric score a call, on the observation that its LLM span is to Langfuse.

    Langfuse's client queues it and sends it from a thread of its own.

    Args:
        client: A `langfuse.Langfuse`; the process's own (`langfuse.get_client()`) if not given.

    .. versionadded:: 0.1.0
    """

    def emit(report: CallReport, span: SpanContext | None) -> None:
        if span is None or not span.trace_flags.sampled:  # Langfuse has no such observation
            return
        (client or _process_client()).create_score(
            name=NAME,
            value=report.confidence.confidence,
            data_type="NUMERIC",
            trace_id=format_trace_id(span.trace_id),
            observation_id=format_span_id(span.span_id),
            score_id=f"{report.call.run_id}-{NAME}",  # so that sending it again changes nothing
            comment=label(report),
        )

    return emit


def _process_client() -> Any:
    from langfuse import get_client  # noqa: PLC0415 - takes a second, and is an extra

    return get_client()
