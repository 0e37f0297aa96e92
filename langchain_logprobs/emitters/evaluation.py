"""The log event that OpenTelemetry's conventions have for a score: `gen_ai.evaluation.result`."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.emitters import NAME, Emitter, label
from langchain_logprobs.telemetry import names


def evaluation_events(logger_provider: LoggerProvider | None = None) -> Emitter:
    """An emitter of one log event a call, correlated with its LLM span.

    Args:
        logger_provider: Where events go; OpenTelemetry's global provider if not given.

    .. versionadded:: 0.1.0
    """

    def emit(report: CallReport, span: SpanContext | None) -> None:
        logger = (logger_provider or get_logger_provider()).get_logger(names.SCOPE)
        logger.emit(
            LogRecord(
                timestamp=report.call.ended_ns,
                context=_context(span),
                severity_number=SeverityNumber.WARN if report.low else SeverityNumber.INFO,
                attributes=_attributes(report),
                event_name=names.EVALUATION_EVENT,
            )
        )

    return emit


def _context(span: SpanContext | None) -> Context:
    return Context() if span is None else trace.set_span_in_context(trace.NonRecordingSpan(span))


def _attributes(report: CallReport) -> dict[str, str | float]:
    known = {
        names.EVALUATION_NAME: NAME,
        names.EVALUATION_SCORE: report.confidence.confidence,
        names.EVALUATION_LABEL: label(report),
        names.RESPONSE_ID: report.call.response_id,
    }
    return {name: value for name, value in known.items() if value is not None}
