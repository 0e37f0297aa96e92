"""The token spans of a call, on their way out: in slices, and never more than a queue can take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.telemetry import direct
from langchain_logprobs.telemetry.closing import NOTHING, Kept
from langchain_logprobs.telemetry.metrics import Metrics
from langchain_logprobs.telemetry.pace import pace_of
from langchain_logprobs.telemetry.spans import Options
from langchain_logprobs.telemetry.tokens import (
    TokenSpans,
    token_attributes,
    token_name,
    token_spans,
)

Emit = Callable[[TokenSpans], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """The token spans of one call, on their way out.

    Attributes:
        report: Whose tokens.
        options: Which of them, and what of them.
        tracer: Who starts them.
        provider: Whose tracer that is, and whose queues must not overflow.
        parent: The LLM span.
        metrics: Where they are counted.
        kept: What keeps their trace open.
    """

    report: CallReport
    options: Options
    tracer: trace.Tracer
    provider: trace.TracerProvider
    parent: trace.SpanContext
    metrics: Metrics
    kept: Kept = NOTHING

    def slices(self) -> Iterator[int]:
        """Emits the spans, a slice at a time; gives the number of each, or 0 for no room."""
        pace = pace_of(self.provider)
        emit: Emit | None = None
        for spans in token_spans(self.report, self.options, pace.slice):
            while not pace.has_room():
                yield 0
            if emit is None:
                emit = self._emit_first(spans)
            else:
                emit(spans)
            self.metrics.count_token_spans("emitted", len(spans))
            pace.count(len(spans))
            yield len(spans)
        self.kept.release()

    def _emit_first(self, spans: TokenSpans) -> Emit:
        """Emits the first of the spans the usual way, and the rest; how to emit those to come."""
        example = self._started(spans, 0)
        example.end(spans.ends[0])
        # Those made directly have one name.
        made = None if self.options.openinference else direct.like(example, self.tracer, spans)
        emit = self._emit_started if made is None else made.emit
        if len(spans) > 1:
            emit(spans.at(range(1, len(spans))))
        return emit

    def _emit_started(self, spans: TokenSpans) -> None:
        for at in range(len(spans)):
            self._started(spans, at).end(spans.ends[at])

    def _started(self, spans: TokenSpans, at: int) -> trace.Span:
        return self.tracer.start_span(
            token_name(spans, at, self.options),
            context=trace.set_span_in_context(trace.NonRecordingSpan(self.parent), Context()),
            attributes=token_attributes(spans, at, self.options),
            start_time=spans.starts[at],
        )
