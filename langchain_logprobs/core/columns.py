"""Many token entries at once, column by column: what most chunks of most streams hold.

An answer has thousands of entries and candidates, and they are read while the user waits for the
end of the call. So the loops here are the interpreter's own (`map`, `zip`, `set`), and entries that
hold anything unusual are left to the readers of `shapes`, which take them one by one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, combinations, compress, count, pairwise
from operator import eq, ge, itemgetter, lt
from typing import Any, NamedTuple, cast

from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.tokens import (
    CANDIDATE,
    CENSORED,
    ESCAPE,
    Block,
    Channel,
    TokenLogprob,
    Tokens,
)

STRIDE = 96
"""Entries read at once: so few that the processor still has at hand what it has just looked at, for
the next column; and one that is unusual leaves no more than these to be read one by one."""

_FEW = 6
"""So many candidates are compared with each other in less time than sets of them are made."""
_TEXT, _LOGPROB = itemgetter("token"), itemgetter("logprob")
_RAW, _TOP = itemgetter("bytes"), itemgetter("top_logprobs")


class _Columns(NamedTuple):
    """Tokens, or candidates, side by side."""

    texts: list[str]
    logprobs: list[float]
    raws: list[bytes]


class _Entries(NamedTuple):
    """Entries, their candidates, and how many each of them has."""

    own: _Columns
    listed: _Columns
    widths: list[int]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The columns of entries that were read in a row."""

    own: _Columns = field(default_factory=lambda: _Columns([], [], []))
    listed: _Columns = field(default_factory=lambda: _Columns([], [], []))
    widths: list[int] = field(default_factory=list)
    times: list[int | None] = field(default_factory=list)

    def add(self, entries: _Entries, times: Iterable[int | None]) -> None:
        """Takes further entries."""
        for columns, more in zip((self.own, self.listed), entries[:2], strict=True):
            columns.texts.extend(more.texts)
            columns.logprobs.extend(more.logprobs)
            columns.raws.extend(more.raws)
        self.widths.extend(entries.widths)
        self.times.extend(times)

    def tokens(self, channel: Channel) -> Tokens:
        """The tokens that were read."""
        texts, logprobs, raws = self.own
        sound = logprobs if _are_sound([logprobs]) else _sound(logprobs)
        return Tokens(texts, sound, raws, self.times, _block(*self.listed, self.widths), channel)


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens that were read so far: many at once, or one by one, in between.

    Attributes:
        channel: What those are part of that are read at once.
    """

    channel: Channel = "content"
    _parts: list[_Gathered | Sequence[TokenLogprob]] = field(default_factory=list)

    def add_entries(self, entries: list[Any], times: Iterable[int | None]) -> bool:
        """Reads entries in OpenAI's shape, complete with bytes; whether all of them are.

        Args:
            entries: If one of them is anything else, none is read.
            times: When each arrived.
        """
        try:
            read = _entries(entries)
        except Exception:  # noqa: BLE001 - whose `__index__` a list of bytes runs, nobody knows;
            return False  # the readers of single entries are asked next, and tell what is unread
        if read is None:
            return False
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, _Gathered):
            last = _Gathered()
            self._parts.append(last)
        last.add(read, times)
        return True

    def add_tokens(self, tokens: Sequence[TokenLogprob]) -> None:
        """Adds tokens that were read one by one."""
        if tokens:
            self._parts.append(tokens)

    def tokens(self) -> Sequence[TokenLogprob]:
        """All of them, in order; column by column, if they were all read at once."""
        parts = [of.tokens(self.channel) if isinstance(of, _Gathered) else of for of in self._parts]
        return parts[0] if len(parts) == 1 else tuple(chain.from_iterable(parts))


def _entries(entries: list[Any]) -> _Entries | None:
    own = _columns(entries)
    # What the texts of candidates hold is looked at when somebody asks for them.
    if own is None or ESCAPE in "".join(own.texts):
        return None
    tops = list(map(_TOP, entries))
    if not are(tops, list):
        return None
    listed: list[Any] = []
    deque(map(listed.extend, tops), maxlen=0)
    columns = _columns(listed)
    return None if columns is None else _Entries(own, columns, list(map(len, tops)))


def _columns(entries: list[Any]) -> _Columns | None:
    if not are(entries, dict):
        return None
    raws = list(map(_RAW, entries))
    logprobs, texts = list(map(_LOGPROB, entries)), list(map(_TEXT, entries))
    are_known = are(raws, list) and all(raws)  # an empty list is how some servers say "not known"
    if not (are_known and are(logprobs, float) and are(texts, str)):
        return None
    return _Columns(texts, logprobs, list(map(bytes, raws)))


def _block(texts: list[str], logprobs: list[float], raws: list[bytes], widths: list[int]) -> Block:
    """The candidates of tokens that have so many each, put right where need be."""
    bounds = [*accumulate(widths, initial=0)]
    if len(set(widths)) == 1:
        width = widths[0]
        ranks = [logprobs[at::width] for at in range(width)]
        if _are_sound(ranks) and _differ([raws[at::width] for at in range(width)]):
            return Block(texts, logprobs, raws, bounds)
    sound = _sound(logprobs)
    rising = compress(count(1), map(lt, logprobs, logprobs[1:]))
    rows = map(raws.__getitem__, map(slice, bounds, bounds[1:]))
    if None not in sound and set(bounds).issuperset(rising) and _differ_in(rows, len(raws)):
        return Block(texts, cast("list[float]", sound), raws, bounds)
    return _put_right(texts, sound, raws, bounds)


def _are_sound(ranks: Sequence[Sequence[float]]) -> bool:
    """Whether candidates, by rank, are in order, and none has an unusual logprob."""
    return not ranks or (
        max(ranks[0]) < 0
        and min(ranks[-1]) > CENSORED
        and not math.isnan(sum(ranks[0]))  # to which nothing else compares
        and all(all(map(ge, more, less)) for more, less in pairwise(ranks))
    )


def _differ(ranks: Sequence[Sequence[bytes]]) -> bool:
    """Whether all candidates of a token, by rank, are different from each other."""
    if len(ranks) <= _FEW:
        return not any(any(map(eq, one, other)) for one, other in combinations(ranks, 2))
    return _differ_in(zip(*ranks, strict=True), sum(map(len, ranks)))


def _differ_in(rows: Iterable[Iterable[bytes]], count: int) -> bool:
    """Whether in each of the rows, in all of which there are so many, all are different."""
    return sum(map(len, map(set, rows))) == count


def _put_right(
    texts: Sequence[str],
    logprobs: Sequence[float | None],
    raws: Sequence[bytes],
    bounds: Sequence[int],
) -> Block:
    """The candidates with the most likely first at each position, and each once."""
    given = list(zip(texts, logprobs, raws, strict=True))
    rows = [
        distinct(CANDIDATE(of) for of in given[start:end] if of[1] is not None)
        for start, end in pairwise(bounds)
    ]
    columns = zip(*chain.from_iterable(rows), strict=True)
    texts, logprobs, raws = map(list, columns) if any(rows) else ([], [], [])
    return Block(texts, logprobs, raws, [*accumulate(map(len, rows), initial=0)])


def are(column: Iterable[object], kind: type) -> bool:
    """Whether all are of this very type: what a subclass does when it is read, nobody knows."""
    kinds = list(map(type, column))
    return kinds.count(kind) == len(kinds)  # faster than a set of them


def _sound(logprobs: list[float]) -> list[float | None]:
    """What `sound_logprob` gives for each."""
    # `max` may pass over NaN.
    if math.isnan(sum(logprobs)) or max(logprobs, default=0.0) > 0:
        return list(map(sound_logprob, logprobs))
    return [CENSORED if of <= CENSORED else of + 0.0 for of in logprobs]  # -0.0 prints as such
