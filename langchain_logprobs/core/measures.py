"""The measures of many tokens at once, column by column: the same numbers, in a fifth of the time.

A call's tokens are measured while the user waits for its end. So what is alike in most of them is
taken by the interpreter's own loops (`map`, `zip`), whole columns at a time, and only a token that
is unlike the rest is measured on its own. Both add up in the same order, to the same last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress, count, groupby, repeat
from math import exp, expm1, log
from operator import eq, gt, mul, neg, not_, sub
from typing import NamedTuple, cast

from langchain_logprobs.core.confidence import (
    LEAST_MASS,
    LEAST_TAIL,
    MEASURES,
    Columns,
    Confidence,
    TokenMeasures,
    confidence_by_column,
    listed_measures,
    log1mexp,
    measure,
)
from langchain_logprobs.core.tokens import (
    CENSORED,
    Block,
    TokenLogprob,
    Tokens,
    as_tuple,
    blocks_of,
    logprobs_of,
    places_of,
)

NO_COLUMNS: Columns = ((),) * len(TokenMeasures._fields)
"""The measures of no tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The measures of a call's tokens, taken once for all who ask.

    Attributes:
        tokens: The tokens that were measured. As long as they are held here, no others are taken
            for them.
        columns: What was measured, in the same order.
    """

    tokens: Sequence[TokenLogprob] = ()
    columns: Columns = NO_COLUMNS

    def confidence(self, low_token: float) -> Confidence:
        """What `confidence_of` gives for the tokens."""
        surprisals = self.columns[TokenMeasures._fields.index("surprisal")]
        logprobs = (
            self.tokens.logprobs
            if isinstance(self.tokens, Tokens)
            else [None if of is None else 0.0 - of for of in surprisals]
        )
        return confidence_by_column(logprobs, self.columns, low_token=low_token)

    def probabilities(self, tokens: Sequence[TokenLogprob]) -> Sequence[float | None]:
        """The probabilities of these tokens."""
        if tokens is self.tokens:
            return self.columns[TokenMeasures._fields.index("probability")]
        return [None if of is None else exp(of) for of in logprobs_of(tokens)]

    def of(self, tokens: Iterable[TokenLogprob]) -> list[TokenMeasures]:
        """The measures of these tokens: taken anew for those that a processor has changed."""
        if tokens is self.tokens or tokens is as_tuple(self.tokens):
            return by_token(self.columns)
        known = dict(zip(map(id, self.tokens), by_token(self.columns), strict=True))
        return [known.get(id(token)) or measure(token) for token in tokens]


def together(parts: Sequence[Measured]) -> Measured:
    """The tokens of several sequences, with their measures."""
    tokens = tuple(chain.from_iterable(part.tokens for part in parts))
    return Measured(tokens, as_columns(chain.from_iterable(by_token(of.columns) for of in parts)))


_ALIKE = 4
"""One token in so many has to have as many candidates as most, for all to be measured as one."""


class _Ranks(NamedTuple):
    """Candidates of tokens that have the same number of them, as most have.

    Attributes:
        logprobs: Those of each token's most likely candidate, those of its second, ...
        regular: Whether they are the token's own; those of an example stand where it has more, or
            fewer. Empty if all are.
    """

    logprobs: Sequence[Sequence[float]]
    regular: Sequence[bool]


def take_measures(tokens: Tokens) -> None:
    """Takes the measures of these now, so that this need not be done when somebody asks for them.

    They are kept in little room, and need no candidates from then on.
    """
    tokens.block.measured = columns_of(tokens)
    tokens.block.pack()


def columns_of(tokens: Sequence[TokenLogprob]) -> Columns:
    """The measures of these tokens: what `measure` gives for each, as columns."""
    logprobs = logprobs_of(tokens)
    parts: list[Columns] = []
    at = 0
    for block, size in _runs(tokens):
        end = at + size
        if block is None:
            parts.append(as_columns(map(measure, tokens[at:end])))
        else:
            columns, unlike = _of_block(block, logprobs[at:end])
            for place in unlike:
                measures = listed_measures(logprobs[at + place], *block.numbers(place))
                for column, value in zip(columns, measures, strict=True):
                    column[place] = value
            parts.append(columns)
        at = end
    if len(parts) == 1:
        return parts[0]
    return tuple(list(chain.from_iterable(of)) for of in zip(*parts, strict=True)) or NO_COLUMNS


def _runs(tokens: Sequence[TokenLogprob]) -> Iterable[tuple[Block | None, int]]:
    """How many tokens in a row are all of one block; between them, of none, or a part of one."""
    if isinstance(tokens, Tokens):
        yield from [(tokens.block, len(tokens))] if tokens else []
        return
    at = 0
    for block, run in groupby(blocks_of(tokens)):
        size = len(list(run))
        is_whole = block is not None and places_of(tokens[at : at + size]) == [*range(len(block))]
        yield block if is_whole else None, size
        at += size


def as_columns(measures: Iterable[TokenMeasures]) -> Columns:
    """The measures side by side."""
    return tuple(zip(*measures, strict=True)) or NO_COLUMNS


def by_token(columns: Columns) -> list[TokenMeasures]:
    """The measures one token after another."""
    return list(map(MEASURES, zip(*columns, strict=True)))


def _of_block(
    block: Block, logprobs: Sequence[float | None]
) -> tuple[tuple[list[float | None], ...], Iterable[int]]:
    """The measures of all the tokens of a block, and which of them are still to be taken."""
    if block.measured:
        return tuple(map(list, block.measured)), ()
    ranks = _ranks(block)
    if ranks is not None:
        columns, unsure = _of_ranks(ranks.logprobs)
        return columns, {*unsure, *_unlike(ranks, logprobs, block.places)}
    known = [of for of in logprobs if of is not None]
    if not block.logprobs and len(known) == len(block):
        return _of_lone(known), ()
    return tuple([None] * len(block) for _ in NO_COLUMNS), range(len(block))


def _unlike(
    ranks: _Ranks, logprobs: Sequence[float | None], places: Sequence[int]
) -> Iterable[int]:
    """Where a token is not its own likeliest candidate, or has unusual ones."""
    first, last = ranks.logprobs[0], ranks.logprobs[-1]
    alike = [
        ranks.regular,
        [] if logprobs == first else map(eq, logprobs, first),
        map(not_, places) if any(places) else [],
        [] if min(last) > CENSORED else map(gt, last, repeat(CENSORED)),
    ]
    doubtful = [of for of in alike if of]
    return compress(count(), map(not_, map(all, zip(*doubtful, strict=True))))


def _of_lone(logprobs: Sequence[float]) -> tuple[list[float | None], ...]:
    """The measures of tokens without candidates: of a model asked for `logprobs` alone."""
    columns: tuple[Iterable[float | None], ...] = (
        map(exp, logprobs),
        map(sub, repeat(0.0), logprobs),
        *repeat([None] * len(logprobs), 4),
        [None if of >= 0 else of - log1mexp(of) for of in logprobs],
    )
    return tuple(map(list, columns))


def _ranks(block: Block) -> _Ranks | None:
    """The candidates by rank; `None` where most tokens have none, or no two have as many."""
    widths, logprobs = block.widths, block.logprobs
    different = set(widths)
    width = max(different, key=widths.count)
    if not width or widths.count(width) * _ALIKE < len(widths):
        return None
    if len(different) == 1:
        return _Ranks([logprobs[at::width] for at in range(width)], [])
    regular = [of == width for of in widths]
    example = block.bounds[regular.index(True)]
    starts = [at if of else example for at, of in zip(block.bounds, regular, strict=False)]
    by_rank = [[logprobs[start + at] for start in starts] for at in range(width)]
    return _Ranks(by_rank, regular)


def _of_ranks(
    ranks: Sequence[Sequence[float]],
) -> tuple[tuple[list[float | None], ...], list[int]]:
    """The measures of tokens, as if each were its own likeliest candidate; and where they are not.

    Args:
        ranks: The logprobs of the candidates, by rank.
    """
    first, size = ranks[0], len(ranks[0])
    masses = [list(map(exp, rank)) for rank in ranks]
    less_one = list(map(expm1, first))  # of a mass near 1, the sum alone would leave rounding
    tails: list[float] = list(map(neg, map(sum, zip(less_one, *masses[1:], strict=True))))
    against, unsure = list(map(neg, less_one)), []
    least = min(tails)
    if least <= LEAST_TAIL:
        listed: list[float] = list(map(sum, zip(*masses[1:], strict=True))) or [0.0] * size
        against = [
            others if tail <= LEAST_TAIL else left
            for others, tail, left in zip(listed, tails, against, strict=True)
        ]
        unsure = [at for at, of in enumerate(against) if of <= LEAST_MASS]
        for at in unsure:
            against[at] = 1.0
        tails = [tail if tail > 0 else 0.0 for tail in tails]
    logs = map(log, tails) if least > 0 else [log(tail) if tail else 0.0 for tail in tails]
    terms = [*map(map, repeat(mul), masses, ranks), map(mul, tails, logs)]
    sums = map(sum, zip(*terms, strict=True))  # none is above 0
    columns = (
        masses[0],
        list(map(sub, repeat(0.0), first)),
        [1] * size,
        list(map(sub, first, ranks[1])) if len(ranks) > 1 else [None] * size,
        list(map(sub, repeat(0.0), sums)),
        tails,
        list(map(sub, first, map(log, against))),
    )
    return cast("tuple[list[float | None], ...]", columns), unsure
