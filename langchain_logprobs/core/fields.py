"""How sure was the model of each value in a JSON answer?

The scanner says which bytes made a value, `text.align` which token wrote which byte; here they are
joined. A token that wrote part of a value counts for it, even if it wrote a comma as well.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from langchain_logprobs.core.confidence import (
    MAX_EXPONENT,
    Confidence,
    TokenMeasures,
    confidence_of,
    measure,
)
from langchain_logprobs.core.scanner import Value, scan
from langchain_logprobs.core.text import Aligned, Alignment, align
from langchain_logprobs.core.tokens import TokenLogprob

_BEGINS_LIKE_JSON = re.compile(
    r"""\s*[{\["]                                 # begins like it
      | \s*(?:-?\d[-+.\deE]*|true|false|null)\s*\Z  # is a number or a literal""",
    re.VERBOSE,
)
_HOLDS_JSON = re.compile(r"""```|[{\[]\s*["{\[]""")
"""A fence, or two brackets in a row."""
_MARKS = ("{", "[", "```")
"""Without any of these there is none of them: most answers are over with that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldConfidence:
    """How sure the model was of one value of a JSON answer.

    Attributes:
        path: Where it stands: `$.invoice.total`, `$.items[0].price`, `$["a.b"]`.
        value: What `json.loads` makes of it; of an unfinished one, what was there.
        confidence: The measures of its tokens. Of a container those of everything in it, pooled;
            the ones that need the order of the tokens (`surprisal_tail`, `lowest_window`) and
            `mean_margin` are then `None`, and `low_longest_run` is that of its worst value.
        tokens: Indices of its tokens among those of the answer's content.
        complete: Whether the answer goes on past its end; `False` where it breaks off in it.
        occurrence: How many values with the same path came before it.
        alignment: How well its tokens are known; `None`, and no number, if they are not.
        shared: Whether one of its tokens also wrote something else than it, white space aside.
        first: The measures of its first token, where the choice between values often falls.
        mean: Mean of the `mean` of what is directly in it; its own `confidence`, if it is a leaf.
        lowest: The lowest `confidence` of a leaf in it; its own, if it is one.
        leaf: Whether it holds no other value; an empty container is a leaf too.
        span: The bytes of the answer that it takes, quotes and brackets included.
        document: Which of the answer's JSON documents it belongs to, from 0.

    .. versionadded:: 0.1.0
    """

    path: str
    value: Any
    confidence: Confidence
    tokens: range = range(0)
    complete: bool = True
    occurrence: int = 0
    alignment: Alignment | None = "exact"
    shared: bool = False
    first: TokenMeasures | None = None
    mean: float | None = None
    lowest: float | None = None
    leaf: bool = True
    span: tuple[int, int] = (0, 0)
    document: int = 0


class Fields(Mapping[str, FieldConfidence]):
    """The values of a JSON answer by path, containers among them, in order of their beginning.

    Where a path occurs more than once (a key written twice, several documents in one answer), the
    mapping has the last, as `json.loads` keeps the last of two equal keys; `every` has all.

    .. versionadded:: 0.1.0
    """

    __slots__ = ("_by_path", "every_field")

    def __init__(self, fields: Iterable[FieldConfidence] = ()) -> None:
        self.every_field: tuple[FieldConfidence, ...] = tuple(fields)
        self._by_path = {field.path: field for field in self.every_field}

    def __getitem__(self, path: str) -> FieldConfidence:
        return self._by_path[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_path)

    def __len__(self) -> int:
        return len(self._by_path)

    def __repr__(self) -> str:
        return f"Fields({list(self.every_field)!r})"

    def every(self, path: str) -> tuple[FieldConfidence, ...]:
        """All values with that path, in order."""
        return tuple(field for field in self.every_field if field.path == path)

    @property
    def leaves(self) -> tuple[FieldConfidence, ...]:
        """The values that hold no other, all occurrences, in order."""
        return tuple(field for field in self.every_field if field.leaf)

    @property
    def lowest(self) -> FieldConfidence | None:
        """The value the model was least sure of; `None` if no value has a confidence."""
        known = [field for field in self.leaves if field.lowest is not None]
        return min(known, key=_lowest, default=None)

    def map(self, change: Callable[[FieldConfidence], FieldConfidence]) -> Fields:
        """The values, each changed."""
        return Fields(change(field) for field in self.every_field)

    def under(self, path: str) -> Fields:
        """The value there and all in it, with paths that begin at it."""
        inner = re.compile(re.escape(path) + r"(?=[.\[]|\Z)")
        return Fields(
            replace(field, path=f"${field.path[len(path) :]}")
            for field in self.every_field
            if inner.match(field.path)
        )


def looks_like_json(text: str) -> bool:
    """Whether it is worth looking for JSON in an answer."""
    if _BEGINS_LIKE_JSON.match(text) is not None:
        return True
    return any(mark in text for mark in _MARKS) and _HOLDS_JSON.search(text) is not None


def fields_of(
    tokens: Sequence[TokenLogprob],
    text: str | None = None,
    *,
    low_token: float = 0.5,
    measures: Sequence[TokenMeasures] | None = None,
) -> Fields:
    """The confidence of every JSON value in an answer.

    Args:
        tokens: The answer's, in order, of one channel.
        text: The answer. If the tokens do not make it, the fields have no numbers. Without it, the
            tokens' own bytes are the answer.
        low_token: A token under this probability counts as low.
        measures: Those of `tokens` by `measure`, if they are at hand.
    """
    aligned = align(tokens, text)
    data = (text or "").encode("utf-8", "surrogatepass") if aligned is None else aligned.data
    return joined_fields(scan(data), aligned, tokens, low_token=low_token, measures=measures)


def joined_fields(
    values: Sequence[Value],
    aligned: Aligned | None,
    tokens: Sequence[TokenLogprob],
    *,
    low_token: float = 0.5,
    measures: Sequence[TokenMeasures] | None = None,
) -> Fields:
    """The confidence of each value, from the places of the values and of the tokens."""
    answer = None if aligned is None else _Answer.of(aligned, tokens, low_token, measures)
    places = _places(values)
    found: list[FieldConfidence] = []
    inside: list[list[FieldConfidence]] = [[] for _ in values]
    for index in range(len(values) - 1, -1, -1):  # what is in a container comes after it
        value, children = values[index], inside[index][::-1]
        field = _field(value, places[index], _numbers(value, children, answer))
        if value.parent is not None:
            inside[value.parent].append(field)
        found.append(field)
    return Fields(reversed(found))


def tokens_in(aligned: Aligned, start: int, end: int) -> range:
    """Indices of the tokens that wrote any of the bytes from `start` to `end`."""
    first = bisect_right(aligned.ends, start)
    return range(first, max(first, bisect_left(aligned.starts, end)))


def pooled(parts: Sequence[Confidence]) -> Confidence:
    """The measures of several sequences as of one; `None` for those that need all the tokens."""
    low = sum(part.low for part in parts)
    known = sum(part.count - part.missing for part in parts)
    counted = Confidence(
        count=sum(part.count for part in parts),
        missing=sum(part.missing for part in parts),
        censored=sum(part.censored for part in parts),
        with_candidates=sum(part.with_candidates for part in parts),
        mean_entropy=_weighted([(part.mean_entropy, part.with_candidates) for part in parts]),
        max_entropy=max(_known(part.max_entropy for part in parts), default=None),
        min_log_odds=min(_known(part.min_log_odds for part in parts), default=None),
    )
    mean = _weighted([(part.mean_logprob, part.count - part.missing) for part in parts])
    if mean is None:
        return counted
    return replace(
        counted,
        confidence=math.exp(mean),
        perplexity=math.exp(min(-mean, MAX_EXPONENT)),
        mean_logprob=mean,
        sum_logprob=math.fsum(_known(part.sum_logprob for part in parts)),
        min_logprob=min(_known(part.min_logprob for part in parts)),
        low=low,
        low_ratio=low / known,
        low_longest_run=max(part.low_longest_run for part in parts),
    )


class _Numbers(NamedTuple):
    tokens: range = range(0)
    confidence: Confidence = Confidence()
    alignment: Alignment | None = None
    shared: bool = False
    first: TokenMeasures | None = None
    mean: float | None = None
    lowest: float | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The tokens of an answer, their places and their measures."""

    aligned: Aligned
    tokens: Sequence[TokenLogprob]
    low_token: float
    measured: Callable[[int], TokenMeasures]

    @classmethod
    def of(
        cls,
        aligned: Aligned,
        tokens: Sequence[TokenLogprob],
        low_token: float,
        measures: Sequence[TokenMeasures] | None,
    ) -> _Answer:
        if measures is not None:
            return cls(aligned, tokens, low_token, measures.__getitem__)
        return cls(aligned, tokens, low_token, cache(lambda at: measure(tokens[at])))


def _numbers(value: Value, children: Sequence[FieldConfidence], answer: _Answer | None) -> _Numbers:
    if answer is None:
        return _Numbers()
    if children:
        return _of_container(value, children, answer.aligned)
    return _of_leaf(value, answer)


def _of_leaf(value: Value, answer: _Answer) -> _Numbers:
    used = tokens_in(answer.aligned, *value.inside)
    measures = [answer.measured(at) for at in used]
    confidence = confidence_of(
        answer.tokens[used.start : used.stop], low_token=answer.low_token, measures=measures
    )
    return _Numbers(
        tokens=used,
        confidence=confidence,
        alignment=answer.aligned.alignment,
        shared=bool(used) and _is_shared(value, used, answer.aligned),
        first=measures[0] if measures else None,
        mean=confidence.confidence,
        lowest=confidence.confidence,
    )


def _of_container(value: Value, children: Sequence[FieldConfidence], aligned: Aligned) -> _Numbers:
    used = tokens_in(aligned, value.start, value.end)
    means = _known(child.mean for child in children)
    return _Numbers(
        tokens=used,
        confidence=pooled([child.confidence for child in children]),
        alignment=aligned.alignment,
        shared=bool(used) and _is_shared(value, used, aligned),
        mean=math.fsum(means) / len(means) if means else None,
        lowest=min(_known(child.lowest for child in children), default=None),
    )


def _is_shared(value: Value, used: range, aligned: Aligned) -> bool:
    before = aligned.data[aligned.starts[used[0]] : value.start]
    after = aligned.data[value.end : aligned.ends[used[-1]]]
    return bool(before.strip() or after.strip())


def _field(value: Value, place: tuple[int, int], numbers: _Numbers) -> FieldConfidence:
    occurrence, document = place
    return FieldConfidence(
        path=value.path,
        value=value.value,
        confidence=numbers.confidence,
        tokens=numbers.tokens,
        complete=value.complete,
        occurrence=occurrence,
        alignment=numbers.alignment,
        shared=numbers.shared,
        first=numbers.first,
        mean=numbers.mean,
        lowest=numbers.lowest,
        leaf=not value.children,
        span=(value.start, value.end),
        document=document,
    )


def _places(values: Sequence[Value]) -> list[tuple[int, int]]:
    """Of each value, how many with its path came before it, and the index of its document."""
    seen: Counter[str] = Counter()
    document = -1
    places = []
    for value in values:
        document += value.parent is None
        places.append((seen[value.path], document))
        seen[value.path] += 1
    return places


def _known(numbers: Iterable[float | None]) -> list[float]:
    return [number for number in numbers if number is not None]


def _weighted(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(number, weight) for number, weight in parts if number is not None]
    if not known:
        return None
    return math.fsum(number * weight for number, weight in known) / sum(w for _, w in known)


def _lowest(field: FieldConfidence) -> float:
    return field.lowest or 0.0
