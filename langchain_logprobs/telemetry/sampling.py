"""Whether anything of a call will be sent at all, as far as that is certain when it starts."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind

from langchain_logprobs.telemetry.linking import Link

_NAMELESS = (ParentBased, ParentBasedTraceIdRatio, StaticSampler, TraceIdRatioBased)
"""Samplers that decide without looking at a span's name and attributes, which are not known yet."""


def records_metrics(provider: MeterProvider | None) -> bool:
    """Whether metrics may go anywhere: OpenTelemetry's API alone has only stand-ins."""
    return not _is_stand_in(get_meter_provider() if provider is None else provider)


def sampled_out(link: Link, provider: object) -> bool:
    """Whether the span around a call is not sampled, and the provider leaves its children out too.

    Where that cannot be known before the end of the call, it is not.
    """
    if link.span is not None:
        return False
    parent = trace.get_current_span(link.context)
    context = parent.get_span_context()
    if not context.is_valid or context.trace_flags.sampled or parent.is_recording():
        return False
    sampler: Sampler | None = getattr(provider, "sampler", None)
    if sampler is None or type(sampler) not in _NAMELESS:
        return _is_stand_in(provider)
    asked = sampler.should_sample(link.context, context.trace_id, "chat", kind=SpanKind.CLIENT)
    return asked.decision is Decision.DROP


def _is_stand_in(provider: object) -> bool:
    return type(provider).__module__.startswith(("opentelemetry.metrics", "opentelemetry.trace"))
