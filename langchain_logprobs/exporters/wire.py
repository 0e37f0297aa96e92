"""Spans in protobuf's wire format, written by hand: what differs from span to span, and only that.

What is constant (resource, scope, trace, parent, name, status) is encoded by the SDK, once for all
the spans that share it. Ids, times and attributes follow it as plain fields: protobuf reads fields
in any order, and takes a message that is cut in two for one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from types import NoneType
from typing import Any

# A field is a tag, which is its number times 8 plus its wire type, and its value. The numbers are
# those of opentelemetry/proto/trace/v1/trace.proto and opentelemetry/proto/common/v1/common.proto.
_SCOPE_SPANS_SPAN = b"\x12"
_SPAN_ID = b"\x12\x08"
_SPAN_START = b"\x39"
_SPAN_END = b"\x41"
_SPAN_ATTRIBUTE = b"\x4a"
_KEY_VALUE_KEY = b"\x0a"
_KEY_VALUE_VALUE = b"\x12"
_VALUE_STRING = b"\x0a"
_VALUE_BOOL = (b"\x10\x00", b"\x10\x01")
_VALUE_INT = b"\x18"
_VALUE_DOUBLE = b"\x21"
_VALUE_ARRAY = b"\x2a"
_ARRAY_VALUE = b"\x0a"
_ARRAY_DOUBLE = _ARRAY_VALUE + b"\x09" + _VALUE_DOUBLE

_LARGEST_INT = 2**63
_TWOS_COMPLEMENT = 2**64
_SEVEN_BITS = 0x7F
_MORE = 0x80
_pack_double = struct.Struct("<d").pack
_pack_ids_and_times = struct.Struct("<2s8s1sQ1sQ").pack

Writer = Callable[[Any], bytes]


class NotPlainError(Exception):
    """A value of a kind that is left to the SDK."""


def span(constant: bytes, span_id: int, start_ns: int, end_ns: int, attributes: bytes) -> bytes:
    """A span as a field of `ScopeSpans`.

    Args:
        constant: The fields of the span that are encoded already.
        span_id: Its own id.
        start_ns: When it started.
        end_ns: When it ended.
        attributes: Its attributes, as `attributes` writes them.
    """
    varying = _pack_ids_and_times(
        _SPAN_ID, span_id.to_bytes(8, "big"), _SPAN_START, start_ns, _SPAN_END, end_ns
    )
    size = len(constant) + len(varying) + len(attributes)
    return b"".join((_SCOPE_SPANS_SPAN, varint(size), constant, varying, attributes))


def framed(message: bytes) -> bytes:
    """An encoded span as a field of `ScopeSpans`."""
    return _SCOPE_SPANS_SPAN + varint(len(message)) + message


def attributes(names: Iterable[str], values: Iterable[Any]) -> bytes:
    """A span's attributes as fields of it; those whose value is `None` are left out.

    Raises:
        NotPlainError: One of them is nothing that is written here.
    """
    pairs = zip(names, values, strict=True)
    return b"".join([_written(name, value) for name, value in pairs])


def attributes_of_each(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> list[bytes]:
    """The attributes of many spans that have the same, a row of values each.

    They are written name by name, because what is to do for one kind of value is then found out
    once for all of them, and done in the interpreter's own loops: twice as fast as span by span.

    Raises:
        NotPlainError: One of them is nothing that is written here.
    """
    columns = zip(names, zip(*rows, strict=True), strict=True)
    written = [_column(name, values) for name, values in columns]
    return list(map(b"".join, zip(*written, strict=True)))


def _column(name: str, values: Sequence[Any]) -> Iterable[bytes]:
    """The attribute of one name of each of many spans."""
    kind, *others = set(map(type, values))
    if others:
        return [_written(name, value) for value in values]
    write = _writer(name, kind)
    if kind not in _REPEATED:
        return map(write, values)
    known = {value: write(value) for value in set(values)}
    return map(known.__getitem__, values)


@lru_cache(maxsize=4096)
def varint(number: int) -> bytes:
    """A number of at least 0 in seven bits a byte, the lowest first."""
    data = bytearray()
    while number > _SEVEN_BITS:
        data.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    data.append(number)
    return bytes(data)


def _written(name: str, value: object) -> bytes:
    kind: Any = type(value)
    return _writer(name, kind)(value)


@lru_cache(maxsize=1024)
def _writer(name: str, kind: Any) -> Writer:
    """What writes an attribute of this name whose value is of this very type."""
    if kind is NoneType:
        return lambda _: b""
    if kind is float:
        before = _before(name, 9) + _VALUE_DOUBLE
        return lambda value: before + _pack_double(value)
    if kind is bool:
        return tuple(_before(name, 2) + value for value in _VALUE_BOOL).__getitem__
    if kind is int:
        return partial(_named_int, [_before(name, 1 + size) + _VALUE_INT for size in range(11)])
    if kind not in _PAYLOADS:
        raise NotPlainError(kind)
    payload = _PAYLOADS[kind]

    def write(value: Any) -> bytes:
        data = payload(value)
        return _before(name, len(data)) + data

    return write


def _named_int(before: Sequence[bytes], value: int) -> bytes:
    data = _plain_int(value)
    return before[len(data)] + data


@lru_cache(maxsize=4096)
def _before(name: str, size: int) -> bytes:
    """All of an attribute that stands before a value of so many bytes."""
    key = name.encode()
    pair = b"".join(
        (_KEY_VALUE_KEY, varint(len(key)), key, _KEY_VALUE_VALUE, varint(size)),
    )
    return _SPAN_ATTRIBUTE + varint(len(pair) + size) + pair


def _string(value: str) -> bytes:
    data = value.encode()
    return b"".join((_VALUE_STRING, varint(len(data)), data))


def _int(value: int) -> bytes:
    return _VALUE_INT + _plain_int(value)


def _plain_int(value: int) -> bytes:
    if 0 <= value < _LARGEST_INT:
        return varint(value)
    if value < -_LARGEST_INT or value > 0:
        raise NotPlainError(value)
    return varint(value + _TWOS_COMPLEMENT)


def _double(value: float) -> bytes:
    return _VALUE_DOUBLE + _pack_double(value)


def _array(values: tuple[Any, ...]) -> bytes:
    kinds = set(map(type, values))
    if kinds == {float}:
        data = b"".join([_ARRAY_DOUBLE + _pack_double(value) for value in values])
    elif kinds <= _PAYLOADS.keys():
        elements = [_PAYLOADS[type(value)](value) for value in values]
        data = b"".join([_ARRAY_VALUE + varint(len(of)) + of for of in elements])
    else:
        raise NotPlainError(kinds)
    return _VALUE_ARRAY + varint(len(data)) + data


_PAYLOADS: dict[type, Writer] = {
    str: _string,
    int: _int,
    bool: _VALUE_BOOL.__getitem__,
    float: _double,
    tuple: _array,
}
"""What writes a value without its name, by its very type: a subclass may mean something else."""
_REPEATED = {str, int, bool, NoneType}
"""Kinds of which many spans have the same value."""
