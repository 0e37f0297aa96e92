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
    Block,
    Channel,
    Listed,
    TokenLogprob,
    listed_tokens,
)

BLOCK = 256
"""Entries read at once."""
LEAST_BLOCK = 32
"""A block with an unusual entry is read in halves, and so on down to this many: then one by one."""

_TEXT, _LOGPROB = itemgetter("token"), itemgetter("logprob")
_RAW, _TOP = itemgetter("bytes"), itemgetter("top_logprobs")
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
    if not _are(raws, list) or _ESCAPE in "".join(texts):  # which raises at what is no text
        return None
    raws, logprobs = list(map(bytes, raws)), _sound(list(map(_LOGPROB, everything)))
    if logprobs is None or not all(raws):  # how some servers say "not known"
        return None
    size = len(entries)
    block = _block(
        tuple(texts[size:]),
        tuple(logprobs[size:]),
        tuple(raws[size:]),
        list(accumulate(map(len, tops), initial=0)),
    )
    return listed_tokens(texts, logprobs, raws, repeat(channel), times, block=block)


def _block(
    texts: tuple[str, ...],
    logprobs: tuple[float, ...],
    raws: tuple[bytes, ...],
    bounds: list[int],
) -> Block:
    """The candidates of tokens, which begin and end at these bounds, put right where need be."""
    rising = compress(count(1), map(lt, logprobs, logprobs[1:]))
    in_order = set(bounds).issuperset(rising)
    rows = map(raws.__getitem__, map(slice, bounds, bounds[1:]))
    if in_order and sum(map(len, map(dict.fromkeys, rows))) == len(raws):  # smaller than sets
        return Block(texts, logprobs, raws, bounds)
    given = Block(texts, logprobs, raws, bounds)
    put_right = [_put_right(given.row(at)) for at in range(len(bounds) - 1)]
    columns = zip(*put_right, strict=True)
    texts, logprobs, raws = (tuple(chain.from_iterable(of)) for of in columns)
    return Block(texts, logprobs, raws, [*accumulate((len(of) for of, *_ in put_right), initial=0)])


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
    most = max(logprobs) if _are(logprobs, float) else 1.0
    if most <= 0 and min(logprobs) > CENSORED and not math.isnan(sum(logprobs)):
        # `min` and `max` may pass over NaN; -0.0 would print as such.
        return logprobs if most < 0 else [of + 0.0 for of in logprobs]
    sound = list(map(sound_logprob, logprobs))
    return None if None in sound else cast("list[float]", sound)
