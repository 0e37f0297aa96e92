"""Finished spans made from values, as the SDK's own would be: for a tenth of the time.

Starting a span and ending it costs ten times what its data do. Where nothing could tell the
difference, a token span is therefore made as what span processors are handed at its end. Whether
that is so is asked of an example: the first token span of a call, started and ended the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, StaticSampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext

from langchain_logprobs.telemetry.linking import LinkingProcessor
from langchain_logprobs.telemetry.pace import processors

_MOST_ATTRIBUTES = 24
"""More than a token span ever has."""
_PASSIVE_KINDS = (SpanProcessor, SimpleSpanProcessor, BatchSpanProcessor, LinkingProcessor)
_HOOKS = ("on_start", "_on_ending")
_PASSIVE = {
    hook: {getattr(kind, hook) for kind in _PASSIVE_KINDS if hasattr(kind, hook)} for hook in _HOOKS
}
"""What does nothing to a token span before its end."""


@dataclass(frozen=True, slots=True)
class Direct:
    """Makes finished spans that differ from an example in id, times and attributes only."""

    example: ReadableSpan
    context: SpanContext
    information: Any
    new_id: Callable[[], int]
    hand_over: Callable[[ReadableSpan], None]

    def emit(self, attributes: Mapping[str, Any], start_ns: int, end_ns: int) -> None:
        """Hands a finished span to the provider's span processors."""
        of = self.context
        context = SpanContext(
            of.trace_id,
            self.new_id(),
            is_remote=False,
            trace_flags=of.trace_flags,
            trace_state=of.trace_state,
        )
        self.hand_over(self.span(context, attributes, start_ns, end_ns))

    def span(
        self, context: SpanContext, attributes: Mapping[str, Any], start_ns: int, end_ns: int
    ) -> ReadableSpan:
        """A span like the example, with these."""
        example = self.example
        return ReadableSpan(
            name=example.name,
            context=context,
            parent=example.parent,
            resource=example.resource,
            attributes=attributes,
            kind=example.kind,
            instrumentation_info=self.information,
            status=example.status,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=example.instrumentation_scope,
        )


def like(example: trace.Span, tracer: trace.Tracer) -> Direct | None:
    """A maker of spans like an ended example; `None` if somebody could tell them from real ones.

    Args:
        example: A span of this tracer, with the very parent the others are to have.
        tracer: Who started it.
    """
    if not isinstance(example, ReadableSpan) or not isinstance(tracer, Tracer):
        return None
    if not _is_plain(example, tracer):
        return None
    direct = Direct(
        example,
        example.context,
        getattr(example, "_instrumentation_info", None),
        tracer.id_generator.generate_span_id,
        tracer.span_processor.on_end,
    )
    return direct if _is_like(direct, tracer) else None


def _is_plain(example: ReadableSpan, tracer: Tracer) -> bool:
    """Whether spans like the example take no notice of anything but their attributes and times."""
    bounds = getattr(example, "_attributes", None)
    most = getattr(bounds, "maxlen", 0)
    counted = getattr(example, "_record_end_metrics", None)
    return (
        type(tracer) is Tracer
        and type(example).__module__ == Tracer.__module__
        and not example.events
        and not example.links
        and (most is None or most >= _MOST_ATTRIBUTES)
        and getattr(bounds, "max_value_len", 0) is None
        and (counted is None or getattr(counted, "__name__", "") == "noop")
        and _goes_by_trace(tracer.sampler)
        and all(map(_is_passive, processors(tracer.span_processor)))
    )


def _goes_by_trace(sampler: object) -> bool:
    """Whether a sampler decides alike about all children of one sampled local parent."""
    if type(sampler) is ParentBased:
        return _goes_by_trace(getattr(sampler, "_local_parent_sampled", None))
    return type(sampler) in {StaticSampler, TraceIdRatioBased}


def _is_passive(processor: object) -> bool:
    """Whether a processor does nothing when a span starts or is about to end."""
    hooks = {name: getattr(processor, name, None) for name in _HOOKS}
    return all(
        hook is None or getattr(hook, "__func__", None) in _PASSIVE[name]
        for name, hook in hooks.items()
    )


_TRIED: WeakKeyDictionary[Tracer, bool] = WeakKeyDictionary()


def _is_like(direct: Direct, tracer: Tracer) -> bool:
    """Whether what is made of the example's own values is the example: tried once a tracer."""
    known = _TRIED.get(tracer)
    if known is None:
        known = _TRIED.setdefault(tracer, _tries_alike(direct))
    return known


def _tries_alike(direct: Direct) -> bool:
    example = direct.example
    start_ns, end_ns = example.start_time or 0, example.end_time or 0
    try:
        made = direct.span(direct.context, example.attributes or {}, start_ns, end_ns)
        return bool(made.to_json() == example.to_json())
    except (AttributeError, TypeError):  # another SDK
        return False
