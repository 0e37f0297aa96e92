"""Finished spans to an OTLP request: equal to what OpenTelemetry's encoder makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from langchain_logprobs.exporters import wire
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.direct import Direct, untouched
from langchain_logprobs.telemetry.exporting import rest
from langchain_logprobs.telemetry.spans import TOKEN_ATTRIBUTES, TokenSpan

Spans = Sequence[ReadableSpan]

CHUNK = 32
"""Token spans between two looks at whether a rest is due: less than half a millisecond's work."""

_Constants = dict[object, bytes]
_NOT_HERE = (wire.NotPlainError, ValueError, OverflowError, AttributeError, struct.error)
"""What tells that a span is none of those that are written here; surrogates are a `ValueError`."""


def encode_spans(spans: Spans) -> ExportTraceServiceRequest:
    """The request that `opentelemetry.exporter.otlp.proto.common` makes of the spans.

    Those of this package are written here, all others by OpenTelemetry's encoder; all of them by
    that one, if the two do not agree about an example.
    """
    return _encoded(spans) if _agrees() else standard(spans)


def _encoded(spans: Spans) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for resource, scopes in _grouped(spans).items():
        message = request.resource_spans.add()
        for scope, group in scopes.items():
            if scope is None or scope.name != names.SCOPE:
                _add(message, standard([item.span for item in group]))
            else:
                envelope = standard([_bare(group[0].span, resource, scope)])
                del envelope.resource_spans[0].scope_spans[0].spans[:]
                _add(message, envelope)
                message.scope_spans[-1].MergeFromString(b"".join(_written(group)))
                rest()
    return request


def _add(message: ResourceSpans, request: ExportTraceServiceRequest) -> None:
    """Adds the only scope of a request to what the same resource has sent."""
    part = request.resource_spans[0]
    if message.scope_spans:
        message.scope_spans.extend(part.scope_spans)
    else:
        message.MergeFrom(part)


class _Item(NamedTuple):
    """A span, and what it will be made from, if nobody has looked at it so far."""

    span: ReadableSpan
    made: tuple[Direct, TokenSpan] | None


_Groups = dict[Resource, dict[InstrumentationScope | None, list[_Item]]]


def _grouped(spans: Spans) -> _Groups:
    """The spans by resource and scope, in the order in which these appear."""
    groups: _Groups = {}
    known: dict[tuple[int, int], list[_Item]] = {}  # hashing a resource writes it as JSON
    for span in spans:
        made = untouched(span)
        source = span if made is None else made[0].example
        resource, scope = source.resource, source.instrumentation_scope
        group = known.get((id(resource), id(scope)))
        if group is None:
            group = groups.setdefault(resource, {}).setdefault(scope or None, [])
            known[id(resource), id(scope)] = group
        group.append(_Item(span, made))
    return groups


def _written(items: Iterable[_Item]) -> Iterator[bytes]:
    """Each of the spans as a field of `ScopeSpans`."""
    constants: _Constants = {}
    for are_made, run in groupby(items, key=lambda item: item.made is not None):
        if are_made:
            while some := list(islice(run, CHUNK)):
                rest()
                yield from _tokens(some, constants)
        else:
            for span, _ in run:
                yield _plain_or_standard(span, constants)


def _tokens(items: list[_Item], constants: _Constants) -> Iterable[bytes]:
    """Token spans, straight from the tokens."""
    made = [of for of in (item.made for item in items) if of is not None]
    try:
        attributes = wire.attributes_of_each(TOKEN_ATTRIBUTES, [of.read(row) for of, row in made])
    except _NOT_HERE:
        return [_plain_or_standard(span, constants) for span, _ in items]
    return [
        wire.span(
            constants.get(id(of)) or _constant(constants, id(of), of.example),
            span.context.span_id,
            row.start_ns,
            row.end_ns,
            written,
        )
        for (span, _), (of, row), written in zip(items, made, attributes, strict=True)
    ]


def _plain_or_standard(span: ReadableSpan, constants: _Constants) -> bytes:
    try:
        return _plain(span, constants)
    except _NOT_HERE:
        message = standard([span]).resource_spans[0].scope_spans[0].spans[0]
        return wire.framed(message.SerializePartialToString())


def _plain(span: ReadableSpan, constants: _Constants) -> bytes:
    """A span that has attributes, and nothing else of its own.

    Raises:
        NotPlainError: It has something else.
    """
    known = dict(span.attributes or {})
    if span.events or span.links or span.dropped_attributes or None in known.values():
        raise wire.NotPlainError(span)
    key, context = _shared(span), span.context
    constant = constants.get(key) or _constant(constants, key, span)
    attributes = wire.attributes(known, known.values())
    return wire.span(
        constant, context.span_id, span.start_time or 0, span.end_time or 0, attributes
    )


def _shared(span: ReadableSpan) -> tuple[object, ...]:
    """What spans have in common of which `_constant` is the same; they keep it alive meanwhile."""
    context = span.context
    state, parent, status = id(context.trace_state), id(span.parent), id(span.status)
    return (context.trace_id, state, parent, span.name, span.kind, status)


def _constant(constants: _Constants, key: object, span: ReadableSpan) -> bytes:
    """The fields of a span that do not differ from one to the next."""
    bare = _bare(span, Resource.get_empty(), None)
    message = standard([bare]).resource_spans[0].scope_spans[0].spans[0]
    message.ClearField("span_id")
    message.ClearField("start_time_unix_nano")
    message.ClearField("end_time_unix_nano")
    return constants.setdefault(key, message.SerializePartialToString())


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
        return _encoded(spans) == standard(spans)
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
