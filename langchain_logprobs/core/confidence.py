"""How sure was the model? The measures of one token, and of a sequence of tokens.

Every measure is a natural-log quantity of the probabilities that the model itself gave; none asks
another model. A measure that is undefined is `None`: never 0, 1, NaN or an infinity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from numbers import Real
from operator import mul
from typing import NamedTuple, cast

from langchain_logprobs.core.tokens import (
    CENSORED,
    Candidate,
    TokenLogprob,
    measured_of,
    numbers_of,
)
from langchain_logprobs.core.windows import lowest_window

FLOAT_NOISE = 1e-4
"""A logprob this far above 0 is rounding; further above it is no logprob."""
FLOOR = -100.0
"""What a censored token counts as in a mean when nothing bounds its probability."""
LEAST_TAIL = 1e-12
"""Tail mass below this is rounding of the sum of the candidates, not probability."""
MAX_EXPONENT = 700.0
"""`exp` of more than this overflows a double."""
LEAST_MASS = 1e-250
"""Below this a sum of probabilities has lost digits, or is 0."""
_LN_2 = math.log(2.0)
_LOW_RUN = re.compile(b"\x01+")


class TokenMeasures(NamedTuple):
    """What the probabilities at one position say.

    Attributes:
        probability: Of the chosen token; `None` if its logprob is missing.
        surprisal: `-logprob`, in nats.
        rank: 1 + the number of candidates more likely than it; ties share a rank.
        margin: Logprob of the most likely minus that of the second, in nats.
        entropy: In nats, over the candidates with all the unlisted mass as one more symbol: a
            lower bound of the true entropy.
        tail_mass: Probability of everything unlisted.
        log_odds: Of the chosen token against everything else, in nats.

    .. versionadded:: 0.1.0
    """

    probability: float | None
    surprisal: float | None
    rank: int | None
    margin: float | None
    entropy: float | None
    tail_mass: float | None
    log_odds: float | None


MEASURES = partial(tuple.__new__, TokenMeasures)
"""`TokenMeasures._make`, in half the time: once a token."""
Columns = tuple[Sequence[float | None], ...]
"""The measures of many tokens: a column for each field of `TokenMeasures`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """The measures of one sequence of tokens; those that are undefined are `None`.

    Means leave out tokens whose logprob is missing, and floor censored ones at the tail mass their
    candidates leave (at e^-100 without candidates), so that one of them cannot drown the rest.

    Attributes:
        count: Tokens, those without a usable logprob among them.
        missing: Tokens without a usable logprob.
        censored: Tokens of which only "less likely than all listed" is known.
        with_candidates: Tokens that came with usable alternatives: those the entropies are over.
        confidence: Geometric mean probability, exp(mean logprob): the length-normalised likelihood
            of Malinin & Gales 2021 (arXiv:2002.07650).
        perplexity: exp(-mean logprob), the exponent clamped at 700.
        mean_logprob: Mean logprob, in nats.
        sum_logprob: Log likelihood of the whole sequence, in nats.
        min_logprob: Logprob of the least likely token; `CENSORED` if one is.
        surprisal_tail: Mean surprisal of the worst tenth of the tokens, at least one, in nats.
        mean_entropy: Mean token entropy, in nats, over the tokens with candidates.
        max_entropy: Largest token entropy; with the mean it beats the mean alone (EPR,
            arXiv:2509.04492).
        mean_margin: Mean margin, in nats, over the tokens with at least two candidates.
        min_log_odds: Log odds of the least certain token.
        low: Tokens with a probability under the threshold.
        low_ratio: Their share of the tokens that have a logprob.
        low_longest_run: Most of them in a row.
        lowest_window: Lowest geometric mean probability of 32 tokens in a row (of all, if fewer):
            the lowest group confidence of DeepConf (arXiv:2508.15260) on the chosen tokens.

    .. versionadded:: 0.1.0
    """

    count: int = 0
    missing: int = 0
    censored: int = 0
    with_candidates: int = 0
    confidence: float | None = None
    perplexity: float | None = None
    mean_logprob: float | None = None
    sum_logprob: float | None = None
    min_logprob: float | None = None
    surprisal_tail: float | None = None
    mean_entropy: float | None = None
    max_entropy: float | None = None
    mean_margin: float | None = None
    min_log_odds: float | None = None
    low: int = 0
    low_ratio: float | None = None
    low_longest_run: int = 0
    lowest_window: float | None = None

    @property
    def uncertainty(self) -> float | None:
        """1 - `confidence`, without the rounding of that subtraction."""
        return None if self.mean_logprob is None else 0.0 - math.expm1(self.mean_logprob)


def sound_logprob(value: object) -> float | None:
    """A logprob as the measures can use it, or `None` if it is none.

    Rounding noise above 0 becomes 0; -inf and everything from -9999 down becomes `CENSORED`; NaN,
    larger numbers and whatever is not a number are missing.
    """
    if type(value) is not float:  # almost all are; NumPy's (llama-cpp-python) are not
        if isinstance(value, bool) or not isinstance(value, (int, Real)):
            return None
        value = float(min(max(cast("float", value), CENSORED), 1.0))
    if value <= CENSORED:
        return CENSORED
    if value < 0:
        return value
    return 0.0 if value <= FLOAT_NOISE else None  # -0.0 too; NaN fails every comparison


def distinct(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates, most likely first, each token once: of two with equal bytes the likelier."""
    best: dict[bytes, Candidate] = {}
    for candidate in candidates:
        key = identity(candidate)
        known = best.get(key)
        if known is None or known.logprob < candidate.logprob:
            best[key] = candidate
    return tuple(sorted(best.values(), key=_descending))


def identity(token: TokenLogprob | Candidate) -> bytes:
    """What makes two tokens the same: their bytes; their text's, where bytes are not given."""
    return token.raw if token.raw is not None else token.text.encode("utf-8", "surrogatepass")


def measure(token: TokenLogprob) -> TokenMeasures:
    """The measures of one token. The chosen token counts as one of its candidates, once.

    .. versionadded:: 0.1.0
    """
    known = measured_of(token)
    if known is not None:
        return MEASURES(known)
    numbers = numbers_of(token)
    if numbers is not None:
        return listed_measures(token.logprob, *numbers)
    own, others = _alternatives(token)
    return _measures(sound_logprob(token.logprob), own, others, is_listed=bool(token.candidates))


def listed_measures(logprob: float | None, row: Sequence[float], place: int) -> TokenMeasures:
    """What `measure` gives for a token of which these numbers are known.

    Args:
        logprob: The token's.
        row: The logprobs of its candidates, sound ones, the largest first, no token twice.
        place: Which of these it is; -1 if it is none.
    """
    if (
        logprob is None
        or not row
        or min(logprob, row[-1]) <= CENSORED
        or (place >= 0 and row[place] != logprob)
    ):
        own, others = (None, list(row)) if place < 0 else (row[place], _without(row, place))
        return _measures(sound_logprob(logprob), own, others, is_listed=bool(row))
    # As most are: the same to the last digit, in a third of the time.
    if place < 0:
        row = sorted((*row, logprob), reverse=True)
        place = row.index(logprob)
    masses = list(map(math.exp, row))
    probability, first = masses[place], row[0]
    entropy, tail = _entropy_and_tail(masses, list(map(mul, masses, row)), first)
    masses[place] = 0.0
    against = 0.0 if tail > LEAST_TAIL else sum(masses)
    log_odds = _log_odds(logprob, _without(row, place), against, tail)
    margin = first - row[1] if len(row) > 1 else None
    rank = row.index(logprob) + 1
    return MEASURES((probability, 0.0 - logprob, rank, margin, entropy, tail, log_odds))


def _measures(
    logprob: float | None, own: float | None, others: list[float], *, is_listed: bool
) -> TokenMeasures:
    """The measures of a token.

    Args:
        logprob: The token's.
        own: The same, where it is listed: its mass counts even where only the list has it.
        others: What else was listed, each once, the largest first.
        is_listed: Whether anything was.
    """
    chosen = own if logprob is None else logprob
    weighed = sorted(others if chosen is None else [*others, chosen], reverse=True)
    against, entropy, tail = sum(map(math.exp, others)), None, None
    if is_listed and weighed and weighed[0] > CENSORED:
        masses = list(map(math.exp, weighed))
        entropy, tail = _entropy_and_tail(masses, list(map(mul, masses, weighed)), weighed[0])
    if logprob is None:
        return TokenMeasures(None, None, None, _margin(weighed), entropy, tail, None)
    return TokenMeasures(
        math.exp(logprob),
        0.0 - logprob,  # -0.0 would print as such
        None if entropy is None else 1 + sum(other > logprob for other in others),
        _margin(weighed),
        entropy,
        tail,
        _log_odds(logprob, others, against, tail or 0.0),
    )


def confidence_of(
    tokens: Iterable[TokenLogprob],
    *,
    low_token: float = 0.5,
    measures: Sequence[TokenMeasures] | None = None,
) -> Confidence:
    """The measures of a sequence of tokens, in one pass.

    Args:
        tokens: In order, of one channel: what the answer says is never pooled with a refusal or
            with reasoning.
        low_token: A token under this probability counts as low.
        measures: Those of `tokens` by `measure`, if they are at hand.

    .. versionadded:: 0.1.0
    """
    tokens = tuple(tokens)
    measures = [measure(token) for token in tokens] if measures is None else measures
    columns = zip(*measures, strict=True) if measures else repeat((), len(TokenMeasures._fields))
    logprobs = [sound_logprob(token.logprob) for token in tokens]
    return confidence_by_column(logprobs, tuple(columns), low_token=low_token)


def confidence_by_column(
    logprobs: Sequence[float | None], columns: Columns, *, low_token: float
) -> Confidence:
    """What `confidence_of` gives for tokens with these logprobs, sound ones, and measures."""
    probabilities, _, _, margins, entropies, tails, log_odds = columns
    bounds, sound = _known(entropies), _known(logprobs)
    least = min(sound, default=0.0)
    known = Confidence(
        count=len(logprobs),
        missing=len(logprobs) - len(sound),
        censored=sound.count(CENSORED) if least <= CENSORED else 0,
        with_candidates=len(bounds),
        mean_entropy=_mean(bounds),
        max_entropy=max(bounds, default=None),
        mean_margin=_mean(_known(margins)),
        min_log_odds=min(_known(log_odds), default=None),
    )
    if known.missing == known.count:
        return known
    floored = sound
    if known.censored:
        floored = [
            logprob if logprob > CENSORED else floor_of(tail)
            for logprob, tail in zip(logprobs, tails, strict=True)
            if logprob is not None
        ]
    total = math.fsum(floored)
    mean = total / len(floored)
    limit = float(low_token)  # NumPy's numbers compare to what `bytes` does not take
    low = bytes([of is not None and of < limit for of in probabilities])
    return replace(
        known,
        confidence=math.exp(mean),
        perplexity=math.exp(min(-mean, MAX_EXPONENT)),
        mean_logprob=mean,
        sum_logprob=total,
        min_logprob=least,
        surprisal_tail=surprisal_tail(floored),
        low=low.count(1),
        low_ratio=low.count(1) / len(floored),
        low_longest_run=max(map(len, _LOW_RUN.findall(low)), default=0),
        lowest_window=math.exp(lowest_window(floored)),
    )


def surprisal_tail(logprobs: Sequence[float]) -> float:
    """Mean surprisal of the worst tenth (at least one) of the tokens, in nats."""
    worst = sorted(logprobs)[: math.ceil(len(logprobs) / 10)]
    return 0.0 - math.fsum(worst) / len(worst)


def floor_of(tail_mass: float | None) -> float:
    """The logprob, in nats, that a censored token counts as in a mean: all that was left for it.

    Args:
        tail_mass: What its candidates leave; `None` where they say nothing.
    """
    if tail_mass is None or tail_mass <= LEAST_TAIL:
        return FLOOR
    return max(FLOOR, math.log(tail_mass))


def log1mexp(value: float) -> float:
    """Natural logarithm of 1 - e^value for value < 0, accurate at both ends (Mächler 2012)."""
    return math.log(-math.expm1(value)) if value > -_LN_2 else math.log1p(-math.exp(value))


def logsumexp(values: Sequence[float]) -> float:
    """Natural logarithm of the sum of e^value, without overflow; -inf for no values."""
    top = max(values, default=-math.inf)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _alternatives(token: TokenLogprob) -> tuple[float | None, list[float]]:
    """The chosen token's logprob in the list; those of what else was listed, once, largest first.

    Their sums must not depend on the order in which they came.
    """
    best: dict[bytes, float] = {}
    for candidate in token.candidates:
        logprob = sound_logprob(candidate.logprob)
        if logprob is not None:
            key = identity(candidate)
            if key not in best or best[key] < logprob:
                best[key] = logprob
    own = best.pop(identity(token), None)
    return own, sorted(best.values(), reverse=True)


def _without(row: Sequence[float], place: int) -> list[float]:
    return [*row[:place], *row[place + 1 :]]


def _descending(candidate: Candidate) -> float:
    return -candidate.logprob


def _entropy_and_tail(
    masses: Sequence[float], terms: list[float], first: float
) -> tuple[float, float]:
    """The entropy over these, largest first, with all the rest as one symbol; that rest's mass."""
    # 1 - the largest by expm1: of a mass near 1, the sum alone would leave rounding.
    tail = -sum([math.expm1(first), *masses[1:]])
    if tail <= 0:  # the masses are rounded too
        return max(0.0, -sum(terms)), 0.0
    terms.append(tail * math.log(tail))
    return max(0.0, -sum(terms)), tail


def _margin(descending: Sequence[float]) -> float | None:
    if len(descending) < 2 or descending[1] <= CENSORED:  # noqa: PLR2004 - first and second
        return None
    return descending[0] - descending[1]


def _log_odds(logprob: float, others: Sequence[float], against: float, tail: float) -> float | None:
    """The log odds against the others, whose mass is `against`, and the tail.

    Where there is a tail, that is all there is beside the token.
    """
    if tail > LEAST_TAIL:
        return logprob - math.log(-math.expm1(logprob))
    if against > LEAST_MASS:
        return logprob - math.log(against)
    listed = [other for other in others if other > CENSORED]
    if listed:
        return logprob - logsumexp(listed)
    return None if logprob >= 0 else logprob - log1mexp(logprob)


def _known(column: Iterable[float | None]) -> list[float]:
    return [of for of in column if of is not None]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
