"""How likely the tokens of a sequence were, over so many of them in a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import sub

WINDOW = 32
"""Tokens in the sliding window of `Confidence.lowest_window`."""


def lowest_window(logprobs: Sequence[float], size: int = WINDOW) -> float:
    """Lowest mean logprob over `size` tokens in a row; over all of them if there are fewer."""
    size = min(size, len(logprobs))
    return min(0.0, min(_window_sums(logprobs, size)) / size)


def window_means(logprobs: Sequence[float], size: int = WINDOW) -> list[float]:
    """Mean logprob of every window of `size` tokens in a row; one window if there are fewer."""
    size = min(size, len(logprobs))
    return [min(0.0, total / size) for total in _window_sums(logprobs, size)]


def _window_sums(logprobs: Sequence[float], size: int) -> Iterator[float]:
    """The sum of every window; a running one can round to above 0."""
    changes = map(sub, logprobs[size:], logprobs)
    return accumulate(changes, initial=math.fsum(logprobs[:size]))
