"""Whom we measure ourselves against: no callback, an empty one, a span per token in it, others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from benchmarks import neighbours
from langchain_logprobs import LogprobsCallbackHandler


class Empty(BaseCallbackHandler):
    """A callback that does nothing."""

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def on_llm_new_token(
        self, token: object, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Does nothing."""


class SpanInCallback(BaseCallbackHandler):
    """What anyone would write: a span of eight attributes, started and ended as a token comes."""

    run_inline = True

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("benchmark")
        self._calls: dict[UUID, tuple[trace.Span, Context]] = {}

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        """Starts the call's span."""
        span = self._tracer.start_span("chat")
        self._calls[run_id] = span, trace.set_span_in_context(span, Context())

    def on_llm_new_token(
        self, token: object, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Starts and ends a token's span."""
        if not (said := ((chunk.generation_info or {}).get("logprobs") or {}).get("content")):
            return  # a role, the finish, the usage
        entry = said[0]
        top = entry["top_logprobs"]
        _, context = self._calls[run_id]
        self._tracer.start_span(
            "token",
            context=context,
            attributes={
                "token.text": entry["token"],
                "token.logprob": entry["logprob"],
                "token.probability": math.exp(entry["logprob"]),
                "token.bytes": len(entry["bytes"]),
                "token.low": entry["logprob"] < -0.7,
                "token.length": len(entry["token"]),
                "token.candidates": [of["token"] for of in top],
                "token.candidate_logprobs": [of["logprob"] for of in top],
            },
        ).end()

    def on_llm_end(self, response: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Ends the call's span."""
        self._calls.pop(run_id)[0].end()


class Discarding(SpanExporter):
    """An exporter that counts and forgets."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Counts them."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who takes part.

    Attributes:
        name: Who it is.
        handlers: The callback handlers to pass; an instrumentation adds its own to all.
        finish: Waits until what it started is sent.
        provider: Who makes its spans, if they are made by a provider of ours.
    """

    name: str
    handlers: list[BaseCallbackHandler]
    finish: Callable[[], object] = lambda: None
    provider: TracerProvider | None = None


PATIENCE = 240.0
"""Seconds that a contestant waits until its spans are sent."""
NOTHING, EMPTY, OURS, NAIVE = "no callback", "empty", "ours", "span in callback"
METRICS_ONLY = "ours, metrics only"
"""The trace around the calls is not sampled; metrics are recorded all the same."""
NOT_SAMPLED = "ours, not sampled"
"""The same without metrics: nobody wants to know anything."""
QUICK = "ours, our exporter"
"""With the package's own OTLP exporter."""
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {},
    "ours, token_spans=low": {"token_spans": "low"},
    "ours, token_spans=none": {"token_spans": "none"},
    "ours, no arrays": {"token_arrays": False},
    "ours, content": {"capture_content": True},
    METRICS_ONLY: {},
    NOT_SAMPLED: {},
}
"""Ours, by what is set."""
if find_spec("langchain_logprobs.exporters"):
    SETTINGS[QUICK] = {}
NEIGHBOURS: dict[str, Callable[[TracerProvider], None]] = {
    "OpenInference": neighbours.openinference,
    "OpenLLMetry": neighbours.openllmetry,
    "genai-langchain": neighbours.genai,
}
LANGFUSE = "Langfuse"
OTHERS = (*NEIGHBOURS, LANGFUSE)
"""The instrumentations that install together; they make one span a call and keep no logprobs."""
BASELINES = (NOTHING, EMPTY, NAIVE)
OURSELVES = (*BASELINES, *SETTINGS)
EVERYBODY = (*OURSELVES, *OTHERS)


def contestant(name: str, address: str | None) -> Contestant:
    """Sets one up, in this very process.

    Args:
        name: Whom.
        address: Of the receiver that spans go to; without it there is no span processor.
    """
    exporter = None if address is None else _exporter(name, f"{address}/v1/traces")
    if name == NOTHING:
        return Contestant(name, [])
    if name == EMPTY:
        return Contestant(name, [Empty()])
    if name == LANGFUSE:
        handler, finish = neighbours.langfuse(provider_of(name, None), exporter or Discarding())
        return Contestant(name, [handler], finish)
    if name in {METRICS_ONLY, NOT_SAMPLED}:
        _in_a_trace_that_is_not_sampled()
    provider = provider_of(name, exporter)
    if name == NAIVE:
        return Contestant(name, [SpanInCallback(provider)], provider.force_flush, provider)
    if name in NEIGHBOURS:
        NEIGHBOURS[name](provider)
        return Contestant(name, [], provider.force_flush)
    meters = None if name == NOT_SAMPLED else MeterProvider([InMemoryMetricReader()])
    ours = LogprobsCallbackHandler(
        tracer_provider=provider, meter_provider=meters, max_token_spans=None, **SETTINGS[name]
    )
    return Contestant(name, [ours], lambda: ours.flush(PATIENCE), provider)


def _exporter(name: str, endpoint: str) -> SpanExporter:
    if name != QUICK:
        return OTLPSpanExporter(endpoint)
    module = import_module("langchain_logprobs.exporters.http")
    exporter: SpanExporter = module.OTLPSpanExporter(endpoint)
    return exporter


def _in_a_trace_that_is_not_sampled() -> None:
    """Everything in this process belongs to it from now on."""
    around = trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(0))
    attach(trace.set_span_in_context(trace.NonRecordingSpan(around)))


def provider_of(name: str, exporter: SpanExporter | None) -> TracerProvider:
    """A tracer provider with the default batch processor, named so that its spans can be told."""
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
