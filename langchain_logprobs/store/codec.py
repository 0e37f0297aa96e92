"""A report as bytes, and back, equal to what it was.

JSON for what is small, packed columns for the tokens, compressed. Never pickle: a store may come
from anybody, and reading one must not run anything.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, cast
from uuid import UUID

from langchain_logprobs.core.confidence import Confidence, TokenMeasures
from langchain_logprobs.core.fields import FieldConfidence, Fields
from langchain_logprobs.core.labels import LabelConfidence
from langchain_logprobs.core.model import Completion, ModelCall, Run, RunTree
from langchain_logprobs.core.report import CallReport, SequenceConfidence
from langchain_logprobs.core.tokens import Candidate, TokenLogprob, listed_of
from langchain_logprobs.core.tools import ToolConfidence

_DEPTH = 40
"""Nesting of metadata beyond which only the type is kept; it could hold itself."""
_NO_TIME = -(2**63)
_NAN = float("nan")
_DIFFERENT = object()
_LEVEL = 1  # half the time of the default, for 5 % more bytes
_KINDS: Mapping[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        CallReport,
        Candidate,
        Completion,
        Confidence,
        FieldConfidence,
        LabelConfidence,
        ModelCall,
        Run,
        RunTree,
        SequenceConfidence,
        TokenLogprob,
        TokenMeasures,
        ToolConfidence,
    )
}
"""The values that are read back as themselves."""
_KNOWN = frozenset(_KINDS.values())


class DamagedError(ValueError):
    """The bytes are no report."""


def encode(value: object) -> bytes:
    """The value as bytes.

    JSON's types, tuples, sets, bytes, UUIDs, times, ranges and this package's values come back
    equal; of anything else (metadata may hold any object) only the name of its type is kept.

    Raises:
        ValueError, struct.error: It holds numbers that no column takes.
        Exception: Whatever an object in it raises where it is looked at.
    """
    columns: list[bytes] = []
    record = json.dumps(_plain(value, columns), separators=(",", ":"), ensure_ascii=True).encode()
    return zlib.compress(struct.pack("<I", len(record)) + record + b"".join(columns), _LEVEL)


def decode(body: bytes) -> Any:
    """The value that `encode` made the bytes of.

    Raises:
        DamagedError: They are not of its making.
    """
    try:
        data = zlib.decompress(body)
        (length,) = struct.unpack_from("<I", data)
        record = json.loads(data[4 : 4 + length])
        return _value(record, _Columns(data, 4 + length))
    except (zlib.error, struct.error, LookupError, TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error


# To bytes


def _plain(value: Any, columns: list[bytes], depth: int = 0) -> Any:
    """The value as JSON can hold it; its token columns are put aside, in order."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if depth > _DEPTH:
        return {"$other": _name(kind)}
    if kind is list:
        return [_plain(item, columns, depth + 1) for item in value]
    if kind is dict and not any(type(key) is not str or key[:1] == "$" for key in value):
        return {key: _plain(item, columns, depth + 1) for key, item in value.items()}
    if kind is Completion:
        inner = {name: getattr(value, name) for name, _ in _defaults(Completion)[1:]}
        tokens = _tokens(value.tokens, columns)
        return {"$Completion": {"tokens": {"$tokens": tokens}, **_plain(inner, columns, depth + 1)}}
    if kind in _KNOWN:
        return {f"${kind.__name__}": _plain(_members(value), columns, depth + 1)}
    return _tagged(value, columns, depth)


def _members(value: Any) -> dict[str, Any]:
    """What differs from a fresh value of its kind."""
    if not is_dataclass(value):
        return dict(zip(value._fields, value, strict=True))
    return {
        name: given
        for name, default in _defaults(cast("Any", type(value)))
        if (given := getattr(value, name)) is not default
    }


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The members that make two values different; others, such as measures, come of these."""
    return tuple((of.name, of.default) for of in fields(kind) if of.compare)


def _tagged(value: Any, columns: list[bytes], depth: int) -> Any:
    match value:
        case tuple():
            return {"$tuple": [_plain(item, columns, depth + 1) for item in value]}
        case Fields():
            return {"$fields": _plain(list(value.every_field), columns, depth + 1)}
        case Mapping():
            pairs = [_plain(list(pair), columns, depth + 1) for pair in list(value.items())]
            return {"$mapping": pairs}
        case set() | frozenset():
            return {"$set": [_plain(item, columns, depth + 1) for item in value]}
        case bytes():
            return {"$bytes": value.decode("latin-1")}
        case UUID():
            return {"$uuid": value.hex}
        case datetime():
            return {"$datetime": value.isoformat()}
        case range():
            return {"$range": [value.start, value.stop, value.step]}
        case list():
            return [_plain(item, columns, depth + 1) for item in value]
        case str() | int() | float():  # a subclass, such as a StrEnum's member: equal to its value
            base = next(of for of in (str, int, float) if isinstance(value, of))
            return base.__str__(value) if base is str else base(value)
        case _:
            return {"$other": _name(type(value))}


def _name(kind: type) -> str:
    # Not its repr: that may be long, slow, or hold a secret.
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _tokens(tokens: Sequence[TokenLogprob], columns: list[bytes]) -> dict[str, Any]:
    """The tokens as columns. Each text is kept once a completion: candidates recur.

    Of all that the store does, this keeps other threads waiting longest: so whole columns at once.
    """
    texts: list[str] = []
    raws: list[bytes | None] = []
    logprobs: list[float | None] = []
    counts: list[int] = []
    for token in tokens:
        texts.append(token.text)
        raws.append(token.raw)
        logprobs.append(token.logprob)
        # Side by side as they were read, if they were: then nobody need make candidates of them.
        listed: Any = listed_of(token) or tuple(zip(*token.candidates, strict=True))
        counts.append(len(listed[0]) if listed else 0)
        if listed:
            texts += listed[0]
            logprobs += listed[1]
            raws += listed[2]
    shared = _shared_raw(texts, raws)
    # Where all have their bytes from their text, or none, a text stands for the pair.
    keys = list(zip(texts, raws, strict=True)) if shared is _DIFFERENT else texts
    vocabulary: dict[Any, int] = {}
    indices = [vocabulary.setdefault(key, len(vocabulary)) for key in keys]
    pairs: Any = list(vocabulary)
    columns.append(struct.pack(f"<{len(tokens)}I", *counts))
    columns.append(struct.pack(f"<{len(texts)}I", *indices))
    columns.append(struct.pack(f"<{len(texts)}d", *[_NAN if x is None else x for x in logprobs]))
    times = [token.at_ns for token in tokens]
    timed = times.count(None) < len(times)
    if timed:
        given = [_NO_TIME if at is None else at for at in times]
        columns.append(struct.pack(f"<{len(times)}q", *given))
    channels = {token.channel for token in tokens}
    return {
        "count": len(tokens),
        "entries": len(texts),
        "timed": timed,
        "texts": [text for text, _ in pairs] if shared is _DIFFERENT else pairs,
        "raws": _raws(pairs) if shared is _DIFFERENT else shared,
        "channels": [*channels] if len(channels) < 2 else [of.channel for of in tokens],  # noqa: PLR2004
    }


def _shared_raw(texts: Sequence[str], raws: Sequence[bytes | None]) -> Any:
    """What says of all of them where their bytes come from, if one value can; or `_DIFFERENT`."""
    if not raws:
        return []
    try:
        raw = b"".join(cast("Sequence[bytes]", raws))
    except TypeError:  # a None among them
        return None if raws.count(None) == len(raws) else _DIFFERENT
    text = "".join(texts)
    # A character is a byte in it: texts that are as long as their bytes are those bytes.
    same = text.isascii() and text.encode() == raw
    return True if same and list(map(len, texts)) == list(map(len, raws)) else _DIFFERENT  # type: ignore[arg-type]


def _raws(pairs: Sequence[tuple[str, bytes | None]]) -> Any:
    """`True` where the bytes are the text's own, one value for all that are alike."""
    raws = [
        raw
        if raw is None
        else raw == text.encode("utf-8", "surrogatepass") or raw.decode("latin-1")
        for text, raw in pairs
    ]
    return raws[0] if all(raw in (None, True) and raw == raws[0] for raw in raws) else raws


# From bytes


class _Columns:
    """Takes the columns one after another."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, count: int, code: str) -> tuple[Any, ...]:
        form = f"<{count}{code}"
        values = struct.unpack_from(form, self._data, self._offset)
        self._offset += struct.calcsize(form)
        return values


def _value(plain: Any, columns: _Columns) -> Any:
    if isinstance(plain, list):
        return [_value(item, columns) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        [(key, inner)] = plain.items()
        if key[:1] == "$":
            return _untagged(key[1:], inner, columns)
    return {key: _value(item, columns) for key, item in plain.items()}


def _untagged(tag: str, inner: Any, columns: _Columns) -> Any:
    match tag:
        case "tuple":
            return tuple(_value(inner, columns))
        case "mapping":
            return {key: item for key, item in _value(inner, columns)}  # noqa: C416 - may be a tuple's
        case "fields":
            return Fields(_value(inner, columns))
        case "set":
            return frozenset(_value(inner, columns))
        case "bytes":
            return inner.encode("latin-1")
        case "uuid":
            return UUID(hex=inner)
        case "datetime":
            return datetime.fromisoformat(inner)
        case "range":
            return range(*inner)
        case "other":
            return inner
        case "tokens":
            return tuple(_tokens_of(inner, columns))
        case _:
            return _made(_KINDS[tag], _value(inner, columns))


def _made(kind: Callable[..., Any], members: dict[str, Any]) -> Any:
    """The value of that kind; members that only another version keeps are left out."""
    known = {name for name, _ in _defaults(kind)} if is_dataclass(kind) else set(members)
    return kind(**{name: value for name, value in members.items() if name in known})


def _tokens_of(record: Mapping[str, Any], columns: _Columns) -> Iterator[TokenLogprob]:
    count, entries = record["count"], record["entries"]
    counts, indices = columns.take(count, "I"), columns.take(entries, "I")
    logprobs = [None if x != x else x for x in columns.take(entries, "d")]  # noqa: PLR0124 - NaN
    times = columns.take(count, "q") if record["timed"] else (_NO_TIME,) * count
    channels = record["channels"]
    texts = list(_with_raws(record["texts"], record["raws"]))
    listed = zip(map(texts.__getitem__, indices), logprobs, strict=True)
    for index in range(count):
        (text, raw), logprob = next(listed)
        candidates = islice(listed, counts[index])
        yield TokenLogprob(
            text,
            logprob,
            raw,
            tuple(Candidate(its, number, bytes_) for (its, bytes_), number in candidates),  # type: ignore[arg-type]
            channels[index if len(channels) > 1 else 0],
            None if times[index] == _NO_TIME else times[index],
        )


def _with_raws(texts: Sequence[str], raws: Any) -> Iterator[tuple[str, bytes | None]]:
    each = raws if isinstance(raws, list) else [raws] * len(texts)
    for text, raw in zip(texts, each, strict=True):
        if raw is True:
            yield text, text.encode("utf-8", "surrogatepass")
        else:
            yield text, None if raw is None else raw.encode("latin-1")
