"""Whom we measure ourselves against: no callback, one that does nothing, a span per token in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

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
        entry = chunk.generation_info["logprobs"]["content"][0]
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
    """Who takes part: a callback handler, or none, and how what it started is waited for."""

    handler: BaseCallbackHandler | None
    finish: Callable[[], object]


def contestants(*, exporter: Callable[[], SpanExporter] = Discarding) -> dict[str, Contestant]:
    """Everybody, each with a provider and a default `BatchSpanProcessor` of its own."""

    def ours(*, sampled: bool = True, **settings: Any) -> Contestant:
        provider = _provider(exporter, sampled=sampled)
        handler = LogprobsCallbackHandler(
            tracer_provider=provider, max_token_spans=None, **settings
        )
        return Contestant(handler, handler.flush)

    naive = _provider(exporter)
    return {
        "no callback": Contestant(None, lambda: None),
        "empty": Contestant(Empty(), lambda: None),
        "ours": ours(),
        "ours, token_spans=low": ours(token_spans="low"),
        "ours, token_spans=none": ours(token_spans="none"),
        "ours, not sampled": ours(sampled=False),
        "span in callback": Contestant(SpanInCallback(naive), naive.force_flush),
    }


def _provider(exporter: Callable[[], SpanExporter], *, sampled: bool = True) -> TracerProvider:
    provider = TracerProvider(sampler=ParentBased(ALWAYS_ON if sampled else ALWAYS_OFF))
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    return provider
