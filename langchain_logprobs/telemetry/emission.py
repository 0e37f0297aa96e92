"""The token spans of a call, on their way out: in slices, and never more than a queue can take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.telemetry import direct
from langchain_logprobs.telemetry.closing import NOTHING, Kept
from langchain_logprobs.telemetry.metrics import Metrics
from langchain_logprobs.telemetry.pace import SLICE, Pace, pace_of
from langchain_logprobs.telemetry.spans import (
    Options,
    TokenSpan,
    token_attributes,
    token_name,
    token_spans,
)

WAIT = 0.01
"""Seconds between two looks at a queue that is full."""

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
        """Emits the spans, a slice at a time; gives the number of each slice."""
        spans = iter(token_spans(self.report, self.options))
        pace = pace_of(self.provider)
        emit: Emit = self._start_and_end
        for first in islice(spans, 1):
            emit = self._emit_example(first)
            self._count(pace, 1)
            yield 1
        while batch := list(islice(spans, SLICE)):
            while not pace.has_room():
                time.sleep(WAIT)
                yield 0
            for span in batch:
                emit(span)
            self._count(pace, len(batch))
            yield len(batch)
        self.kept.release()

    def _count(self, pace: Pace, count: int) -> None:
        self.metrics.count_token_spans("emitted", count)
        pace.since += count

    def _attributes(self, span: TokenSpan) -> dict[str, Any]:
        return token_attributes(span, self.report.low_token, self.options)

    def _emit_example(self, span: TokenSpan) -> Emit:
        """Emits the first span the usual way; how to emit those that are like it."""
        example = self._started(span)
        example.end(span.end_ns)
        if self.options.openinference:  # those made directly have one name
            return self._start_and_end
        made = direct.like(example, self.tracer)
        if made is None:
            return self._start_and_end
        return lambda span: made.emit(self._attributes(span), span.start_ns, span.end_ns)

    def _start_and_end(self, span: TokenSpan) -> None:
        self._started(span).end(span.end_ns)

    def _started(self, span: TokenSpan) -> trace.Span:
        return self.tracer.start_span(
            token_name(span, self.options),
            context=trace.set_span_in_context(trace.NonRecordingSpan(self.parent), Context()),
            attributes=self._attributes(span),
            start_time=span.start_ns,
        )
