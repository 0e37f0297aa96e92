"""JSON values and their places in the bytes of an answer, as the bytes come in.

A model's answer is not a JSON document: there is prose around it, a code fence, several values, or
an end in the middle of a word. So this scanner skips what is no JSON, keeps what it has read when
the JSON breaks off, and tells where every value begins and ends, which no JSON parser does.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

MAX_DEPTH = 100
"""Containers inside each other; whatever follows a deeper one is not read."""
MAX_PATH = 4_000
"""Characters in the path of a container; the same."""

_ROOT = re.compile(rb"[{\[]")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(\.[0-9]++)?+([eE][-+]?[0-9]++)?+")
_BEGUN = re.compile(rb"-?[0-9]*+(?:\.[0-9]*+)?+(?:[eE][-+]?[0-9]*+)?+")
_WHOLE_ESCAPES = re.compile(r"(?:[^\\]|\\[^u]|\\u[0-9a-fA-F]{4})*+", re.DOTALL)
_SHORTHAND = re.compile(
    "[A-Za-z_\x80-\ud7ff\ue000-\U0010ffff][0-9A-Za-z_\x80-\ud7ff\ue000-\U0010ffff]*"
)
Match = Callable[[bytes, int], re.Match[bytes]]
"""A pattern that matches everywhere, if only nothing."""
_space: Match = re.compile(rb"[ \t\n\r]*+").match  # type: ignore[assignment]
_body: Match = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL).match  # type: ignore[assignment]
_word: Match = re.compile(rb"[-+.0-9A-Za-z_]*+").match  # type: ignore[assignment]
_skipped: Match = re.compile(rb'[^{}\[\]"]*+').match  # type: ignore[assignment]
_LITERALS: dict[bytes, Any] = {
    b"true": True,
    b"false": False,
    b"null": None,
    b"NaN": float("nan"),
    b"Infinity": float("inf"),
    b"-Infinity": float("-inf"),
}
_SCALAR = b"-0123456789tfnNI"
_QUOTE, _COMMA, _COLON = b'",:'
_OPEN_OBJECT, _OPEN_ARRAY, _CLOSE_OBJECT, _CLOSE_ARRAY = b"{[}]"
_LENIENT = json.JSONDecoder(strict=False)

Kind = Literal["string", "number", "literal", "object", "array"]


@dataclass(slots=True, eq=False)
class Value:
    """A JSON value in an answer, and its place.

    Attributes:
        path: Where it stands in its document, such as `$.items[0].price`.
        value: What `json.loads` would make of it; of an unfinished one, what is there so far.
        kind: What it is.
        start: Its first byte, the opening quote or bracket included.
        end: The byte after its last.
        complete: Whether it ends before the answer does.
        parent: Index of the container it is in; `None` at the top.
        children: How many values are directly in it.
    """

    path: str
    value: Any
    kind: Kind
    start: int
    end: int = -1
    complete: bool = False
    parent: int | None = None
    children: int = 0

    @property
    def inside(self) -> tuple[int, int]:
        """The bytes that say what it is: a string's without its quotes, unless it is empty."""
        start, end = self.start + 1, self.end - self.complete
        return (start, end) if self.kind == "string" and start < end else (self.start, self.end)


State = Callable[[bytes, int], int]


class Scanner:
    """Reads an answer in any pieces; `values` are those met so far, in order of their beginning.

    Reading in pieces gives the same as reading the whole, in linear time.
    """

    __slots__ = (
        "_base",
        "_depth",
        "_end",
        "_held",
        "_key",
        "_open",
        "_root",
        "_start",
        "_state",
        "values",
    )

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._state: State = self._lead
        self._end: Callable[[int], None] = self._end_value
        self._open: list[int] = []
        self._held: list[bytes] = []
        self._base = 0
        self._start = 0
        self._root = 0
        self._depth = 0
        self._key = ""

    def feed(self, chunk: bytes) -> None:
        """Reads the next bytes of the answer."""
        at, end = 0, len(chunk)
        while at < end:
            at = self._state(chunk, at)
        self._base += end

    def close(self) -> list[Value]:
        """All values of the answer; those that it breaks off in are marked as not complete."""
        self._break_off()
        for index in self._open:
            self.values[index].end = self._base
        self._state = _rest  # a bound method kept on its object would wait for the cycle collector
        return self.values

    # Each state reads from one place on, sets the state after it, and gives the place it got to.

    def _lead(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at == len(chunk):
            return at
        if chunk[at] == _QUOTE:
            return self._quote(at, self._end_value)
        self._start = self._base + at
        self._state = self._scalar if chunk[at] in _SCALAR else self._prose
        return at

    def _tail(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at < len(chunk):  # the answer goes on: its first word was not all of it
            self.values.clear()
            self._state = self._prose
        return at

    def _prose(self, chunk: bytes, at: int) -> int:
        found = _ROOT.search(chunk, at)
        if found is None:
            return len(chunk)
        at = found.start()
        self._root = len(self.values)
        self._begin(chunk[at], at)
        return at + 1

    def _item(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at == len(chunk):
            return at
        byte = chunk[at]
        if byte == _QUOTE:
            return self._quote(at, self._end_value)
        if byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            self._begin(byte, at)
            return at + 1
        if byte == _CLOSE_ARRAY:
            return self._finish(byte, at)
        self._start = self._base + at
        self._state = self._scalar
        return at

    def _name(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at == len(chunk):
            return at
        if chunk[at] == _QUOTE:
            return self._quote(at, self._end_key)
        return self._finish(chunk[at], at)

    def _colon(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at == len(chunk):
            return at
        if chunk[at] != _COLON:
            return self._broken(at)
        self._state = self._item
        return at + 1

    def _comma(self, chunk: bytes, at: int) -> int:
        at = _space(chunk, at).end()
        if at == len(chunk):
            return at
        if chunk[at] != _COMMA:
            return self._finish(chunk[at], at)
        self._state = self._name if self.values[self._open[-1]].kind == "object" else self._item
        return at + 1

    def _string(self, chunk: bytes, at: int) -> int:
        end = _body(chunk, at).end()
        self._held.append(chunk[at:end])
        if end == len(chunk):
            return end
        if chunk[end] == _QUOTE:
            self._end(self._base + end + 1)
            return end + 1
        self._held.append(b"\\")
        self._state = self._escape
        return end + 1

    def _escape(self, chunk: bytes, at: int) -> int:
        self._held.append(chunk[at : at + 1])
        self._state = self._string
        return at + 1

    def _scalar(self, chunk: bytes, at: int) -> int:
        end = _word(chunk, at).end()
        self._held.append(chunk[at:end])
        if end == len(chunk):
            return end
        word = self._taken()
        number = _NUMBER.fullmatch(word)
        if number is None and word not in _LITERALS:
            return self._broken(end)
        self._add(*_scalar_of(word, number), self._base + end, complete=True)
        self._state = self._comma if self._open else self._tail
        return end

    def _skip(self, chunk: bytes, at: int) -> int:
        at = _skipped(chunk, at).end()
        if at == len(chunk):
            return at
        byte = chunk[at]
        if byte == _QUOTE:
            return self._quote(at, self._end_skipped)
        self._depth += 1 if byte in (_OPEN_OBJECT, _OPEN_ARRAY) else -1
        if self._depth == 0:
            self._state = self._prose
        return at + 1

    # What the states do.

    def _quote(self, at: int, end: Callable[[int], None]) -> int:
        self._start = self._base + at
        self._end = end
        self._state = self._string
        return at + 1

    def _end_key(self, _end: int) -> None:
        self._key = _text(self._taken())
        self._state = self._colon

    def _end_value(self, end: int) -> None:
        self._add(_text(self._taken()), "string", end, complete=True)
        self._state = self._comma if self._open else self._tail

    def _end_skipped(self, _end: int) -> None:
        self._held.clear()
        self._state = self._skip

    def _begin(self, byte: int, at: int) -> None:
        self._start = self._base + at
        index = len(self.values)
        if byte == _OPEN_OBJECT:
            self._add({}, "object")
            self._state = self._name
        else:
            self._add([], "array")
            self._state = self._item
        self._open.append(index)
        if len(self._open) > MAX_DEPTH or len(self.values[index].path) > MAX_PATH:
            self._state = _rest

    def _add(self, value: Any, kind: Kind, end: int = -1, *, complete: bool = False) -> None:
        if not self._open:
            self.values.append(Value("$", value, kind, self._start, end, complete))
            return
        index = self._open[-1]
        parent = self.values[index]
        if parent.kind == "object":
            path = parent.path + step(self._key)
            parent.value[self._key] = value
        else:
            path = f"{parent.path}[{len(parent.value)}]"
            parent.value.append(value)
        parent.children += 1
        self.values.append(Value(path, value, kind, self._start, end, complete, index))

    def _finish(self, byte: int, at: int) -> int:
        container = self.values[self._open[-1]]
        if byte != (_CLOSE_OBJECT if container.kind == "object" else _CLOSE_ARRAY):
            return self._broken(at)
        self._open.pop()
        container.end = self._base + at + 1
        container.complete = True
        self._state = self._comma if self._open else self._prose
        return at + 1

    def _broken(self, at: int) -> int:
        """What began at `_root` is no JSON from here on: keeps what was read, if anything was."""
        if all(value.kind in ("object", "array") for value in self.values[self._root :]):
            del self.values[self._root :]  # a bracket in prose
            self._state = self._prose
        else:
            # What is nested in the broken rest would be taken for a document of its own.
            self._state = self._skip
            self._depth = len(self._open)
            for index in self._open:
                self.values[index].end = self._base + at
        self._open.clear()
        return at

    def _break_off(self) -> None:
        if self._state == self._scalar:
            self._break_off_word(self._taken())
        elif self._state in (self._string, self._escape) and self._end == self._end_value:
            self._add(_text_so_far(self._taken()), "string", self._base)

    def _break_off_word(self, word: bytes) -> None:
        number = _NUMBER.match(word)
        whole = word in _LITERALS or (number is not None and number[0] == word)
        begun = _BEGUN.fullmatch(word) or any(known.startswith(word) for known in _LITERALS)
        if not begun:
            self._broken(0)
        elif self._open or whole:  # at the top, the end of the answer is the end of the word
            complete = not self._open
            self._add(*_scalar_of(word, number), self._start + len(word), complete=complete)

    def _taken(self) -> bytes:
        held = self._held
        taken = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        return taken


def scan(data: bytes) -> list[Value]:
    """The JSON values in an answer, in order of their beginning."""
    scanner = Scanner()
    scanner.feed(data)
    return scanner.close()


@lru_cache(maxsize=4096)
def step(key: str) -> str:
    """A key as a step of a path: `.total`, or `["a.b"]` where it is no plain name (RFC 9535)."""
    if _SHORTHAND.fullmatch(key):
        return f".{key}"
    try:
        key.encode()
    except UnicodeEncodeError:
        return f"[{json.dumps(key)}]"
    return f"[{json.dumps(key, ensure_ascii=False)}]"


def _rest(chunk: bytes, _at: int) -> int:
    return len(chunk)


def _scalar_of(word: bytes, number: re.Match[bytes] | None) -> tuple[Any, Kind]:
    if number is None or not number[0]:
        return _LITERALS.get(word), "literal"
    try:
        return (float if number[1] or number[2] else int)(number[0]), "number"
    except ValueError:  # more digits than `int` takes
        return word.decode("ascii"), "number"


def _text(raw: bytes) -> str:
    """What a JSON string says, from the bytes between its quotes."""
    text = _decoded(raw)
    if "\\" not in text:
        return text
    try:
        return str(_LENIENT.decode(f'"{text}"'))
    except ValueError:  # an escape that JSON does not know
        return text


def _text_so_far(raw: bytes) -> str:
    """What an unfinished JSON string says up to its last whole character."""
    text = codecs.utf_8_decode(raw, "replace", False)[0]  # noqa: FBT003
    whole = _WHOLE_ESCAPES.match(text)
    text = _text(whole[0].encode("utf-8", "surrogatepass")) if whole else text
    return text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")
