"""Many token entries at once, column by column: what most chunks of most streams hold.

An answer has thousands of entries and candidates, and they are read while the user waits for the
end of the call. So the loops here are the interpreter's own (`map`, `zip`, `set`), and entries that
hold anything unusual are left to the readers of `shapes`, which take them one by one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, combinations, compress, count, islice, pairwise, repeat
from operator import eq, ge, lt, ne
from typing import Any, NamedTuple, cast

from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.packed import Packed, end_to_end, small
from langchain_logprobs.core.tokens import (
    CANDIDATE,
    CENSORED,
    ESCAPE,
    Block,
    Channel,
    TokenLogprob,
    Tokens,
    joined,
    readable,
)

STRIDE = 192
"""Entries read at once: so few that the processor still has at hand what it has just looked at, for
the next column."""
_FEW = 16
"""Where that cannot be done, entries that are tried at once."""
_ENOUGH = 3
"""Pieces in a row that cannot be read at once, after which no more are tried: all is unusual."""

_FEW_CANDIDATES = 6
"""So many candidates are compared with each other in less time than sets of them are made."""


class _Numbers(NamedTuple):
    """Entries, and what they hold beside a text.

    Attributes:
        entries: As they were given.
        logprobs: Their logprobs.
        bytes_given: Their bytes, of which JSON makes lists of numbers.
    """

    entries: list[dict[str, Any]]
    logprobs: list[float]
    bytes_given: list[Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """The tokens that were read so far: many at once, or one by one, in between.

    Attributes:
        channel: What those are part of that are read at once.
    """

    channel: Channel = "content"
    _parts: list[Sequence[TokenLogprob]] = field(default_factory=list)

    def add_entries(self, entries: list[Any], times: Iterable[int | None] = repeat(None)) -> bool:
        """Reads entries in OpenAI's shape, complete with bytes; whether all of them are.

        Of candidates, bytes are compared as they were given, and what their texts are is looked at
        when somebody asks: the numbers need no more.

        Args:
            entries: If one of them is anything else, none is read.
            times: When each arrived, if they were streamed.
        """
        try:
            read = _entries(entries, list(islice(times, len(entries))), self.channel)
        except Exception:  # noqa: BLE001 - whose code a list of bytes runs, nobody knows;
            return False  # the readers of single entries are asked next, and tell what is unread
        if read is None:
            return False
        self._parts.append(read)
        return True

    def add_tokens(self, tokens: Sequence[TokenLogprob]) -> None:
        """Adds tokens that were read one by one."""
        if tokens:
            self._parts.append(tokens)

    def tokens(self) -> Sequence[TokenLogprob]:
        """All of them, in order; column by column, if they were all read at once."""
        return joined(self._parts)


def _entries(entries: list[Any], times: list[int | None], channel: Channel) -> Tokens | None:
    if not are(entries, dict):
        return None
    texts, tops = _each(entries, "token"), _each(entries, "top_logprobs")
    if not are(tops, list) or not are(texts, str):
        return None
    listed: list[Any] = []
    deque(map(listed.extend, tops), maxlen=0)
    own, candidates = _numbers(entries), _numbers(listed)
    if own is None or candidates is None or not are(own.bytes_given, list):
        return None
    raws, widths = Packed.of(own.bytes_given), small(map(len, tops))
    end_to_end(candidates.bytes_given)  # raises where they are no bytes
    if len(listed) != sum(widths):
        return None  # the application, on a thread of its own, is just changing them
    if ESCAPE in "".join(texts):
        texts = list(map(readable, texts, raws))
    sound, given = _sound_in_order(candidates, widths), own.bytes_given
    if sound is None:
        candidates, widths = _put_right(candidates, widths)
        sound, given = candidates.logprobs, list(map(bytes, given))
    places = _places(given, candidates.bytes_given, widths)
    block = Block(sound, widths, places, candidates.entries)
    return Tokens(texts, _sound(own.logprobs), raws, times, block, channel)


def _numbers(entries: list[Any]) -> _Numbers | None:
    """What they hold beside a text; `None` if one has no logprob, or no bytes."""
    logprobs, given = _each(entries, "logprob"), _each(entries, "bytes")
    # An empty list is how some servers say "not known". Where one is no list, none of them is.
    is_known = are(logprobs, float) and all(given) and are(given[:: max(1, len(given) - 1)], list)
    return _Numbers(entries, logprobs, given) if is_known else None


def _each(entries: Iterable[Any], key: str) -> list[Any]:
    """What each has under that key.

    Raises:
        TypeError: One is no dict: to ask it for anything could run code of its own.
    """
    return list(map(dict.get, entries, repeat(key)))


def _sound_in_order(of: _Numbers, widths: Sequence[int]) -> list[float] | None:
    """The sound logprobs of candidates, of which each token has so many.

    Returns:
        `None` if one is not sound, a token's are not sorted, or two of them are the same.
    """
    if not of.logprobs:
        return of.logprobs
    width = widths[0] if len(set(widths)) == 1 else 0
    if not (_are_right_by_rank(of, width) if width else _are_right_row_by_row(of, widths)):
        return None
    sound = _sound(of.logprobs, width or 1)
    is_whole = sound is of.logprobs or None not in sound
    return cast("list[float]", sound) if is_whole else None


def _are_right_by_rank(of: _Numbers, width: int) -> bool:
    """Whether candidates are sorted and different, where every token has so many of them."""
    ranks = pairwise(of.logprobs[at::width] for at in range(width))
    is_sorted = all(all(map(ge, more, less)) for more, less in ranks)
    return is_sorted and _differ([of.bytes_given[at::width] for at in range(width)])


def _are_right_row_by_row(of: _Numbers, widths: Sequence[int]) -> bool:
    """The same, where some have more than others."""
    starts = [*accumulate(widths, initial=0)]
    rising = compress(count(1), map(lt, of.logprobs, of.logprobs[1:]))
    rows = map(of.bytes_given.__getitem__, map(slice, starts, starts[1:]))
    return set(starts).issuperset(rising) and _differ_in(rows, len(of.bytes_given))


def _differ(ranks: Sequence[Sequence[list[int]]]) -> bool:
    """Whether all candidates of a token, by rank, are different from each other."""
    if len(ranks) <= _FEW_CANDIDATES:
        return not any(any(map(eq, one, other)) for one, other in combinations(ranks, 2))
    return _differ_in(zip(*ranks, strict=True), sum(map(len, ranks)))


def _differ_in(rows: Iterable[Iterable[list[int]]], count: int) -> bool:
    """Whether in each of the rows, in all of which there are so many, all are different."""
    return sum(len(set(map(tuple, row))) for row in rows) == count


def _put_right(of: _Numbers, widths: Sequence[int]) -> tuple[_Numbers, list[int]]:
    """The sound candidates, each token's sorted and each once; and how many of them it has left."""
    raws = map(bytes, of.bytes_given)
    every = zip(of.entries, _sound(of.logprobs), raws, strict=True)
    rows: list[Any] = [
        # What goes along in the place of a text is the entry that has it.
        distinct(CANDIDATE(its) for its in islice(every, width) if its[1] is not None)
        for width in widths
    ]
    columns = list(map(list, zip(*chain.from_iterable(rows), strict=True))) or [[], [], []]
    return _Numbers(*columns), list(map(len, rows))


def _places(
    own: Sequence[object], listed: Sequence[object], widths: Sequence[int]
) -> Sequence[int]:
    """Which of its candidates each token is, by its bytes; -1 if it is none of them."""
    if not listed:
        return [-1] * len(own)
    starts, places = [*accumulate(widths, initial=0)], [0] * len(own)
    unlike: Iterable[int] = range(len(own))
    if len(set(widths)) == 1:
        firsts = listed[:: widths[0]]
        if own == firsts:
            return bytes(len(own))  # almost always
        unlike = compress(count(), map(ne, own, firsts))
    for at in unlike:
        row = listed[starts[at] : starts[at + 1]]
        places[at] = row.index(own[at]) if own[at] in row else -1
    return places


def in_pieces(size: int, read: Callable[[slice], bool]) -> Iterator[slice]:
    """Reads in pieces what could not be read at once; gives, in its turn, what is left of it.

    One entry that is unusual leaves no more than a piece, to be read one by one, which takes ten
    times as long.

    Args:
        size: How much there is.
        read: Reads a part at once; whether it could.
    """
    left = 0 if size > _FEW else _ENOUGH  # no less has just been tried
    for part in (slice(at, at + _FEW) for at in range(0, size, _FEW)):
        if left < _ENOUGH and read(part):
            left = 0
        else:
            left += 1
            yield part


def are(column: Iterable[object], kind: type) -> bool:
    """Whether all are of this very type: what a subclass does when it is read, nobody knows."""
    kinds = list(map(type, column))
    return kinds.count(kind) == len(kinds)  # faster than a set of them


def _sound(logprobs: list[float], width: int = 1) -> Sequence[float | None]:
    """What `sound_logprob` gives for each; the very same list, if that is what they are.

    Args:
        logprobs: Of tokens, or of candidates.
        width: So many in a row are sorted, the largest first.
    """
    greatest = max(logprobs[::width], default=-1.0)
    # `max` may pass over NaN.
    if math.isnan(sum(logprobs)) or greatest > 0:
        return list(map(sound_logprob, logprobs))
    if min(logprobs[width - 1 :: width], default=-1.0) <= CENSORED:
        return [CENSORED if of <= CENSORED else of + 0.0 for of in logprobs]
    return [of + 0.0 for of in logprobs] if greatest == 0 else logprobs  # -0.0 prints as such
