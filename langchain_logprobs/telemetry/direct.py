"""Finished spans made from values, as the SDK's own would be: for a tenth of the time.

Starting a span and ending it costs ten times what its data do. Where nothing could tell the
difference, a token span is therefore made as what span processors are handed at its end, and its
attributes are put together when somebody first looks at them. Whether that is so is asked of an
example: the first token span of a call, started and ended the usual way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, StaticSampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext

from langchain_logprobs.telemetry.exporting import rest
from langchain_logprobs.telemetry.linking import LinkingProcessor
from langchain_logprobs.telemetry.pace import processors
from langchain_logprobs.telemetry.spans import TokenSpan, TokenValues, named

_MOST_ATTRIBUTES = 24
"""More than a token span ever has."""
_MOST_ID = 2**64
_PASSIVE_KINDS = (SpanProcessor, SimpleSpanProcessor, BatchSpanProcessor, LinkingProcessor)
_HOOKS = ("on_start", "_on_ending")
_PASSIVE = {
    hook: {getattr(kind, hook) for kind in _PASSIVE_KINDS if hasattr(kind, hook)} for hook in _HOOKS
}
"""What does nothing to a token span before its end."""

Read = Callable[[TokenSpan], TokenValues]


class Deferred(ReadableSpan):
    """A finished span whose data are still the token's.

    Of what a `ReadableSpan` holds it has its context only, which is what span processors ask for.
    With the first look at anything else it turns into an ordinary `ReadableSpan`.
    """

    def __init__(self, context: SpanContext, of: Direct, row: TokenSpan) -> None:
        self._context = context
        self._of = of
        self._row = row

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__
        of, row = held.get("_of"), held.get("_row")
        if of is not None and row is not None:  # no other thread was faster
            rest()
            for key, value in vars(of.span(self._context, row)).items():
                held.setdefault(key, value)
            held.pop("_of", None)
            held.pop("_row", None)
            self.__class__ = ReadableSpan  # type: ignore[assignment]
        return object.__getattribute__(self, name)


_HELD_AT_FIRST = 3


def untouched(span: object) -> tuple[Direct, TokenSpan] | None:
    """What a finished span is made from, if nobody has looked at it or changed it so far."""
    if type(span) is not Deferred:
        return None
    held = span.__dict__
    of, row = held.get("_of"), held.get("_row")
    if of is None or row is None or len(held) != _HELD_AT_FIRST:
        return None
    return of, row


@dataclass(frozen=True, slots=True)
class Direct:
    """Makes finished spans that differ from an example in id, times and attributes only."""

    example: ReadableSpan
    context: SpanContext
    information: Any
    new_id: Callable[[], int]
    hand_over: Callable[[ReadableSpan], None]
    read: Read

    def emit(self, row: TokenSpan) -> None:
        """Hands a finished span to the provider's span processors."""
        self.hand_over(Deferred(self.context_of(self.new_id()), self, row))

    def context_of(self, span_id: int) -> SpanContext:
        """The example's context, with another span's id."""
        of = self.context
        if 0 < span_id < _MOST_ID:  # for what else the SDK asks of a context, the example's stands
            return tuple.__new__(SpanContext, (of[0], span_id, *of[2:]))
        return SpanContext(
            of.trace_id,
            span_id,
            is_remote=False,
            trace_flags=of.trace_flags,
            trace_state=of.trace_state,
        )

    def span(self, context: SpanContext, row: TokenSpan) -> ReadableSpan:
        """A span like the example, with these."""
        example = self.example
        return ReadableSpan(
            name=example.name,
            context=context,
            parent=example.parent,
            resource=example.resource,
            attributes=named(self.read(row)),
            kind=example.kind,
            instrumentation_info=self.information,
            status=example.status,
            start_time=row.start_ns,
            end_time=row.end_ns,
            instrumentation_scope=example.instrumentation_scope,
        )


def like(example: trace.Span, tracer: trace.Tracer, row: TokenSpan, read: Read) -> Direct | None:
    """A maker of spans like an ended example; `None` if somebody could tell them from real ones.

    Args:
        example: A span of this tracer, with the very parent the others are to have.
        tracer: Who started it.
        row: What the example was started with.
        read: How its attributes come of that.
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
        read,
    )
    return direct if _is_like(direct, tracer, row) else None


def _is_plain(example: ReadableSpan, tracer: Tracer) -> bool:
    """Whether spans like the example take no notice of anything but their attributes and times."""
    bounds = getattr(example, "_attributes", None)
    most = getattr(bounds, "maxlen", 0)
    counted = getattr(example, "_record_end_metrics", None)
    return (
        type(tracer) is Tracer
        and type(example).__module__ == Tracer.__module__
        and example.context.is_valid
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


_TRIED: WeakKeyDictionary[SpanProcessor, bool] = WeakKeyDictionary()


def _is_like(direct: Direct, tracer: Tracer, row: TokenSpan) -> bool:
    """Whether what is made of the example's own values is the example: tried once a provider."""
    known = _TRIED.get(tracer.span_processor)
    if known is None:
        known = _TRIED.setdefault(tracer.span_processor, _tries_alike(direct, row))
    return known


def _tries_alike(direct: Direct, row: TokenSpan) -> bool:
    example = direct.example
    try:
        context = direct.context_of(example.context.span_id)
        made = Deferred(context, direct, row)
        return (
            made.to_json() == example.to_json()
            and type(made) is ReadableSpan
            and (context, context.is_valid) == (example.context, example.context.is_valid)
        )
    except (AttributeError, TypeError, ValueError):  # another SDK
        return False
