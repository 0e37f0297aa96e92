"""Tokens and their candidates, one by one and column by column."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain, count, groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from langchain_logprobs.core.packed import Packed, chained, packed, small
from langchain_logprobs.core.said import SAID, raws_from, readable

Channel = Literal["content", "refusal", "reasoning"]
"""What a token is part of: the answer, a refusal to answer, or the reasoning before it."""

CENSORED = -9999.0
"""The logprob of "too unlikely to be listed": what vLLM sends, and what `-inf` is read as."""


class Candidate(NamedTuple):
    """An alternative that the model weighed at one position.

    A named tuple and not a dataclass: a call has up to twenty of these a token, and a tuple is made
    in a third of the time.

    Attributes:
        text: The candidate as text; may hold U+FFFD where its bytes are no whole characters.
        logprob: Natural logarithm of its probability, at most 0.
        raw: Its UTF-8 bytes, where the provider gives them.

    .. versionadded:: 0.1.0
    """

    text: str
    logprob: float
    raw: bytes | None = None


CANDIDATE = partial(tuple.__new__, Candidate)
"""`Candidate._make`, in half the time."""


Listed = tuple[tuple[str, ...], tuple[float, ...], tuple[bytes | None, ...]]
"""The candidates at one position, their texts, logprobs and bytes side by side."""


@dataclass(slots=True, eq=False)
class Block:
    """The candidates of many tokens, column by column: those of the first, of the second, ...

    They are sound, and at each position the most likely is first, and each stands there once.

    Attributes:
        logprobs: Their logprobs.
        widths: How many each token has.
        places: Which of its candidates each token is; -1 for one that is none of them.
        entries: The candidates as they were given, until it is settled; none, if nobody is going to
            ask for more than the numbers.
        measured: The measures of its tokens, as columns, where these have been taken already.
    """

    logprobs: Sequence[float]
    widths: Sequence[int]
    places: Sequence[int]
    entries: Sequence[dict[str, Any]]
    measured: Sequence[Sequence[float | None]] = field(default=(), init=False)
    _bounds: Sequence[int] = field(default=(), init=False)
    _told: tuple[Sequence[object], Sequence[bytes | None]] | None = field(default=None, init=False)

    def __len__(self) -> int:
        """How many tokens they are the candidates of."""
        return len(self.widths)

    @property
    def bounds(self) -> Sequence[int]:
        """Where the candidates of each token begin, and where those of the last end."""
        if not self._bounds:
            self._bounds = [*accumulate(self.widths, initial=0)]
        return self._bounds

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Those of the first block, then those of the second, ...; none of them is settled yet.

        Raises:
            ValueError: Some of them are measured, and others are not.
        """
        block = cls(*(chained(map(get, blocks)) for get in _OF_BLOCK))
        columns = zip(*(of.measured for of in blocks), strict=True)
        block.measured = tuple(map(chained, columns))
        return block

    def pack(self) -> None:
        """Keeps its numbers in little room."""
        self.logprobs = cast("Sequence[float]", packed(self.logprobs))
        self.measured = tuple(map(packed, self.measured))

    def settle(self) -> None:
        """Takes what it still needs out of the application's objects, which may change then."""
        self._texts_and_raws()
        self.entries = ()

    def forget(self) -> None:
        """Leaves its tokens without candidates."""
        self.widths, self.places = bytes(len(self)), small([-1] * len(self))
        self.logprobs, self.entries, self._bounds, self._told = (), (), (), ((), ())

    def row(self, at: int) -> Listed:
        """The candidates of the token at this place."""
        of = slice(self.bounds[at], self.bounds[at + 1])
        texts, raws = self._texts_and_raws()
        if len(texts) != len(self.logprobs):
            return (), (), ()
        shown = tuple(map(readable, texts[of], raws[of]))
        return shown, tuple(self.logprobs[of]), tuple(raws[of])

    def numbers(self, at: int) -> tuple[Sequence[float], int]:
        """The logprobs of its candidates, and which of these the token is."""
        return self.logprobs[self.bounds[at] : self.bounds[at + 1]], self.places[at]

    def _texts_and_raws(self) -> tuple[Sequence[object], Sequence[bytes | None]]:
        if self._told is None:
            texts, given = (list(map(dict.get, self.entries, repeat(key))) for key in SAID)
            self._told = texts, raws_from(given)
        return self._told


class _MaybeListed:
    """Room for candidates that nobody has asked for yet: a block, and the token's place in it."""

    __slots__ = ("_at", "_block")
    _at: int
    _block: Block


@dataclass(frozen=True, slots=True)
class TokenLogprob(_MaybeListed):
    """A token the model chose, with how likely it was.

    Attributes:
        text: The token as text; may hold U+FFFD where its bytes are no whole characters.
        logprob: Natural logarithm of its probability, at most 0; `None` where the provider sent no
            usable number; `CENSORED` where it only said "less likely than all I list".
        raw: Its UTF-8 bytes, where the provider gives them.
        candidates: What else was weighed there, most likely first; most providers list the chosen
            token among them.
        channel: What the token is part of.
        at_ns: When it arrived, in nanoseconds since the epoch; `None` if it was not streamed.

    .. versionadded:: 0.1.0
    """

    text: str
    logprob: float | None
    raw: bytes | None = None
    candidates: tuple[Candidate, ...] = ()
    channel: Channel = "content"
    at_ns: int | None = None

    if not TYPE_CHECKING:  # it would allow every name

        def __getattr__(self, name: str) -> tuple[Candidate, ...]:
            """The candidates, made when they are first asked for."""
            if name != "candidates":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            listed = self._block.row(self._at)
            candidates = tuple(map(CANDIDATE, zip(*listed, strict=True)))
            object.__setattr__(self, name, candidates)
            return candidates


_SETTERS = [
    getattr(TokenLogprob, name).__set__
    for name in ("text", "logprob", "raw", "channel", "at_ns", "_block", "_at")
]

_PLACE, _CHANNEL = attrgetter("_at"), attrgetter("channel")


@dataclass(frozen=True, slots=True, eq=False)
class Tokens(Sequence[TokenLogprob]):
    """Tokens of one channel, column by column; each is made when somebody asks for one.

    A call has thousands of candidates, and at its end, while the user waits, only the numbers are
    needed.

    Attributes:
        texts: Their texts.
        logprobs: Their logprobs, sound ones; `None` where one is missing.
        raws: Their bytes, where the provider gives them.
        times: When each arrived, in nanoseconds since the epoch; `None` if it was not streamed.
        block: Their candidates.
        channel: What they are part of.
    """

    texts: Sequence[str]
    logprobs: Sequence[float | None]
    raws: Packed
    times: Sequence[int | None]
    block: Block
    channel: Channel = "content"
    _made: list[tuple[TokenLogprob, ...]] = field(default_factory=list)

    @property
    def made(self) -> tuple[TokenLogprob, ...]:
        """The tokens: the same ones, whoever asks."""
        if not self._made:
            self._made.append(tuple(self._make()))
        return self._made[0]

    def _make(self) -> list[TokenLogprob]:
        """Tokens like any other, in a third of the time that `__init__` takes."""
        tokens = list(map(object.__new__, repeat(TokenLogprob, len(self))))
        columns: tuple[Iterable[object], ...] = (
            self.texts,
            self.logprobs,
            self.raws,
            repeat(self.channel),
            self.times,
            repeat(self.block),
            count(),
        )
        for set_member, column in zip(_SETTERS, columns, strict=True):
            deque(map(set_member, tokens, column), maxlen=0)
        return tokens

    def __eq__(self, other: object) -> bool:
        """Whether those are the same tokens, however they are kept."""
        if isinstance(other, Tokens):
            other = other.made
        return self.made == other

    def __hash__(self) -> int:
        """As a tuple's."""
        return hash(self.made)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.texts)

    def __iter__(self) -> Iterator[TokenLogprob]:
        """Goes through them."""
        return iter(self.made)

    @overload
    def __getitem__(self, at: int) -> TokenLogprob: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[TokenLogprob, ...]: ...
    def __getitem__(self, at: int | slice) -> TokenLogprob | tuple[TokenLogprob, ...]:
        """One, or some."""
        return self.made[at]


def joined(parts: Iterable[Sequence[TokenLogprob]]) -> Sequence[TokenLogprob]:
    """The tokens of sequences that follow each other: column by column, if all of these are."""
    runs = [
        side_by_side(list(run)) if kept else tuple(chain.from_iterable(run))
        for kept, run in groupby(parts, key=_kept_as)
    ]
    return runs[0] if len(runs) == 1 else tuple(chain.from_iterable(runs))


def _kept_as(tokens: Sequence[TokenLogprob]) -> tuple[Channel, bool] | None:
    return (tokens.channel, bool(tokens.block.measured)) if isinstance(tokens, Tokens) else None


def side_by_side(parts: Sequence[Any]) -> Tokens:
    """The tokens of several `Tokens` of one channel, which follow each other.

    Raises:
        ValueError: Some of them are measured, and others are not.
    """
    first: Tokens = parts[0]
    if len(parts) == 1:
        return first
    texts, logprobs, times = (chained(map(get, parts)) for get in _OF_TOKENS)
    raws, block = Packed.joined([of.raws for of in parts]), Block.joined([of.block for of in parts])
    return Tokens(texts, logprobs, raws, times, block, first.channel)


_OF_TOKENS = tuple(map(attrgetter, ("texts", "logprobs", "times")))
_OF_BLOCK = tuple(map(attrgetter, ("logprobs", "widths", "places", "entries")))


def as_tuple(tokens: Sequence[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """The tokens as a tuple, which is one and the same for the same columns."""
    return tokens.made if isinstance(tokens, Tokens) else tuple(tokens)


def logprobs_of(tokens: Sequence[TokenLogprob]) -> Sequence[float | None]:
    """Their logprobs."""
    return tokens.logprobs if isinstance(tokens, Tokens) else [of.logprob for of in tokens]


def channels_of(tokens: Sequence[TokenLogprob]) -> set[Channel]:
    """What they are part of."""
    if isinstance(tokens, Tokens):
        return {tokens.channel} if tokens.texts else set()
    return set(map(_CHANNEL, tokens))


def channel_column(tokens: Sequence[TokenLogprob]) -> list[Channel]:
    """What each is part of."""
    if isinstance(tokens, Tokens):
        return [tokens.channel] * len(tokens)
    return list(map(_CHANNEL, tokens))


def times_of(tokens: Sequence[TokenLogprob]) -> Sequence[int | None]:
    """When each arrived."""
    return tokens.times if isinstance(tokens, Tokens) else [of.at_ns for of in tokens]


def blocks_of(tokens: Iterable[TokenLogprob]) -> list[Block | None]:
    """The blocks in which their candidates were read, of those that were read in one."""
    return list(map(getattr, tokens, repeat("_block"), repeat(None)))


def places_of(tokens: Iterable[TokenLogprob]) -> list[int]:
    """Their places in their block."""
    return list(map(_PLACE, tokens))


def settle(tokens: Sequence[TokenLogprob], *, with_candidates: bool) -> None:
    """Takes what is still needed of them out of the application's objects, which may change then.

    Args:
        tokens: Any, once they are measured.
        with_candidates: Whether anybody may look at their candidates, which take several times the
            room of all else; if not, they have none from now on.
    """
    for block in {tokens.block} if isinstance(tokens, Tokens) else {*blocks_of(tokens)}:
        if block is not None:
            block.measured = ()
            block.settle() if with_candidates else block.forget()


def listed_of(token: TokenLogprob) -> Listed | None:
    """Its candidates column by column, if that is how they were read."""
    block: Block | None = getattr(token, "_block", None)
    return None if block is None else block.row(_PLACE(token))


def measured_of(token: TokenLogprob) -> Iterable[float | None] | None:
    """Its measures, if they have been taken already."""
    block: Block | None = getattr(token, "_block", None)
    if block is None or not block.measured:
        return None
    return [of[_PLACE(token)] for of in block.measured]


def numbers_of(token: TokenLogprob) -> tuple[Sequence[float], int] | None:
    """Their logprobs, and which of them it is itself, if that is how they were read."""
    block: Block | None = getattr(token, "_block", None)
    return None if block is None else block.numbers(_PLACE(token))
