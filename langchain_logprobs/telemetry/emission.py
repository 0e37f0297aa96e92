"""The token spans of a call, on their way out: in slices, and never more than a queue can take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from opentelemetry import trace
from opentelemetry.context import Context

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.telemetry import direct
from langchain_logprobs.telemetry.closing import NOTHING, Kept
from langchain_logprobs.telemetry.metrics import Metrics
from langchain_logprobs.telemetry.pace import FEW, Pace, pace_of
from langchain_logprobs.telemetry.spans import (
    Options,
    TokenSpan,
    token_attributes,
    token_name,
    token_spans,
    token_values,
)

Emit = Callable[[TokenSpan], None]


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
        spans = iter(token_spans(self.report, self.options))
        pace = pace_of(self.provider)
        emit: Emit = self._start_and_end
        for first in islice(spans, 1):
            yield from self._waits(pace)
            emit = self._emit_example(first)
            yield self._counted(pace, 1)
        size = min(pace.slice, FEW) if emit == self._start_and_end else pace.slice
        while batch := list(islice(spans, size)):
            yield from self._waits(pace)
            for span in batch:
                emit(span)
            yield self._counted(pace, len(batch))
        self.kept.release()

    def _waits(self, pace: Pace) -> Iterator[int]:
        while not pace.has_room():
            yield 0

    def _counted(self, pace: Pace, count: int) -> int:
        self.metrics.count_token_spans("emitted", count)
        pace.count(count)
        return count

    def _emit_example(self, span: TokenSpan) -> Emit:
        """Emits the first span the usual way; how to emit those that are like it."""
        example = self._started(span)
        example.end(span.end_ns)
        if self.options.openinference:  # those made directly have one name
            return self._start_and_end
        read = partial(token_values, low_token=self.report.low_token, options=self.options)
        made = direct.like(example, self.tracer, span, read)
        return self._start_and_end if made is None else made.emit

    def _start_and_end(self, span: TokenSpan) -> None:
        self._started(span).end(span.end_ns)

    def _started(self, span: TokenSpan) -> trace.Span:
        return self.tracer.start_span(
            token_name(span, self.options),
            context=trace.set_span_in_context(trace.NonRecordingSpan(self.parent), Context()),
            attributes=token_attributes(span, self.report.low_token, self.options),
            start_time=span.start_ns,
        )
