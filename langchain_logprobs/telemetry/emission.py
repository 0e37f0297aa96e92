"""The token spans of a call, on their way out: in slices, and never more than a queue can take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE

from langchain_logprobs.core.report import CallReport
from langchain_logprobs.telemetry import direct, names
from langchain_logprobs.telemetry.metrics import Metrics
from langchain_logprobs.telemetry.spans import (
    Options,
    TokenSpan,
    token_attributes,
    token_spans,
)

SLICE = 64
"""Token spans between two rests of the worker."""
BURST = 512
"""Token spans between two flushes: a batch. The queue behind holds 2,048 and then drops."""

Emit = Callable[[Mapping[str, Any], int, int], None]
"""Emits a token span of these attributes, from and to these times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """The token spans of one call, on their way out.

    Attributes:
        report: Whose tokens.
        options: Which of them, and what of them.
        tracer: Who starts them.
        provider: Whose tracer that is; it is flushed after every burst.
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
        yield 0
        pace = _pace_of(self.provider)
        emit: Emit = self._start_and_end
        for first in islice(spans, 1):
            emit = self._emit_example(first)
            self.metrics.count_token_spans("emitted", 1)
            yield 1
            pace.advance(1, self.provider)
        while batch := list(islice(spans, SLICE)):
            for span in batch:
                emit(self._attributes(span), span.start_ns, span.end_ns)
            self.metrics.count_token_spans("emitted", len(batch))
            yield len(batch)
            pace.advance(len(batch), self.provider)

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


@dataclass(slots=True)
class Pace:
    """Keeps token spans from filling the provider's queue, where they would evict others."""

    burst: int
    since: int = 0

    def advance(self, count: int, provider: object) -> None:
        """Counts spans; flushes the provider once they make a burst."""
        self.since += count
        if self.since + SLICE > self.burst:
            self.since = 0
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush()


_PACES: WeakKeyDictionary[object, Pace] = WeakKeyDictionary()


def _pace_of(provider: object) -> Pace:
    return _PACES.setdefault(provider, Pace(_burst(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, ""))))


def _burst(queue_size: str) -> int:
    """How many spans to hand over between two flushes: at most a quarter of the queue."""
    return min(BURST, int(queue_size) // 4) if queue_size.strip().isdigit() else BURST
