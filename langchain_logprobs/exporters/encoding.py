"""Finished spans to an OTLP request: equal to what OpenTelemetry's encoder makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from langchain_logprobs.exporters import wire
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.direct import untouched
from langchain_logprobs.telemetry.spans import TOKEN_ATTRIBUTES

Spans = Sequence[ReadableSpan]

_Constants = dict[object, bytes]
_VARYING = ("span_id", "start_time_unix_nano", "end_time_unix_nano")
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
                _add(message, standard(group))
            else:
                envelope = standard([_bare(group[0], resource, scope)])
                del envelope.resource_spans[0].scope_spans[0].spans[:]
                _add(message, envelope)
                message.scope_spans[-1].MergeFromString(b"".join(_written(group)))
    return request


def _add(message: ResourceSpans, request: ExportTraceServiceRequest) -> None:
    """Adds the only scope of a request to what the same resource has sent."""
    part = request.resource_spans[0]
    if message.scope_spans:
        message.scope_spans.extend(part.scope_spans)
    else:
        message.MergeFrom(part)


Groups = dict[Resource, dict[InstrumentationScope | None, list[ReadableSpan]]]


def _grouped(spans: Spans) -> Groups:
    """The spans by resource and scope, in the order in which these appear."""
    groups: Groups = {}
    known: dict[tuple[int, int], list[ReadableSpan]] = {}  # hashing a resource writes it as JSON
    for span in spans:
        source = _source(span)
        resource, scope = source.resource, source.instrumentation_scope
        group = known.get((id(resource), id(scope)))
        if group is None:
            group = groups.setdefault(resource, {}).setdefault(scope or None, [])
            known[id(resource), id(scope)] = group
        group.append(span)
    return groups


def _source(span: ReadableSpan) -> ReadableSpan:
    """Where to read what a span shares with others."""
    made = untouched(span)
    return span if made is None else made[0].example


def _written(spans: Iterable[ReadableSpan]) -> Iterable[bytes]:
    """Each of the spans as a field of `ScopeSpans`."""
    constants: _Constants = {}
    for span in spans:
        try:
            yield _span(span, constants)
        except _NOT_HERE:
            yield wire.framed(_message(span).SerializePartialToString())


def _span(span: ReadableSpan, constants: _Constants) -> bytes:
    made = untouched(span)
    if made is not None:
        of, row = made
        constant = constants.get(id(of)) or _constant(constants, id(of), of.example)
        attributes = wire.attributes(TOKEN_ATTRIBUTES, of.read(row))
        return wire.span(constant, span.context.span_id, row.start_ns, row.end_ns, attributes)
    if span.events or span.links or span.dropped_attributes:
        raise wire.NotPlainError(span)
    key = _shared(span)
    constant = constants.get(key) or _constant(constants, key, span)
    known = dict(span.attributes or {})
    values = tuple(known.values())
    if None in values:
        raise wire.NotPlainError(known)
    attributes = wire.attributes(tuple(known), values)
    context, start_ns, end_ns = span.context, span.start_time or 0, span.end_time or 0
    return wire.span(constant, context.span_id, start_ns, end_ns, attributes)


def _shared(span: ReadableSpan) -> tuple[object, ...]:
    """What spans have in common of which `_constant` is the same; they keep it alive meanwhile."""
    context = span.context
    state, parent, status = id(context.trace_state), id(span.parent), id(span.status)
    return (context.trace_id, state, parent, span.name, span.kind, status)


def _constant(constants: _Constants, key: object, span: ReadableSpan) -> bytes:
    """The fields of a span that do not differ from one to the next."""
    bare = _bare(span, Resource.get_empty(), None)
    message = standard([bare]).resource_spans[0].scope_spans[0].spans[0]
    for name in _VARYING:
        message.ClearField(name)
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


def _message(span: ReadableSpan) -> SpanMessage:
    """What OpenTelemetry's encoder makes of one span."""
    return standard([span]).resource_spans[0].scope_spans[0].spans[0]


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
