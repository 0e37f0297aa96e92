"""The measures of many tokens at once, column by column: the same numbers, in a fifth of the time.

A call's tokens are measured while the user waits for its end. So what is alike in most of them is
taken by the interpreter's own loops (`map`, `zip`), whole columns at a time, and only a token that
is unlike the rest is left to `measure`. Sums are exact (`fsum`), so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, compress, count, groupby, repeat
from math import exp, expm1, fsum, log
from operator import add, attrgetter, eq, mul, neg, not_, sub
from typing import NamedTuple

from langchain_logprobs.core.confidence import (
    LEAST_TAIL,
    MEASURES,
    Columns,
    TokenMeasures,
    log1mexp,
    measure,
)
from langchain_logprobs.core.model import CENSORED, Block, TokenLogprob, blocks_of, places_of

NO_COLUMNS: Columns = ((),) * len(TokenMeasures._fields)
"""The measures of no tokens."""
_RAW, _LOGPROB = attrgetter("raw"), attrgetter("logprob")


class _Ranks(NamedTuple):
    """Candidates of tokens that have the same number of them, as most have.

    Attributes:
        logprobs: Those of each token's most likely candidate, those of its second, ...
        raws: The bytes of each token's most likely candidate.
        regular: Whether they are the token's own; those of an example stand where it has more, or
            fewer.
    """

    logprobs: Sequence[Sequence[float]]
    raws: Sequence[bytes]
    regular: Sequence[bool]


def columns_of(tokens: Sequence[TokenLogprob]) -> Columns:
    """The measures of these tokens: what `measure` gives for each, as columns."""
    parts, at = [], 0
    for block, run in groupby(blocks_of(tokens)):
        of = tokens[at : at + len(list(run))]
        parts.append(_measured_apart(of) if block is None else _of_block(block, of))
        at += len(of)
    return tuple(list(chain.from_iterable(of)) for of in zip(*parts, strict=True)) or NO_COLUMNS


def as_columns(measures: Iterable[TokenMeasures]) -> Columns:
    """The measures side by side."""
    return tuple(zip(*measures, strict=True)) or NO_COLUMNS


def by_token(columns: Columns) -> list[TokenMeasures]:
    """The measures one token after another."""
    return list(map(MEASURES, zip(*columns, strict=True)))


def _measured_apart(tokens: Iterable[TokenLogprob]) -> Columns:
    return as_columns(map(measure, tokens))


def _of_block(block: Block, tokens: Sequence[TokenLogprob]) -> Columns:
    """The measures of tokens that were read in one block."""
    if not block.logprobs:
        return _of_lone(list(map(_LOGPROB, tokens)))
    is_whole = places_of(tokens) == [*range(len(block.bounds) - 1)]
    ranks = _ranks(block) if is_whole else None
    if ranks is None:
        return _measured_apart(tokens)
    is_first = map(eq, map(_RAW, tokens), ranks.raws)
    as_likely = map(eq, map(_LOGPROB, tokens), ranks.logprobs[0])
    alike = list(map(all, zip(ranks.regular, is_first, as_likely, strict=True)))
    columns, sure = _of_ranks(ranks.logprobs, alike)
    for at in compress(count(), map(not_, sure)):
        for column, value in zip(columns, measure(tokens[at]), strict=True):
            column[at] = value
    return columns


def _of_lone(logprobs: Sequence[float]) -> Columns:
    """The measures of tokens without candidates: of a model asked for `logprobs` alone."""
    unknown = [None] * len(logprobs)
    log_odds = [None if of >= 0 else of - log1mexp(of) for of in logprobs]
    surprisals = list(map(sub, repeat(0.0), logprobs))
    return list(map(exp, logprobs)), surprisals, unknown, unknown, unknown, unknown, log_odds


def _ranks(block: Block) -> _Ranks | None:
    """The candidates by rank; `None` where most tokens have none."""
    bounds, logprobs, raws = block.bounds, block.logprobs, block.raws
    widths = list(map(sub, bounds[1:], bounds))
    width = max(set(widths), key=widths.count)
    if not width:
        return None
    regular = [of == width for of in widths]
    if all(regular):
        return _Ranks([logprobs[at::width] for at in range(width)], raws[::width], regular)
    example = bounds[regular.index(True)]
    starts = [at if of else example for at, of in zip(bounds, regular, strict=False)]
    by_rank = [[logprobs[start + at] for start in starts] for at in range(width)]
    return _Ranks(by_rank, [raws[start] for start in starts], regular)


def _of_ranks(
    ranks: Sequence[Sequence[float]], alike: Sequence[bool]
) -> tuple[tuple[list[float | None], ...], list[bool]]:
    """The measures of tokens, as if each were its own likeliest candidate; and where that holds.

    Args:
        ranks: The logprobs of the candidates, by rank.
        alike: Where it is.
    """
    first, size = ranks[0], len(alike)
    masses = [list(map(exp, rank)) for rank in ranks]
    # 1 - the largest by expm1: of a mass near 1, the sum alone would leave rounding.
    left = list(map(neg, map(fsum, zip(map(expm1, first), *masses[1:], strict=True))))
    sure = [
        of and tail > LEAST_TAIL and last > CENSORED
        for of, tail, last in zip(alike, left, ranks[-1], strict=True)
    ]
    tails = [max(tail, LEAST_TAIL) for tail in left] if min(left) <= LEAST_TAIL else left
    terms = [*map(map, repeat(mul), masses, ranks), map(mul, tails, map(log, tails))]
    entropies = map(neg, map(fsum, zip(*terms, strict=True)))
    against = map(fsum, zip(*masses[1:], strict=True)) if len(ranks) > 1 else repeat(0.0)
    columns: tuple[Iterable[float | None], ...] = (
        masses[0],
        map(sub, repeat(0.0), first),
        repeat(1, size),
        map(sub, first, ranks[1]) if len(ranks) > 1 else repeat(None, size),
        [of if of > 0 else 0.0 for of in entropies],
        tails,
        map(sub, first, map(log, map(add, against, tails))),
    )
    return tuple(map(list, columns)), sure
