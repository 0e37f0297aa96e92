"""How sure was the model of a label: of "yes" against "no", of one value of an enumeration?

A label's probability is that of all its spellings together: `Yes`, ` yes` and `"yes` are one
decision. It is read off the alternatives at the tokens that decide, so it needs a few of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    NamedTuple,
)

from langchain_logprobs.core.choices import label_text, labels_from
from langchain_logprobs.core.confidence import (
    LEAST_TAIL,
    distinct,
    identity,
    logsumexp,
    measure,
    sound_logprob,
)
from langchain_logprobs.core.fields import Fields, tokens_in
from langchain_logprobs.core.schemas import path_of
from langchain_logprobs.core.text import Aligned
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob

_AROUND = " \t\r\n\"'`*\u201c\u201d\u2018\u2019«»"
"""What may stand around a label without being part of it."""
_WORD = re.compile(r"[\w-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfidence:
    """How probable each label was where the model chose one.

    Attributes:
        path: What was labelled: `$.sentiment`, or `$` for the whole answer.
        chosen: The label the answer gives; `None` if it gives none of them.
        likeliest: The label with most probability, all its spellings together; `None` if two have
            the same, or none has any. It need not be the chosen one.
        probabilities: Of each label, all its spellings together; `None` if no alternative listed
            there leads to it, which does not mean 0. What leads to several labels counts for none,
            save along what the model wrote.
        bounds: Of those, the most that one spelling can have had: the smallest probability listed,
            or what the list leaves. Never 0.
        label_mass: Sum of `probabilities`: how far the model was from saying something else.
        log_odds: Of the chosen label against all others, in nats. Labels without a probability
            count with their bound, which makes it a lower bound. `None` if it would be infinite.
        tokens: Indices of the tokens that decided.

    .. versionadded:: 0.1.0
    """

    path: str = "$"
    chosen: str | None = None
    likeliest: str | None = None
    probabilities: Mapping[str, float | None] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    label_mass: float | None = None
    log_odds: float | None = None
    tokens: range = range(0)

    @property
    def probability(self) -> float | None:
        """The chosen label's."""
        return None if self.chosen is None else self.probabilities.get(self.chosen)


def label_confidences(
    tokens: Sequence[TokenLogprob],
    aligned: Aligned | None,
    text: str,
    wanted: Mapping[str, object],
    fields: Fields,
) -> dict[str, LabelConfidence]:
    """The confidence of each label that was asked for and is there, by path.

    Args:
        tokens: The answer's, in order, of one channel.
        aligned: Their places in it, by `align`.
        text: The answer.
        wanted: Labels, as `labels_from` takes them, by path. `$` is the whole answer; what does
            not begin with `$` is a name at the top.
        fields: The answer's, by `fields_of`.
    """
    found = {}
    for name, source in wanted.items():
        path = path_of(name)
        place = _said(path, text, fields)
        if place is not None:
            said, span = place
            found[path] = label_confidence(
                tokens, aligned, labels_from(source), path=path, said=said, span=span
            )
    return found


def label_confidence(
    tokens: Sequence[TokenLogprob],
    aligned: Aligned | None,
    labels: Sequence[str],
    *,
    said: str,
    span: tuple[int, int],
    path: str = "$",
) -> LabelConfidence:
    """The confidence of the label in one place of an answer.

    Args:
        tokens: The answer's.
        aligned: Their places in it, by `align`; without them there are no numbers.
        labels: All that could have stood there.
        said: What does stand there.
        span: The bytes it takes.
        path: The place's name.
    """
    names = _names(labels)
    chosen = names.get(_final(_normal(said), list(names)) or "")
    if aligned is None or not names:
        return LabelConfidence(path=path, chosen=chosen)
    weighed = _weigh(_steps(tokens, aligned, *span), list(names))
    masses = {names[name]: logsumexp(logs) for name, logs in weighed.credited.items()}
    bounds = {
        label: min(1.0, max(LEAST_TAIL, weighed.unlisted + weighed.shared.get(name, 0.0)))
        for name, label in names.items()
        if label not in masses
    }
    first = tokens_in(aligned, *span).start
    return LabelConfidence(
        path=path,
        chosen=chosen,
        likeliest=_likeliest(masses),
        probabilities={
            label: math.exp(masses[label]) if label in masses else None for label in names.values()
        },
        bounds=bounds,
        label_mass=math.fsum(map(math.exp, masses.values())) if masses else None,
        log_odds=_log_odds(chosen, masses, bounds),
        tokens=range(first, first + weighed.read),
    )


@dataclass(slots=True)
class _Weighed:
    """What the tokens say of the labels.

    Attributes:
        credited: Logarithms of the probabilities that lead to each label.
        shared: Probability of what could still become this label or another one.
        unlisted: The most that a spelling can have that is not listed.
        read: Tokens it took.
    """

    credited: dict[str, list[float]] = field(default_factory=dict)
    shared: dict[str, float] = field(default_factory=dict)
    unlisted: float = 0.0
    read: int = 0

    def add(self, fits: Sequence[str], log_mass: float) -> None:
        if len(fits) == 1:
            self.credited.setdefault(fits[0], []).append(log_mass)
            return
        for name in fits:
            self.shared[name] = self.shared.get(name, 0.0) + math.exp(log_mass)


class _Step(NamedTuple):
    """A token where a label is being written.

    Attributes:
        token: The token.
        before: What stood there before it.
        after: What stands there after it.
        others: What else could have been written, with the logprobs.
    """

    token: TokenLogprob
    before: bytes
    after: bytes
    others: Sequence[tuple[bytes, float]]


def _weigh(steps: Iterable[_Step], names: Sequence[str]) -> _Weighed:
    """Follows what was written, and credits each label with what would have led to it alone."""
    weighed = _Weighed()
    written, reach = b"", 0.0
    for at in steps:
        weighed.read += 1
        weighed.unlisted += math.exp(reach) * _most_unlisted(at)
        for other, logprob in at.others:
            weighed.add(_fitting(_normal(at.before + other), names), reach + logprob)
        own = sound_logprob(at.token.logprob)
        written = at.after
        fits = _fitting(_normal(written), names)
        if own is None or own <= CENSORED or not fits:
            return weighed
        reach += own
        if len(fits) == 1:
            weighed.add(fits, reach)
            return weighed
    final = _final(_normal(written), names)
    weighed.add([] if final is None else [final], reach)
    return weighed


def _steps(
    tokens: Sequence[TokenLogprob], aligned: Aligned, start: int, end: int
) -> Iterator[_Step]:
    """The tokens from `start` to `end`, and the one after, which may end a label or prolong it."""
    used = tokens_in(aligned, start, end)
    for at in range(used.start, min(used.stop + 1, len(tokens))):
        begins = aligned.starts[at]
        lead = aligned.data[begins:start]  # a bracket or a quote in the same token
        yield _Step(
            token=tokens[at],
            before=aligned.data[start:begins],
            after=aligned.data[start : aligned.ends[at]],
            others=[
                (aligned.reading(other).removeprefix(lead), other.logprob)
                for other in _others(tokens[at])
            ],
        )


def _others(token: TokenLogprob) -> list[Candidate]:
    usable = (
        other._replace(logprob=logprob)
        for other in token.candidates
        if (logprob := sound_logprob(other.logprob)) is not None and logprob > CENSORED
    )
    return [other for other in distinct(usable) if identity(other) != identity(token)]


def _most_unlisted(at: _Step) -> float:
    """The most probability that a token can have which is not listed."""
    _, surprisal, _, _, _, tail, _ = measure(at.token)
    if tail is None:
        return 1.0 if surprisal is None else -math.expm1(-surprisal)
    smallest = min((math.exp(logprob) for _, logprob in at.others), default=1.0)
    return min(tail, smallest) if tail > LEAST_TAIL else 0.0


def _fitting(said: str, names: Sequence[str]) -> list[str]:
    """The labels that what was said so far can still become, or the one that it has become."""
    begun = [name for name in names if name.startswith(said)]
    if begun:
        return begun
    final = _final(said, names)
    return [] if final is None else [final]


def _final(said: str, names: Sequence[str]) -> str | None:
    """The label that a finished text begins with, as a whole word: the longest there is."""
    ended = [name for name in names if said.startswith(name) and not _WORD.match(said, len(name))]
    return max(ended, key=len, default=None)


def _names(labels: Sequence[str]) -> dict[str, str]:
    """The labels by what is compared of them."""
    folded = {_normal(label).rstrip(_AROUND): label for label in labels}
    folded.pop("", None)
    return folded


def _normal(said: bytes | str) -> str:
    text = said if isinstance(said, str) else said.decode("utf-8", "ignore")
    return text.lstrip(_AROUND).casefold()


def _likeliest(masses: Mapping[str, float]) -> str | None:
    top = max(masses.values(), default=None)
    first = [label for label, mass in masses.items() if mass == top]
    return first[0] if len(first) == 1 else None


def _log_odds(
    chosen: str | None, masses: Mapping[str, float], bounds: Mapping[str, float]
) -> float | None:
    if chosen is None or chosen not in masses:
        return None
    others = [mass for label, mass in masses.items() if label != chosen]
    others += [math.log(bound) for bound in bounds.values() if bound > LEAST_TAIL]
    return masses[chosen] - logsumexp(others) if others else None


def _said(path: str, text: str, fields: Fields) -> tuple[str, tuple[int, int]] | None:
    """A field's value and its bytes; the answer and its own, for `$` in plain text."""
    found = fields.get(path)
    if found is None and path == "$":
        return text, (0, len(text.encode("utf-8", "surrogatepass")))
    if found is None or not found.leaf:
        return None
    start, end = found.span
    if isinstance(found.value, str):
        return found.value, (start + 1, max(start + 1, end - found.complete))
    return label_text(found.value) or "", (start, end)
