"""Answers with JSON in them, cut into GPT-4o's tokens, and which tokens wrote each value."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bpe_openai

KINDS = ("records", "any JSON", "in prose", "cut off")
WORDS = [
    "invoice",
    "total",
    "Berlin",
    "2026-03-01",
    "net",
    "amount",
    "Müller",
    "GmbH",
    "paid",
    "open",
    "#42",
    "EUR",
    "Zürich",
]
ODD = ["😀 ok", "", "👩\u200d🔬", "naïve “quote”", 'a "b" \\ c', "line\nbreak", "日本語", "a/b"]
KEYS = ["vendor", "total", "currency", "items", "name", "price", "paid", "note", "country", "id"]
ODD_KEYS = ["a.b", "größe", "item id", "x-y", "[0]", 'q"q', "€", "total"]


@dataclass
class Leaf:
    """A value, and the bytes it takes, quotes included."""

    path: list[str | int]
    start: int
    end: int
    quoted: bool


@dataclass
class Answer:
    """An answer as a provider sends it, and the truth about its leaves."""

    kind: str
    data: bytearray = field(default_factory=bytearray)
    leaves: list[Leaf] = field(default_factory=list)
    tokens: list[bytes] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the model answered."""
        return self.data.decode()

    def as_json(self) -> dict[str, Any]:
        """What the probe of another package needs: OpenAI's payload, and the accepted sums."""
        return {
            "kind": self.kind,
            "text": self.text,
            "tokens": [
                {"token": _shown(raw), "bytes": list(raw), "logprob": logprob}
                for raw, logprob in zip(self.tokens, self.logprobs, strict=True)
            ],
            "leaves": [{"path": leaf.path, "sums": self.sums(leaf)} for leaf in self.leaves],
        }

    def sums(self, leaf: Leaf) -> list[float]:
        """Sums of logprobs that count as right: of a string with or without either quote."""
        inner = 1 if leaf.quoted and leaf.end - leaf.start > 2 else 0
        starts, ends = (leaf.start + inner, leaf.start), (leaf.end - inner, leaf.end)
        return [self.sum_of(start, end) for start in starts for end in ends]

    def sum_of(self, start: int, end: int) -> float:
        """The logprobs of all tokens that wrote any of these bytes."""
        total, at = 0.0, 0
        for raw, logprob in zip(self.tokens, self.logprobs, strict=True):
            if at < end and at + len(raw) > start:
                total += logprob
            at += len(raw)
        return total


def corpus(documents: int, seed: int = 2026) -> list[Answer]:
    """So many answers, a quarter of each kind."""
    random_ = random.Random(seed)
    encoding = bpe_openai.get_encoding("o200k_base")
    return [_answer(KINDS[n % len(KINDS)], random_, encoding) for n in range(documents)]


def _answer(kind: str, random_: random.Random, encoding: Any) -> Answer:
    answer = Answer(kind)
    if kind == "in prose":
        answer.data += random_.choice(["Sure!\n\n```json\n", "Here it is: ", "```\n"]).encode()
    plain = kind in ("records", "cut off")
    _Writer(answer, random_, plain=plain).write([], 0)
    if kind == "in prose":
        answer.data += random_.choice(
            ["\n```\nAnything else?", " I hope this helps.", "\n```"]
        ).encode()
    numbers = encoding.encode_ordinary(answer.text)
    answer.tokens = [encoding.decode_single_token_bytes(number) for number in numbers]
    if kind == "cut off":
        _cut(answer, random_.randrange(len(answer.tokens) // 2, len(answer.tokens)))
    # All different, so that a sum tells which tokens are in it.
    answer.logprobs = [-random_.random() for _ in answer.tokens]
    return answer


def _cut(answer: Answer, tokens: int) -> None:
    while b"".join(answer.tokens[:tokens]).decode("utf-8", "ignore").encode() != b"".join(
        answer.tokens[:tokens]
    ):
        tokens += 1  # providers hold back half a character
    answer.tokens = answer.tokens[:tokens]
    answer.data = bytearray(b"".join(answer.tokens))
    answer.leaves = [leaf for leaf in answer.leaves if leaf.end < len(answer.data)]


class _Writer:
    """Writes a random document, and where its values are."""

    def __init__(self, answer: Answer, random_: random.Random, *, plain: bool) -> None:
        self.answer = answer
        self.random = random_
        self.keys = KEYS if plain else KEYS + ODD_KEYS
        self.texts = WORDS if plain else WORDS + ODD
        self.ascii = random_.random() < 0.5
        self.unique = plain
        self.space = random_.choice(["", " ", "\n  "])

    def write(self, path: list[str | int], depth: int) -> None:
        roll = self.random.random()
        if depth == 0 or (depth < 4 and roll < 0.25):
            self._object(path, depth)
        elif depth < 4 and roll < 0.4:
            self._container(
                "[", "]", self.random.randint(1, 4), lambda at: self.write([*path, at], depth + 1)
            )
        else:
            self._leaf(path)

    def _object(self, path: list[str | int], depth: int) -> None:
        size = self.random.randint(2, 6)
        keys = self.random.sample(self.keys, size)
        if not self.unique and self.random.random() < 0.2:
            keys[-1] = keys[0]

        def pair(at: int) -> None:
            self._add(f"{json.dumps(keys[at], ensure_ascii=self.ascii)}:{self.space and ' '}")
            self.write([*path, keys[at]], depth + 1)

        self._container("{", "}", size, pair)

    def _container(
        self, opening: str, closing: str, size: int, item: Callable[[int], None]
    ) -> None:
        self._add(opening + self.space)
        for at in range(size):
            self._add("," + self.space if at else "")
            item(at)
        self._add(self.space.rstrip(" ") + closing)

    def _leaf(self, path: list[str | int]) -> None:
        text = self._scalar()
        start = len(self.answer.data)
        self._add(text)
        quoted = text.startswith('"')
        self.answer.leaves.append(Leaf(path, start, len(self.answer.data), quoted))

    def _scalar(self) -> str:
        words = " ".join(self.random.choices(self.texts, k=self.random.randint(1, 4)))
        numbers = [str(self.random.randint(0, 10**6)), f"{self.random.random() * 1000:.2f}"]
        others = ["true", "false", "null", *([] if self.unique else ["1e5", "-2.5E-3", '""'])]
        strings = [json.dumps(words, ensure_ascii=self.ascii)] * 4
        return self.random.choice(strings + numbers + others)

    def _add(self, text: str) -> None:
        self.answer.data += text.encode()


def _shown(raw: bytes) -> str:
    """A token's text as OpenAI sends it: a part of a character as escapes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
