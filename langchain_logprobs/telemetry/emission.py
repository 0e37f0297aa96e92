"""The token spans of a call, on their way out: in slices, and never more than a queue can take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.telemetry import direct, names
from langchain_logprobs.telemetry.metrics import Metrics
from langchain_logprobs.telemetry.pace import SLICE, Pace, pace_of
from langchain_logprobs.telemetry.spans import (
    Options,
    TokenSpan,
    token_attributes,
    token_spans,
)

WAIT = 0.01
"""Seconds between two looks at a queue that is full."""

Emit = Callable[[Mapping[str, Any], int, int], None]
"""Emits a token span of these attributes, from and to these times."""


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
    """

    report: CallReport
    options: Options
    tracer: trace.Tracer
    provider: trace.TracerProvider
    parent: trace.SpanContext
    metrics: Metrics

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
                emit(self._attributes(span), span.start_ns, span.end_ns)
            self._count(pace, len(batch))
            yield len(batch)

    def _count(self, pace: Pace, count: int) -> None:
        self.metrics.count_token_spans("emitted", count)
        pace.since += count

    def _attributes(self, span: TokenSpan) -> dict[str, Any]:
        return token_attributes(span, self.report.low_token, self.options)

    def _emit_example(self, span: TokenSpan) -> Emit:
        """Emits the first span the usual way; how to emit those that are like it."""
        example = self._started(self._attributes(span), span.start_ns)
        example.end(span.end_ns)
        made = direct.like(example, self.tracer)
        return self._start_and_end if made is None else made.emit

    def _start_and_end(self, attributes: Mapping[str, Any], start_ns: int, end_ns: int) -> None:
        self._started(attributes, start_ns).end(end_ns)

    def _started(self, attributes: Mapping[str, Any], start_ns: int) -> trace.Span:
        parent = trace.set_span_in_context(trace.NonRecordingSpan(self.parent), Context())
        return self.tracer.start_span(
            names.TOKEN_SPAN, context=parent, attributes=attributes, start_time=start_ns
        )
