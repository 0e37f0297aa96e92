"""Spans in protobuf's wire format, written by hand: what differs from span to span, and only that.

What is constant (resource, scope, trace, parent, name, status) is encoded by the SDK, once for all
the spans that share it. What differs is written column by column, for many spans at once: most of
it is as long in every span (ids, times, numbers), so that one `struct.pack` makes all of a span.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, groupby, repeat
from operator import countOf
from types import NoneType
from typing import Any, NamedTuple

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
_VALUE_BOOL = b"\x10"
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
_pack_array_double = struct.Struct(f"<{len(_ARRAY_DOUBLE)}sd").pack

Writer = Callable[[Any], bytes]


class NotPlainError(Exception):
    """A value of a kind that is left to the SDK."""


class Frame(NamedTuple):
    """The fields of a span that are the same in others, encoded, in the order of their numbers.

    Attributes:
        head: Those before the span's id.
        middle: Those between that and its times.
        tail: Those after its attributes.
    """

    head: bytes
    middle: bytes
    tail: bytes


class _Part(NamedTuple):
    """What stands in the same place in many spans.

    Attributes:
        code: How `struct` packs it; empty if it is bytes already, of any length.
        values: What it is in each of the spans.
    """

    code: str
    values: Iterable[Any]


def spans(
    frame: Frame,
    span_ids: Iterable[int],
    starts: Sequence[int],
    ends: Sequence[int],
    attributes: Iterable[tuple[str, Sequence[Any]]],
) -> list[bytes]:
    """Spans that have the same attributes, each as a field of `ScopeSpans`.

    Args:
        frame: What they share.
        span_ids: Their ids.
        starts: When they started.
        ends: When they ended.
        attributes: The names of their attributes, and their values, a value a span; those that are
            `None` are left out.

    Raises:
        NotPlainError: One of the values is nothing that is written here.
    """
    if not all(starts) or not all(ends):  # which protobuf would leave out
        raise NotPlainError(0)
    return _messages(
        [
            _same(frame.head + _SPAN_ID),
            _Part("8s", [of.to_bytes(8, "big") for of in span_ids]),
            _same(frame.middle + _SPAN_START),
            _Part("Q", starts),
            _same(_SPAN_END),
            _Part("Q", ends),
            *chain.from_iterable(_parts(name, values) for name, values in attributes),
            _same(frame.tail),
        ]
    )


def field(tag: bytes, *parts: bytes) -> bytes:
    """A field that holds all of these."""
    return b"".join((tag, varint(sum(map(len, parts))), *parts))


def framed(message: bytes) -> bytes:
    """An encoded span as a field of `ScopeSpans`."""
    return field(_SCOPE_SPANS_SPAN, message)


@lru_cache(maxsize=4096)
def varint(number: int) -> bytes:
    """A number of at least 0 in seven bits a byte, the lowest first."""
    data = bytearray()
    while number > _SEVEN_BITS:
        data.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    data.append(number)
    return bytes(data)


def _messages(parts: Sequence[_Part]) -> list[bytes]:
    """Many spans, put together of their parts."""
    fixed = _struct("".join(["<", *[part.code for part in parts]])).size
    loose = [map(len, part.values) for part in parts if not part.code]
    sizes = map(sum, zip(repeat(fixed), *loose, strict=False))
    header = _Part("", map(_header, sizes)) if loose else _same(_header(fixed))
    columns = chain.from_iterable(
        [_packed(run)] if is_packed else [part.values for part in run]
        for is_packed, run in groupby([header, *parts], _is_packed)
    )
    return list(map(b"".join, zip(*columns, strict=False)))


def _is_packed(part: _Part) -> bool:
    return bool(part.code)


def _packed(parts: Iterable[_Part]) -> Iterator[bytes]:
    """Parts that stand side by side, packed at once; without end if all are constant."""
    codes, values = zip(*parts, strict=True)
    return map(_struct("".join(["<", *codes])).pack, *values)


def _same(data: bytes) -> _Part:
    return _Part(f"{len(data)}s", repeat(data))


@lru_cache(maxsize=4096)
def _header(size: int) -> bytes:
    return _SCOPE_SPANS_SPAN + varint(size)


@lru_cache(maxsize=256)
def _struct(code: str) -> struct.Struct:
    return struct.Struct(code)


def _parts(name: str, values: Sequence[Any]) -> Sequence[_Part]:
    """The attribute of one name of each of many spans."""
    kind, size = type(values[0]), len(values)
    if kind in _UNLIKE_OTHERS and values.count(values[0]) == size:
        return (_same(_written(name, values[0])),)
    if countOf(map(type, values), kind) != size:
        return (_Part("", [_written(name, value) for value in values]),)
    return _PARTS.get(kind, _loose)(name, values)


def _doubles(name: str, values: Sequence[float]) -> Sequence[_Part]:
    return _same(_before(name, 9) + _VALUE_DOUBLE), _Part("d", values)


def _scalars(name: str, values: Sequence[Any]) -> Sequence[_Part]:
    """Values of one type that many spans have in common."""
    first = values[0]
    if values.count(first) == len(values):
        return (_same(_written(name, first)),)
    if type(first) is bool:
        return _same(_before(name, 2) + _VALUE_BOOL), _Part("?", values)
    size = _common_size(values) if type(first) is int else 0
    if size:
        return _same(_before(name, 1 + size) + _VALUE_INT), *_varints(values, size)
    known = {value: _written(name, value) for value in set(values)}
    return (_Part("", [known[value] for value in values]),)


def _arrays(name: str, values: Sequence[tuple[Any, ...]]) -> Sequence[_Part]:
    """Arrays: of a few doubles, as many in each span, or of texts that many have in common."""
    if len(values) < len(values[0]):
        return _loose(name, values)
    sizes, kinds = set(map(len, values)), set(map(type, chain.from_iterable(values)))
    if kinds == {float} and len(sizes) == 1:
        doubles = [(_same(_ARRAY_DOUBLE), _Part("d", of)) for of in zip(*values, strict=True)]
        size = len(doubles) * (len(_ARRAY_DOUBLE) + 8)
        header = _VALUE_ARRAY + varint(size)
        before = _same(_before(name, len(header) + size) + header)
        return before, *chain.from_iterable(doubles)
    if kinds == {str}:
        known = {of: _text(of.encode()) for of in set(chain.from_iterable(values))}
        arrays = [b"".join([known[text] for text in of]) for of in values]
        return (_Part("", [_named(name, field(_VALUE_ARRAY, of)) for of in arrays]),)
    return _loose(name, values)


def _loose(name: str, values: Sequence[Any]) -> Sequence[_Part]:
    kind: Any = type(values[0])
    return (_Part("", list(map(_writer(name, kind), values))),)


_PARTS: dict[type, Callable[[str, Sequence[Any]], Sequence[_Part]]] = {
    float: _doubles,
    tuple: _arrays,
    **dict.fromkeys((str, int, bool, NoneType), _scalars),
}
"""How values are written that are all of this type; others, one by one."""
_UNLIKE_OTHERS = {str, NoneType}
"""Types of which no value is equal to one of another type."""


def _common_size(values: Sequence[int]) -> int:
    """How long the varint of every one of these is; 0 if they differ in that."""
    low, high = min(values), max(values)
    if low < 0 or high >= _LARGEST_INT:
        return 0
    size = len(varint(high))
    return size if len(varint(low)) == size else 0


def _varints(values: Sequence[int], size: int) -> Sequence[_Part]:
    """Varints of so many bytes each."""
    if size == 1:
        return (_Part("B", values),)
    if size == 2:  # noqa: PLR2004 - it stands for itself
        return (_Part("H", [of + (of & -128) + 0x80 for of in values]),)
    low, high = [of & 0x3FFF for of in values], [of >> 14 for of in values]
    more = [of + (of & -128) + 0x8080 for of in low]
    return _Part("H", more), _Part(f"{size - 2}s", map(varint, high))


def _written(name: str, value: object) -> bytes:
    kind: Any = type(value)
    return _writer(name, kind)(value)


@lru_cache(maxsize=1024)
def _writer(name: str, kind: Any) -> Writer:
    """What writes an attribute of this name whose value is of this very type."""
    if kind is NoneType:
        return lambda _: b""
    if kind not in _PAYLOADS:
        raise NotPlainError(kind)
    payload = _PAYLOADS[kind]
    return lambda value: _named(name, payload(value))


def _named(name: str, value: bytes) -> bytes:
    """An attribute whose value is encoded."""
    return _before(name, len(value)) + value


@lru_cache(maxsize=4096)
def _before(name: str, size: int) -> bytes:
    """All of an attribute that stands before a value of so many bytes."""
    key = name.encode()
    if not key:  # which protobuf would leave out
        raise NotPlainError(name)
    pair = b"".join((_KEY_VALUE_KEY, varint(len(key)), key, _KEY_VALUE_VALUE, varint(size)))
    return _SPAN_ATTRIBUTE + varint(len(pair) + size) + pair


def _string(value: str) -> bytes:
    return field(_VALUE_STRING, value.encode())


def _bool(value: bool) -> bytes:  # noqa: FBT001 - it is what is written
    return _VALUE_BOOL + (b"\x01" if value else b"\x00")


def _int(value: int) -> bytes:
    if not -_LARGEST_INT <= value < _LARGEST_INT:
        raise NotPlainError(value)
    return _VALUE_INT + varint(value % _TWOS_COMPLEMENT)


def _double(value: float) -> bytes:
    return _VALUE_DOUBLE + _pack_double(value)


def _array(values: tuple[Any, ...]) -> bytes:
    kinds = set(map(type, values))
    if kinds == {float}:
        return field(_VALUE_ARRAY, *map(_pack_array_double, repeat(_ARRAY_DOUBLE), values))
    if not kinds <= _PAYLOADS.keys():
        raise NotPlainError(kinds)
    return field(_VALUE_ARRAY, *map(_element, values))


def _element(value: Any) -> bytes:
    return field(_ARRAY_VALUE, _PAYLOADS[type(value)](value))


def _text(data: bytes) -> bytes:
    """A text as an element."""
    return _before_text(len(data)) + data


@lru_cache(maxsize=256)
def _before_text(size: int) -> bytes:
    value = _VALUE_STRING + varint(size)
    return _ARRAY_VALUE + varint(len(value) + size) + value


_PAYLOADS: dict[type, Writer] = {
    str: _string,
    int: _int,
    bool: _bool,
    float: _double,
    tuple: _array,
}
"""What writes a value without its name, by its very type: a subclass may mean something else."""
