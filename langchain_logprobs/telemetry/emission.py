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
from langchain_logprobs.telemetry.pace import FEW, Pace, pace_of
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
        for lot in token_spans(self.report, self.options, pace.slice):
            first = 0
            if emit is None:
                yield from self._waits(pace)
                emit = self._emit_example(lot)
                yield self._counted(pace, 1)
                first = 1
            size = min(pace.slice, FEW) if emit == self._emit_started else pace.slice
            for at in range(first, len(lot), size):
                yield from self._waits(pace)
                spans = lot.cut(at, at + size)
                emit(spans)
                yield self._counted(pace, len(spans))
        self.kept.release()

    def _waits(self, pace: Pace) -> Iterator[int]:
        while not pace.has_room():
            yield 0

    def _counted(self, pace: Pace, count: int) -> int:
        self.metrics.count_token_spans("emitted", count)
        pace.count(count)
        return count

    def _emit_example(self, lot: TokenSpans) -> Emit:
        """Emits the first span of a lot the usual way; how to emit those that are like it."""
        example = self._started(lot, 0)
        example.end(lot.ends[0])
        if self.options.openinference:  # those made directly have one name
            return self._emit_started
        made = direct.like(example, self.tracer, lot)
        return self._emit_started if made is None else made.emit

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
