"""JSON documents that know where their values stand, and ways to cut them into tokens."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from langchain_logprobs.core.scanner import step
from langchain_logprobs.core.tokens import TokenLogprob

NUMBERS = [
    "0",
    "-0",
    "7",
    "-12",
    "1e5",
    "1E-2",
    "-3.25e+10",
    "0.1",
    "2.50",
    "123456789012345678901",
]
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
NAMES = ["total", "a", "item id", "a.b", 'q"q', "größe", "", "x\ny", "\U0001f600", "a"]


@dataclass
class Leaf:
    path: str
    value: Any
    start: int
    end: int
    is_string: bool

    @property
    def inside(self) -> tuple[int, int]:
        trimmed = (self.start + 1, self.end - 1)
        return trimmed if self.is_string and trimmed[0] < trimmed[1] else (self.start, self.end)


@dataclass
class Document:
    """The bytes of a document, and the leaves in order."""

    data: bytearray = field(default_factory=bytearray)
    leaves: list[Leaf] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.data.decode()

    def leaf(self, path: str, source: str) -> None:
        start = len(self.data)
        self.data += source.encode()
        value = json.loads(source)
        self.leaves.append(Leaf(path, value, start, len(self.data), source.startswith('"')))


@st.composite
def string_source(draw: st.DrawFn) -> str:
    """A JSON string with each character raw, escaped short, or escaped by number."""
    text = draw(st.text(st.characters(codec="utf-8") | st.sampled_from('"\\/\n\té€😀'), max_size=8))
    return '"' + "".join(draw(st.sampled_from(_spellings(char))) for char in text) + '"'


def _spellings(char: str) -> list[str]:
    units = char.encode("utf-16-be")
    numbered = "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
    raw = [char] if char not in '"\\' and char >= " " else []
    return [*raw, numbered, *([SHORT[char]] if char in SHORT else [])]


scalar_source = (
    string_source()
    | st.sampled_from(["true", "false", "null", '""'])
    | st.sampled_from(NUMBERS)
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
space = st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"])


@st.composite
def documents(draw: st.DrawFn, before: st.SearchStrategy[str] | None = None) -> Document:
    document = Document(bytearray((draw(before) if before is not None else "").encode()))
    write(draw, document, "$", draw(st.integers(1, 3)))
    return document


def write(draw: st.DrawFn, document: Document, path: str, depth: int) -> None:
    kind = draw(
        st.sampled_from(["object", "array"] if path == "$" else ["object", "array", *"sss"])
    )
    if kind == "s" or depth == 0:
        document.leaf(path, draw(scalar_source))
        return
    width = draw(st.integers(0, 4))
    opening, closing = "{}" if kind == "object" else "[]"
    if width == 0:
        document.leaf(path, f"{opening}{draw(space)}{closing}")
        return
    document.data += opening.encode()
    for index in range(width):
        comma = "," if index else ""
        document.data += f"{draw(space)}{comma}{draw(space)}".encode()
        inner = f"{path}[{index}]"
        if kind == "object":
            key = draw(st.sampled_from(NAMES))
            document.data += f"{json.dumps(key)}{draw(space)}:{draw(space)}".encode()
            inner = path + step(key)
        write(draw, document, inner, depth - 1)
    document.data += f"{draw(space)}{closing}".encode()


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise(sorted({0, len(data), *places}))] or [b""]


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The bytes cut anywhere, often, and within characters."""
    return st.lists(st.integers(0, len(data)), max_size=60).map(lambda at: cut_at(data, at))


@cache
def o200k() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its way to open its own ranks
        import bpe_openai  # noqa: PLC0415 - it takes half a second to load them

    return bpe_openai.get_encoding("o200k_base")


def o200k_cut(text: str) -> list[bytes]:
    """The bytes of the tokens that GPT-4o's tokenizer makes of a text."""
    return [o200k().decode_single_token_bytes(token) for token in o200k().encode_ordinary(text)]


def tokens_of(parts: list[bytes]) -> list[TokenLogprob]:
    """A token for each part, each with a logprob of its own."""
    return [
        TokenLogprob(part.decode("utf-8", "replace"), -(index + 1) / 64, part)
        for index, part in enumerate(parts)
    ]


def written_by(parts: list[bytes], start: int, end: int) -> list[int]:
    """Which parts hold any of these bytes, found the slow and simple way."""
    found, at = [], 0
    for index, part in enumerate(parts):
        if any(start <= place < end for place in range(at, at + len(part))):
            found.append(index)
        at += len(part)
    return found
