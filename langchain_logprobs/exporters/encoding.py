"""Finished spans to an OTLP request: equal to what OpenTelemetry's encoder makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError, Message
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from langchain_logprobs.exporters import wire
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.direct import Direct, Lot, untouched
from langchain_logprobs.telemetry.exporting import rest
from langchain_logprobs.telemetry.tokens import TOKEN_ATTRIBUTES

Spans = Sequence[ReadableSpan]

_Frames = dict[tuple[object, ...], wire.Frame]
"""By what spans have in common of which the frame is the same; they keep that alive meanwhile."""
_NOT_HERE = (wire.NotPlainError, ValueError, OverflowError, AttributeError, struct.error)
"""What tells that a span is none of those that are written here; surrogates are a `ValueError`."""

_MOST_FIELDS = 2**29
# Numbers of fields, as in opentelemetry/proto/trace/v1/trace.proto.
_RESOURCE_SPANS, _SCOPE_SPANS, _SPANS = 1, 2, 2
"""Of a request, of its resources, of their scopes."""
_BEFORE_ID, _BEFORE_TIMES, _AFTER_ATTRIBUTES = range(2), range(3, 7), range(10, _MOST_FIELDS)
"""Of a span."""


class Encoded:
    """An encoded request in the place of the message: that is made if somebody asks for more."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializePartialToString(self) -> bytes:  # noqa: N802 - as protobuf calls it
        """The request in bytes."""
        return self._data

    SerializeToString = SerializePartialToString

    def __getattr__(self, name: str) -> Any:
        return getattr(ExportTraceServiceRequest.FromString(self.__dict__["_data"]), name)


def encode(spans: Spans) -> Encoded | ExportTraceServiceRequest:
    """The bytes of the request that `opentelemetry.exporter.otlp.proto.common` makes of the spans.

    Those of this package are written here, all others by OpenTelemetry's encoder; all of them by
    that one, if the two do not agree about an example.
    """
    return Encoded(_encoded(spans)) if _agrees() else standard(spans)


def encode_spans(spans: Spans) -> ExportTraceServiceRequest:
    """The same as a message."""
    return ExportTraceServiceRequest.FromString(_encoded(spans)) if _agrees() else standard(spans)


class _Run(NamedTuple):
    """Spans one after another.

    Attributes:
        spans: They.
        lot: What they will be made from, if nobody has looked at them so far.
        places: Their places in that.
    """

    spans: Spans
    lot: Lot | None
    places: Sequence[int]

    @property
    def example(self) -> ReadableSpan:
        """A span that has in common with them what those of a lot have."""
        return self.spans[0] if self.lot is None else self.lot.of.example


_Scopes = dict[InstrumentationScope | None, list[_Run]]


def _encoded(spans: Spans) -> bytes:
    groups = _grouped(list(_runs(spans)))
    data = b"".join([part for group in groups for part in _resource_spans(*group)])
    rest()
    return data


def _runs(spans: Spans) -> Iterator[_Run]:
    """The spans in runs of the same lot; those that are of none, each on its own."""
    made = list(map(untouched, spans))
    end = 0
    for lot, run in groupby([of and of[0] for of in made]):
        start, end = end, end + len(list(run))
        if lot is None:
            yield from (_Run([span], None, ()) for span in spans[start:end])
        else:
            yield _Run(spans[start:end], lot, [of[1] for of in made[start:end] if of is not None])


def _grouped(runs: Sequence[_Run]) -> Iterable[tuple[Resource, _Scopes]]:
    """The spans by resource and scope, in the order in which these appear."""
    resources = {id(run.example.resource): run.example.resource for run in runs}
    if len(resources) > 1:  # hashing one writes it as JSON
        known: dict[Resource, Resource] = {}
        resources = {key: known.setdefault(of, of) for key, of in resources.items()}
    groups: dict[int, tuple[Resource, _Scopes]] = {}
    for run in runs:
        resource, scope = resources[id(run.example.resource)], run.example.instrumentation_scope
        _, scopes = groups.setdefault(id(resource), (resource, {}))
        scopes.setdefault(scope or None, []).append(run)
    return groups.values()


def _resource_spans(resource: Resource, scopes: _Scopes) -> list[bytes]:
    """The spans of one resource: a field of the request, in parts."""
    around = [_envelope(runs[0].example, resource, scope) for scope, runs in scopes.items()]
    parts: list[bytes] = []
    for of, (scope, runs) in zip(around, scopes.items(), strict=True):
        is_ours = scope is not None and scope.name == names.SCOPE
        written = _written(runs) if is_ours else _standard([run.spans[0] for run in runs])
        parts += _field(_SCOPE_SPANS, [of.scope, *written, of.scope_end])
    return _field(_RESOURCE_SPANS, [around[0].resource, *parts, around[0].resource_end])


class _Envelope(NamedTuple):
    """What stands around spans, encoded.

    Attributes:
        of: The resource and the scope it is of: while they are held here, no others have their ids.
        resource: What stands before the scopes of the resource.
        resource_end: What stands behind them.
        scope: What stands before the spans of the scope.
        scope_end: What stands behind them.
    """

    of: tuple[Resource, InstrumentationScope | None]
    resource: bytes
    resource_end: bytes
    scope: bytes
    scope_end: bytes


_ENVELOPES: dict[tuple[int, int], _Envelope] = {}
_MOST_ENVELOPES = 64


def _envelope(
    example: ReadableSpan, resource: Resource, scope: InstrumentationScope | None
) -> _Envelope:
    """What stands around the spans of a resource and a scope, of which there are few a process."""
    key = id(resource), id(scope)
    known = _ENVELOPES.get(key)
    if known is None:
        message = standard([_bare(example, resource, scope)]).resource_spans[0]
        parts = (
            _fields(of, numbers)
            for of, number in ((message, _SCOPE_SPANS), (message.scope_spans[0], _SPANS))
            for numbers in (range(number), range(number + 1, _MOST_FIELDS))
        )
        known = _Envelope((resource, scope), *parts)
        if len(_ENVELOPES) >= _MOST_ENVELOPES:
            _ENVELOPES.clear()
        _ENVELOPES[key] = known
    return known


def _field(number: int, parts: Sequence[bytes]) -> list[bytes]:
    """A field that is a message."""
    return [wire.varint(number << 3 | 2), wire.varint(sum(map(len, parts))), *parts]


def _fields(message: Message, numbers: range) -> bytes:
    """The fields of a message that have these numbers."""
    kept = type(message)()
    kept.CopyFrom(message)
    for of in message.DESCRIPTOR.fields:
        if of.number not in numbers:
            kept.ClearField(of.name)
    return kept.SerializePartialToString()


def _standard(spans: Spans) -> Iterator[bytes]:
    """Spans of one scope, each as a field of `ScopeSpans`."""
    for message in standard(spans).resource_spans[0].scope_spans[0].spans:
        yield wire.framed(message.SerializePartialToString())


def _written(runs: Iterable[_Run]) -> Iterator[bytes]:
    """The same, of this package's own spans."""
    frames: _Frames = {}
    for spans, lot, places in runs:
        if lot is None:
            yield _plain_or_standard(spans[0], frames)
        else:
            rest()
            yield from _tokens(spans, lot, places, frames)


_LOT_FRAMES: WeakKeyDictionary[Direct, wire.Frame] = WeakKeyDictionary()


def _tokens(spans: Spans, lot: Lot, places: Sequence[int], frames: _Frames) -> Iterable[bytes]:
    """Token spans, straight from the tokens."""
    frame = _LOT_FRAMES.get(lot.of)
    if frame is None:
        frame = _LOT_FRAMES[lot.of] = _frame(frames, lot.of.example)
    own, ids = lot.spans.at(places), [lot.ids[at] for at in places]
    attributes = zip(TOKEN_ATTRIBUTES, own.columns, strict=True)
    try:
        return wire.spans(frame, ids, own.starts, own.ends, attributes)
    except _NOT_HERE:
        return [_plain_or_standard(span, frames) for span in spans]


def _plain_or_standard(span: ReadableSpan, frames: _Frames) -> bytes:
    try:
        return _plain(span, frames)
    except _NOT_HERE:
        return next(_standard([span]))


def _plain(span: ReadableSpan, frames: _Frames) -> bytes:
    """A span that has attributes, and nothing else of its own.

    Raises:
        NotPlainError: It has something else.
    """
    known = dict(span.attributes or {})
    if span.events or span.links or span.dropped_attributes or None in known.values():
        raise wire.NotPlainError(span)
    frame, times = _frame(frames, span), ([span.start_time or 0], [span.end_time or 0])
    attributes = [(name, (value,)) for name, value in known.items()]
    (written,) = wire.spans(frame, [span.context.span_id], *times, attributes)
    return written


def _frame(frames: _Frames, span: ReadableSpan) -> wire.Frame:
    """The fields of a span that do not differ from one to the next."""
    context = span.context
    state, parent, status = id(context.trace_state), id(span.parent), id(span.status)
    key = (context.trace_id, state, parent, span.name, span.kind, status)
    if key not in frames:
        bare = _bare(span, Resource.get_empty(), None)
        message = standard([bare]).resource_spans[0].scope_spans[0].spans[0]
        parts = (_BEFORE_ID, _BEFORE_TIMES, _AFTER_ATTRIBUTES)
        frames[key] = wire.Frame(*[_fields(message, part) for part in parts])
    return frames[key]


def _bare(
    span: ReadableSpan, resource: Resource, scope: InstrumentationScope | None
) -> ReadableSpan:
    """The span without attributes and times."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=resource,
        kind=span.kind,
        status=span.status,
        instrumentation_scope=scope,
    )


@cache
def _agrees() -> bool:
    """Whether OpenTelemetry's encoder and this one make the same of an example."""
    spans = [_example()]
    try:
        return ExportTraceServiceRequest.FromString(_encoded(spans)) == standard(spans)
    except (AttributeError, IndexError, TypeError, DecodeError):  # another SDK
        return False


def _example() -> ReadableSpan:
    state = TraceState([("vendor", "state"), ("other", "1")])
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(1, 2, is_remote=True, trace_flags=flags, trace_state=state)
    return ReadableSpan(
        name=names.TOKEN_SPAN,
        context=SpanContext(1, 3, is_remote=False, trace_flags=flags, trace_state=state),
        parent=parent,
        resource=Resource({"service.name": "example", "host.cpus": 2}, "https://resource"),
        attributes={
            "text": "\N{SNOWMAN}" * 100,
            "true": True,
            "small": 1,
            "large": -(2**63),
            "double": -0.25,
            "texts": ("a", ""),
            "numbers": (0.5, 1, False),
            "none": (),
        },
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "broken"),
        start_time=1,
        end_time=2**63,
        instrumentation_scope=InstrumentationScope(names.SCOPE, "1", "https://scope", {"a": 1}),
    )
