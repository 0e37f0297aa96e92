"""Finished spans made from values, as the SDK's own would be: for a tenth of the time.

Starting a span and ending it costs ten times what its data do. Where nothing could tell the
difference, a token span is therefore made as what span processors are handed at its end, and its
attributes are put together when somebody first looks at them. Whether that is so is asked of an
example: the first token span of a call, started and ended the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from langchain_logprobs.telemetry.tokens import TokenSpans

_MOST_ATTRIBUTES = 24
"""More than a token span ever has."""
_MOST_ID = 2**64
_PASSIVE_KINDS = (SpanProcessor, SimpleSpanProcessor, BatchSpanProcessor, LinkingProcessor)
_HOOKS = ("on_start", "_on_ending")
_PASSIVE = {
    hook: {getattr(kind, hook) for kind in _PASSIVE_KINDS if hasattr(kind, hook)} for hook in _HOOKS
}
"""What does nothing to a token span before its end."""


class Deferred(ReadableSpan):
    """A finished span whose data are still those of a token among others.

    With the first look at anything but its context it turns into an ordinary `ReadableSpan`.
    """

    def __init__(self, lot: Lot, at: int) -> None:
        self._lot = lot
        self._at = at

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__
        lot, at = held.get("_lot"), held.get("_at")
        if lot is not None and at is not None:  # no other thread was faster
            context = held.setdefault("_context", lot.context(at))
            if name == "_context":
                return context
            rest()
            for key, value in vars(lot.span(context, at)).items():
                held.setdefault(key, value)
            held.pop("_lot", None)
            held.pop("_at", None)
            self.__class__ = ReadableSpan  # type: ignore[assignment]
        return object.__getattribute__(self, name)


_HELD_AT_FIRST = 2


def untouched(span: object) -> tuple[Lot, int] | None:
    """What a finished span will be made from, if nobody has changed or looked at its data."""
    if type(span) is not Deferred:
        return None
    held = span.__dict__
    lot, at = held.get("_lot"), held.get("_at")
    if lot is None or at is None:
        return None
    is_whole = len(held) == _HELD_AT_FIRST or (
        len(held) == _HELD_AT_FIRST + 1 and held.get("_context") == lot.context(at)
    )
    return (lot, at) if is_whole else None


@dataclass(frozen=True, slots=True, eq=False)
class Lot:
    """Token spans that are finished together.

    Attributes:
        of: Makes them.
        spans: Their values.
        ids: Their ids.
    """

    of: Direct
    spans: TokenSpans
    ids: Sequence[int]

    def context(self, at: int) -> SpanContext:
        """The context of the one in this place."""
        return self.of.context_of(self.ids[at])

    def span(self, context: SpanContext, at: int) -> ReadableSpan:
        """The one in this place."""
        return self.of.span(context, self.spans, at)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Direct:
    """Makes finished spans that differ from an example in id, times and attributes only."""

    example: ReadableSpan
    context: SpanContext
    information: Any
    new_id: Callable[[], int]
    processor: SpanProcessor

    def emit(self, spans: TokenSpans) -> None:
        """Hands finished spans to the provider's span processors."""
        lot = Lot(self, spans, [self.new_id() for _ in range(len(spans))])
        takers = takers_of(self.processor)
        for at in range(len(spans)):
            span = Deferred(lot, at)
            for take in takers:
                take(span)

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

    def span(self, context: SpanContext, spans: TokenSpans, at: int) -> ReadableSpan:
        """A span like the example, with these."""
        example = self.example
        return ReadableSpan(
            name=example.name,
            context=context,
            parent=example.parent,
            resource=example.resource,
            attributes=spans.attributes(at),
            kind=example.kind,
            instrumentation_info=self.information,
            status=example.status,
            start_time=spans.starts[at],
            end_time=spans.ends[at],
            instrumentation_scope=example.instrumentation_scope,
        )


def like(example: trace.Span, tracer: trace.Tracer, spans: TokenSpans) -> Direct | None:
    """A maker of spans like an ended example; `None` if somebody could tell them from real ones.

    Args:
        example: A span of this tracer, with the very parent the others are to have.
        tracer: Who started it.
        spans: What it was started with, and others perhaps: the first of these.
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
        tracer.span_processor,
    )
    return direct if _is_like(direct, tracer, spans) else None


def _is_plain(example: ReadableSpan, tracer: Tracer) -> bool:
    """Whether spans like the example take no notice of anything but their attributes and times."""
    bounds = getattr(example, "_attributes", None)
    most = getattr(bounds, "maxlen", 0)
    counted = getattr(example, "_record_end_metrics", None)
    return (
        type(tracer) is Tracer
        and type(example).__module__ == Tracer.__module__
        and example.context.is_valid
        and example.context.trace_flags.sampled
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


_HANDS_ON = ("_span_processors", "on_end")
"""What `on_end` has to do with where the SDK lets several processors stand behind one."""
_QUEUES = ("context", "trace_flags", "sampled", "_batch_processor", "emit")
"""What it has to do with where the SDK puts a sampled span into a queue."""


def takers_of(processor: Any) -> list[Callable[[ReadableSpan], object]]:
    """Whom a span processor hands our finished spans, which are sampled, without the ways there."""
    if type(processor) is LinkingProcessor:  # it looks for others' spans
        return []
    names = _named_in(processor.on_end)
    if names == _HANDS_ON:
        return [take for one in processors(processor) for take in takers_of(one)]
    return [processor._batch_processor.emit if names == _QUEUES else processor.on_end]  # noqa: SLF001 - as its own `on_end` does


def _named_in(method: object) -> tuple[str, ...]:
    """The attributes that a method's code has to do with; none, if it is no plain method."""
    code = getattr(getattr(method, "__func__", None), "__code__", None)
    return getattr(code, "co_names", ())


_TRIED: WeakKeyDictionary[SpanProcessor, bool] = WeakKeyDictionary()


def _is_like(direct: Direct, tracer: Tracer, spans: TokenSpans) -> bool:
    """Whether what is made of the example's own values is the example: tried once a provider."""
    known = _TRIED.get(tracer.span_processor)
    if known is None:
        known = _TRIED.setdefault(tracer.span_processor, _tries_alike(direct, spans))
    return known


def _tries_alike(direct: Direct, spans: TokenSpans) -> bool:
    example = direct.example
    try:
        context = direct.context_of(example.context.span_id)
        made = Deferred(Lot(direct, spans, [example.context.span_id]), 0)
        return (
            made.to_json() == example.to_json()
            and type(made) is ReadableSpan
            and (context, context.is_valid) == (example.context, example.context.is_valid)
        )
    except (AttributeError, TypeError, ValueError):  # another SDK
        return False
