"""Many token entries at once, column by column: what most chunks of most streams hold.

An answer has thousands of entries and candidates, and they are read while the user waits for the
end of the call. So the loops here are the interpreter's own (`map`, `zip`, `set`), and a block of
entries that holds anything unusual is left to the readers of `shapes`, which take them one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, compress, count, repeat
from operator import itemgetter, lt
from typing import Any, cast

from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.model import (
    CANDIDATE,
    CENSORED,
    Channel,
    Listed,
    TokenLogprob,
    listed_tokens,
)

BLOCK = 64
"""Entries read at once: one that is unusual costs its block the fast way, not the answer."""

_TEXT, _LOGPROB = itemgetter("token"), itemgetter("logprob")
_RAW, _TOP = itemgetter("bytes"), itemgetter("top_logprobs")
_LAST = itemgetter(-1)
_ESCAPE = "\\x"
"""What the texts of tokens hold that some servers write as bytes."""


def plain_tokens(
    entries: Sequence[Any], channel: Channel, times: Iterable[int | None]
) -> list[TokenLogprob] | None:
    """The tokens of entries in OpenAI's shape, complete with bytes; `None` for any others.

    Args:
        entries: A block of them.
        channel: What they are part of.
        times: When each arrived.
    """
    try:
        return _tokens(entries, channel, times)
    except Exception:  # noqa: BLE001 - whose `__index__` a list of bytes runs, nobody knows; the
        return None  # readers of single entries are asked next, and tell what cannot be read


def _tokens(
    entries: Sequence[Any], channel: Channel, times: Iterable[int | None]
) -> list[TokenLogprob] | None:
    if not _are(entries, dict) or not _are(tops := list(map(_TOP, entries)), list):
        return None
    everything = [*entries, *chain.from_iterable(tops)]
    if not _are(everything, dict):
        return None
    texts, raws = list(map(_TEXT, everything)), list(map(_RAW, everything))
    if not _are(texts, str) or not _are(raws, list) or _ESCAPE in "".join(texts):
        return None
    raws, logprobs = list(map(bytes, raws)), _sound(list(map(_LOGPROB, everything)))
    if logprobs is None or b"" in raws:  # how some servers say "not known"
        return None
    bounds = list(accumulate(map(len, tops), initial=len(entries)))
    rows = _rows(tuple(texts), tuple(logprobs), tuple(raws), bounds)
    return listed_tokens(texts, logprobs, raws, rows, repeat(channel), times, count=len(entries))


def _rows(
    texts: tuple[str, ...],
    logprobs: tuple[float, ...],
    raws: tuple[bytes, ...],
    bounds: Sequence[int],
) -> Iterable[Listed]:
    """The candidates of each token, which begin and end at these bounds."""
    slices = list(map(slice, bounds, bounds[1:]))
    columns = [map(column.__getitem__, slices) for column in (texts, logprobs, raws)]
    rows: list[Listed] = list(zip(*columns, strict=True))
    rising = compress(
        count(bounds[0] + 1), map(lt, logprobs[bounds[0] :], logprobs[bounds[0] + 1 :])
    )
    in_order = set(bounds).issuperset(rising)
    distinct_bytes = sum(map(len, map(set, map(_LAST, rows))))
    nothing_twice = distinct_bytes == bounds[-1] - bounds[0]
    return rows if in_order and nothing_twice else map(_put_right, rows)


def _put_right(row: Listed) -> Listed:
    """The row with the most likely first, and each once."""
    texts, logprobs, raws = row
    if len(set(raws)) == len(raws) and sorted(logprobs, reverse=True) == list(logprobs):
        return row
    candidates = distinct(map(CANDIDATE, zip(texts, logprobs, raws, strict=True)))
    return cast("Listed", tuple(zip(*candidates, strict=True)))


def _are(column: Iterable[object], kind: type) -> bool:
    """Whether all are of this very type: what a subclass does when it is read, nobody knows."""
    return set(map(type, column)) <= {kind}


def _sound(logprobs: list[Any]) -> list[float] | None:
    """What `sound_logprob` gives for each; `None` where one of them is missing."""
    plain = _are(logprobs, float) and min(logprobs) > CENSORED and max(logprobs) <= 0
    if plain and not math.isnan(sum(logprobs)):  # `min` and `max` may pass over NaN
        return [of + 0.0 for of in logprobs]  # -0.0 would print as such
    sound = list(map(sound_logprob, logprobs))
    return None if None in sound else cast("list[float]", sound)
