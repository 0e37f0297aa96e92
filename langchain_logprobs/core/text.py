"""Tokens to text: which bytes of an answer each token wrote.

A character can be split over tokens, so everything here counts bytes. Providers write a token's
bytes in five ways; one of them is believed only when its bytes, put together, are the answer.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby, pairwise
from typing import Literal, cast

from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.tokens import Candidate, TokenLogprob, Tokens

Alignment = Literal["exact", "approximate"]
"""How well the places of the tokens in the answer are known.

`approximate`: some tokens came with U+FFFD for their bytes, or with no text at all. Neighbours of
that kind share the gap which the tokens around them leave.
"""

Reading = Callable[[TokenLogprob | Candidate], bytes]
"""One way to get at the bytes of a token or of an alternative."""

_LOSSY = "\N{REPLACEMENT CHARACTER}".encode()
_MOST_LOST = 3
"""A decoder writes one U+FFFD for at most this many bytes."""
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_SENTENCEPIECE = re.compile(b"<0x([0-9a-fA-F]{2})>")
_UNSEEN = re.compile(rb"(?:\s|<[^<>]*>|\[/?[A-Z_]+\])*")
"""White space and special tokens such as `</s>`: what servers strip from an answer's ends."""
_BEFORE = re.compile(rb"(?:.*>)?\s*", re.DOTALL)
"""What may come before an answer and be left out of it: the same, and reasoning in its tags."""
_UNKNOWN = re.compile(rb"|token_id:\d+")
"""What stands for a token whose text nobody sent."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """The bytes of an answer, and the place of each token in them.

    Attributes:
        data: The answer in UTF-8.
        starts: Where each token begins in `data`; never decreasing.
        ends: Where each token ends. A token that the provider stripped from the answer begins and
            ends at the same place.
        alignment: Whether those places are known or bounded.
        reading: What read the tokens' bytes; it reads those of their alternatives too.
    """

    data: bytes
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    alignment: Alignment = "exact"
    reading: Reading = field(default=identity, compare=False)


def joined(tokens: Iterable[TokenLogprob]) -> str:
    """The text that the tokens' bytes make together; U+FFFD for what is no UTF-8."""
    return b"".join(map(identity, tokens)).decode("utf-8", "replace")


def pieces(tokens: Sequence[TokenLogprob], text: str | None = None) -> list[str]:
    r"""The text to show for each token; joined, they are the answer.

    A character that is split over tokens stands at the token that completes it.

    Args:
        tokens: In order, of one channel.
        text: The answer as the provider gave it, where it is known: with it, byte alphabets are
            undone and stripped special tokens show as nothing.

    >>> pieces([TokenLogprob("?", -0.1, b"\xc3"), TokenLogprob("?", -0.1, b"\xa9!")])
    ['', 'é!']
    """
    aligned = align(tokens, text) or align(tokens)
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    shown = [decode(part) for part in _shares(aligned)] if aligned is not None else []
    if shown:
        shown[-1] += decode(b"", final=True)
    return shown


def align(tokens: Sequence[TokenLogprob], text: str | None = None) -> Aligned | None:
    """The place of each token in the answer, or `None` if the tokens do not make it.

    Args:
        tokens: In order, of one channel.
        text: The answer. Without it the tokens' own bytes are the answer.
    """
    if text is None:
        return own_bytes(tokens)
    data = text.encode("utf-8", "surrogatepass")
    for place in (_placed, _bounded):
        for reading in READINGS:
            aligned = place(_read(tokens, reading), data)
            if aligned is not None:
                return replace(aligned, reading=reading)
    return None


def own_bytes(tokens: Sequence[TokenLogprob], reading: Reading = identity) -> Aligned:
    """The place of each token in what the tokens themselves make, whatever the answer is."""
    parts = _read(tokens, reading)
    ends = tuple(accumulate(map(len, parts)))
    data = b"".join(parts)
    alignment: Alignment = "approximate" if _LOSSY in data else "exact"
    return Aligned(data, (0, *ends[:-1])[: len(ends)], ends, alignment, reading)


def _read(tokens: Sequence[TokenLogprob], reading: Reading) -> Sequence[bytes]:
    """The bytes of each token, without a token if they are at hand."""
    if reading is identity and isinstance(tokens, Tokens) and 0 not in tokens.raws.sizes:
        return cast("Sequence[bytes]", tokens.raws)
    return [reading(token) for token in tokens]


def read_plain(token: TokenLogprob | Candidate) -> bytes:
    """The bytes of the token's text as it stands."""
    return token.text.encode("utf-8", "surrogatepass")


def read_escapes(token: TokenLogprob | Candidate) -> bytes:
    r"""The bytes of a text such as `bytes:\xf0\x9f`, in which whole bytes are escaped."""
    return _ESCAPE.sub(_byte, read_plain(token).removeprefix(b"bytes:"))


def read_alphabet(token: TokenLogprob | Candidate) -> bytes:
    """The bytes of a text in GPT-2's alphabet, which has one printable character a byte."""
    return b"".join(
        _ALPHABET.get(char) or char.encode("utf-8", "surrogatepass") for char in token.text
    )


def read_sentencepiece(token: TokenLogprob | Candidate) -> bytes:
    """The bytes of a SentencePiece token: `▁` for a space, `<0xE2>` for a byte."""
    plain = token.text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode("utf-8", "surrogatepass")
    return _SENTENCEPIECE.sub(_byte, plain)


READINGS: tuple[Reading, ...] = (
    identity,
    read_plain,
    read_escapes,
    read_alphabet,
    read_sentencepiece,
)
"""Every way met so far, the most reliable first."""


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16)])


def _alphabet() -> dict[str, bytes]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the rest is moved behind it."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = sorted(set(range(0x100)) - printable)
    codes = {code: code for code in printable} | {0x100 + i: code for i, code in enumerate(hidden)}
    return {chr(shown): bytes([code]) for shown, code in codes.items()}


_ALPHABET = _alphabet()


def _placed(parts: Sequence[bytes], data: bytes) -> Aligned | None:
    """The tokens' places if together they are the answer, but for what a server strips."""
    whole = b"".join(parts)
    if whole != data and whole.decode("utf-8", "replace").encode() == data:
        data = whole  # the answer is the lossy one: cut off inside a character
    if whole == data:  # almost always
        ends = tuple(accumulate(map(len, parts)))
        return Aligned(data, (0, *ends[:-1])[: len(ends)], ends)
    offset = _offset(whole, data)
    if offset is None:
        return None
    top = len(data)
    bounds = [min(max(at - offset, 0), top) for at in accumulate(map(len, parts), initial=0)]
    return Aligned(data, tuple(bounds[:-1]), tuple(bounds[1:]))


def _offset(whole: bytes, data: bytes) -> int | None:
    """Where the answer begins in what the tokens make; `None` if they make something else."""
    if not data or not whole:
        return 0 if _UNSEEN.fullmatch(whole + data) and not data else None
    # More tokens than answer: a stop word was cut off. Fewer: `max_tokens` was reached.
    if whole.startswith(data) or data.startswith(whole):
        return 0
    for at in (whole.find(data), whole.rfind(data)):
        if at > 0 and _BEFORE.fullmatch(whole, 0, at) and _UNSEEN.fullmatch(whole, at + len(data)):
            return at
    return None


def _bounded(parts: Sequence[bytes], data: bytes) -> Aligned | None:
    """The tokens' places if the clean ones are found in order; the lossy ones get the gaps."""
    kept = _kept(parts, data)
    runs = [(lossy, list(run)) for lossy, run in groupby(parts[:kept], key=_is_lossy)]
    if all(map(_UNKNOWN.fullmatch, parts[:kept])) or (cuts := _cuts(runs, data)) is None:
        return None
    spans = [
        span
        for (lossy, run), (start, end) in zip(runs, pairwise(cuts), strict=True)
        for span in ([(start, end)] * len(run) if lossy else _side_by_side(run, start))
    ]
    spans += [(len(data), len(data))] * (len(parts) - kept)
    starts, ends = zip(*spans, strict=True)
    return Aligned(data, starts, ends, "approximate")


def _kept(parts: Sequence[bytes], data: bytes) -> int:
    """How many tokens there are without the special ones stripped from the end."""
    kept = len(parts)
    while kept and _UNSEEN.fullmatch(last := parts[kept - 1]):
        if last and data.endswith(last):
            break
        kept -= 1
    return kept


def _cuts(runs: Sequence[tuple[bool, list[bytes]]], data: bytes) -> list[int] | None:
    """Where each run begins and the last one ends; `None` if a clean one is not where it can be."""
    cuts: list[int] = []
    at, least, most = 0, 0, 0
    for lossy, run in runs:
        if lossy:
            cuts.append(at)
            least, most = _extent(run, len(data))
            continue
        literal = b"".join(run)
        found = data.find(literal, at + least, at + most + len(literal))
        if found < 0:
            return None
        cuts.append(found)
        at, least, most = found + len(literal), 0, 0
    return [*cuts, len(data)] if least <= len(data) - at <= most else None


def _side_by_side(parts: Iterable[bytes], start: int) -> Iterator[tuple[int, int]]:
    return pairwise(accumulate(map(len, parts), initial=start))


def _is_lossy(part: bytes) -> bool:
    return _LOSSY in part or _UNKNOWN.fullmatch(part) is not None


def _extent(run: Sequence[bytes], most: int) -> tuple[int, int]:
    """The fewest and the most bytes that a run of lossy tokens can have written."""
    lost = sum(part.count(_LOSSY) for part in run)
    known = sum(map(len, run)) - lost * len(_LOSSY)
    if any(_UNKNOWN.fullmatch(part) for part in run):
        return 0, most
    return known + lost, known + lost * _MOST_LOST


def _shares(aligned: Aligned) -> list[bytes]:
    """The bytes to show at each token; those of a gap at the last token that shares it."""
    last = [
        *(start < end for start, end in zip(aligned.starts[1:], aligned.ends, strict=False)),
        False,
    ]
    ends = [
        start if waits else end
        for start, end, waits in zip(aligned.starts, aligned.ends, last, strict=False)
    ]
    return [aligned.data[start:end] for start, end in zip((0, *ends), ends, strict=False)]
