"""What the user sees of a call and of a run tree, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

from langchain_logprobs.core.choices import labels_in
from langchain_logprobs.core.confidence import (
    Confidence,
    confidence_of,
)
from langchain_logprobs.core.fields import FieldConfidence, Fields, fields_of, looks_like_json
from langchain_logprobs.core.labels import LabelConfidence, label_confidences
from langchain_logprobs.core.measures import Measured, columns_of, together
from langchain_logprobs.core.model import Completion, ModelCall, RunTree, tokens_of
from langchain_logprobs.core.records import confidences_for
from langchain_logprobs.core.schemas import known_paths, path_of, pattern_of
from langchain_logprobs.core.text import align
from langchain_logprobs.core.tokens import (
    Channel,
    TokenLogprob,
    as_tuple,
    channels_of,
)
from langchain_logprobs.core.tools import ToolConfidence, tool_fields

Unavailable = Literal[
    "not_requested",
    "not_sent",
    "dropped_by_langchain",
    "provider_omits_tool_logprobs",
    "provider_omits_stream_logprobs",
    "unreadable",
    "refusal",
    "choices_interleaved",
    "incomplete",
    "no_numbers",
    "no_answer",
]
"""Why a call has no confidence:

- `not_requested`: the model was not asked for logprobs.
- `not_sent`: it was asked, and answered without.
- `dropped_by_langchain`: the provider's LangChain package takes none over on this way of calling.
- `provider_omits_tool_logprobs`: the answer is tool calls, for which the provider sends none.
- `provider_omits_stream_logprobs`: it was streamed, and the provider has them for whole answers.
- `unreadable`: something came, and no shape reads it.
- `refusal`: the model refused; the refusal's tokens are in the report, under their own channel.
- `choices_interleaved`: several answers were streamed as one and cannot be told apart.
- `incomplete`: the answer comes from a cache in which LangChain's v3 protocol has put it, with the
  logprobs of its last tokens alone.
- `no_numbers`: tokens came, every one without a usable logprob.
- `no_answer`: the call ended before the first token.
"""
_channel = attrgetter("channel")
_NO_SEQUENCE = frozenset({"choices_interleaved", "incomplete"})
"""With these the tokens that came are not the answer's, one after another."""


@dataclass(frozen=True, slots=True)
class SequenceConfidence:
    """The confidence of one channel of one completion.

    Attributes:
        completion: Index of the completion in `ModelCall.completions`.
        channel: Which of its tokens.
        confidence: Their measures.

    .. versionadded:: 0.1.0
    """

    completion: int
    channel: Channel
    confidence: Confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """How sure a model was in one call: what hooks and sinks are handed.

    Attributes:
        call: What was asked and answered, token by token.
        confidence: The headline: the content of the first completion, which is the one LangChain
            hands on. Every measure is `None` where there is nothing to measure.
        sequences: Each completion and channel on its own; they are never pooled.
        unavailable: Why the headline has no numbers; `None` if it has.
        low: Whether its confidence is under `low_response`; `False` if it has none.
        low_token: The probability under which a token counted as low.
        low_response: The confidence under which a response counts as low.
        measured: The measures of its tokens, so that they need not be taken twice.
        fields: The values of a JSON answer, or the arguments of an only tool call, by path.
        labels: The labels that were asked for and found, by path.
        tools: The tool calls of the answer, each with its arguments.
        low_fields: The values that are under the threshold set for their path.
        known_paths: Patterns of the paths that the application itself named, in the schema it asked
            to be filled or in its settings; other paths hold keys of the model's own.

    .. versionadded:: 0.1.0
    """

    call: ModelCall
    confidence: Confidence
    sequences: tuple[SequenceConfidence, ...] = ()
    unavailable: Unavailable | None = None
    low: bool = False
    low_token: float = 0.5
    low_response: float = 0.7
    measured: Measured = field(default=Measured(), repr=False, compare=False)
    fields: Fields = field(default_factory=Fields)
    labels: Mapping[str, LabelConfidence] = field(default_factory=dict)
    tools: tuple[ToolConfidence, ...] = ()
    low_fields: tuple[FieldConfidence, ...] = ()
    known_paths: frozenset[str] = frozenset()

    @property
    def every_field(self) -> tuple[FieldConfidence, ...]:
        """The values of the answer, then the arguments of its tool calls, each once."""
        parts = [self.fields, *(of.arguments for of in self.tools if of.arguments != self.fields)]
        return tuple(field for part in parts for field in part.every_field)

    @property
    def tokens(self) -> tuple[TokenLogprob, ...]:
        """The headline's tokens: the content of the first completion."""
        return as_tuple(self.headline)

    @property
    def headline(self) -> Sequence[TokenLogprob]:
        """The same, column by column if that is how they were read."""
        return _content(self.call.completions[0]) if self.call.completions else ()

    @property
    def text(self) -> str:
        """The first completion's text."""
        return self.call.completions[0].text if self.call.completions else ""

    def _repr_html_(self) -> str:
        """The answer as a heat map: what a notebook shows."""
        from langchain_logprobs.core.html import call_html  # noqa: PLC0415 - only notebooks need it

        return call_html(self)

    @property
    def lowest_field(self) -> FieldConfidence | None:
        """The value, or the tool's argument, that the model was least sure of."""
        known = [of for of in self.every_field if of.leaf and of.lowest is not None]
        return min(known, key=_lowest, default=None)

    def confidences_for(self, record: object) -> Any:
        """The record's structure with a confidence in the place of each value.

        Args:
            record: What was parsed out of the answer: a Pydantic model, a dataclass, a dict, a
                list. Values that the answer does not have get `None`.
        """
        return confidences_for(self.fields, record)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeReport:
    """How sure the models were in everything that ran inside one root run.

    Attributes:
        tree: The root run.
        calls: The reports of its model calls, in the order in which they ended.
        confidence: The headline tokens of all calls, pooled.
        weakest: The least confident call; `None` if no call has a confidence.
        omitted: Calls that ended after the tree's bounds were reached: each was reported on its
            own, but is not among `calls`.

    .. versionadded:: 0.1.0
    """

    tree: RunTree
    calls: tuple[CallReport, ...]
    confidence: Confidence
    weakest: CallReport | None
    omitted: int = 0

    @property
    def lowest_field(self) -> FieldConfidence | None:
        """The value, or the tool's argument, that any of the models was least sure of."""
        known = [field for call in self.calls if (field := call.lowest_field) is not None]
        return min(known, key=_lowest, default=None)

    @property
    def name(self) -> str:
        """The root run's name."""
        return self.tree.name

    def _repr_html_(self) -> str:
        """The trace tree, each call's answer to be unfolded: what a notebook shows."""
        from langchain_logprobs.core.html import tree_html  # noqa: PLC0415 - only notebooks need it

        return tree_html(self)


Report = CallReport | TreeReport
"""What flows through processors to sinks.

.. versionadded:: 0.1.0
"""

Processor = Callable[[Report], Report | None]
"""Changes a report, or drops it by giving `None`.

.. versionadded:: 0.1.0
"""

Sink = Callable[[Report], None]
"""Writes a report somewhere.

.. versionadded:: 0.1.0
"""


def call_report(
    call: ModelCall,
    *,
    low_token: float = 0.5,
    low_response: float = 0.7,
    unavailable: Unavailable | None = None,
    labels: Mapping[str, object] | None = None,
    thresholds: Mapping[str, float] | None = None,
    schemas: Sequence[object] = (),
) -> CallReport:
    """The report of a finished call.

    Args:
        call: The finished call.
        low_token: A token under this probability counts as low.
        low_response: A response whose confidence is under this counts as low.
        unavailable: Why there are no numbers, if that is so; the measures are then left out even
            where tokens came (answers that are interleaved make no sequence, nor does a part).
        labels: Labels to look for, by path: sequences of strings, an `Enum`, a `Literal`, `bool`.
        thresholds: The confidence under which a value counts as low, by path or name.
        schemas: JSON schemas that the answer was asked to fill: their labels are looked for too.

    .. versionadded:: 0.1.0
    """
    parts = [
        (index, channel, tokens)
        for index, completion in enumerate(call.completions)
        for channel, tokens in channels(completion)
    ]
    measured = [Measured(tokens, columns_of(tokens)) for _, _, tokens in parts]
    sequences = tuple(
        SequenceConfidence(index, channel, of.confidence(low_token))
        for (index, channel, _), of in zip(parts, measured, strict=True)
    )
    headline = next(
        (of.confidence for of in sequences if (of.completion, of.channel) == (0, "content")),
        Confidence(),
    )
    is_sequence = unavailable not in _NO_SEQUENCE
    shown = headline if is_sequence else Confidence()
    answers = call.completions[:1] if is_sequence else ()
    wanted = {**_labels_of(schemas), **{path_of(name): of for name, of in (labels or {}).items()}}
    fields, found, tools = _structure(answers, wanted, low_token)
    limits = {path_of(name): limit for name, limit in (thresholds or {}).items()}
    report = CallReport(
        call=call,
        confidence=shown,
        sequences=sequences if is_sequence else (),
        unavailable=unavailable,
        low=shown.confidence is not None and shown.confidence < low_response,
        low_token=low_token,
        low_response=low_response,
        measured=measured[0] if len(measured) == 1 else together(measured),
        fields=fields,
        labels=found,
        tools=tools,
        known_paths=known_paths(schemas) | limits.keys() | wanted.keys(),
    )
    return replace(report, low_fields=tuple(_under(limits, report.every_field)))


def tree_report(
    tree: RunTree, calls: Sequence[CallReport], *, low_token: float = 0.5, omitted: int = 0
) -> TreeReport:
    """The report of a finished root run from those of its calls."""
    known = [report for report in calls if report.confidence.confidence is not None]
    return TreeReport(
        tree=tree,
        calls=tuple(calls),
        confidence=confidence_of(
            (token for report in known for token in report.tokens),
            low_token=low_token,
            measures=[of for report in known for of in report.measured.of(report.tokens)],
        ),
        weakest=min(known, key=_confidence, default=None),
        omitted=omitted,
    )


def channels(completion: Completion) -> list[tuple[Channel, Sequence[TokenLogprob]]]:
    """The completion's tokens by channel, each in order; channels without tokens are left out."""
    tokens = tokens_of(completion)
    found = channels_of(tokens)
    if len(found) <= 1:  # almost always
        return [(channel, tokens) for channel in found]
    by_channel = sorted(tokens, key=_channel)
    return [(channel, tuple(of)) for channel, of in groupby(by_channel, key=_channel)]


def through(*processors: Processor) -> Processor:
    """One processor that applies each in turn, and stops at the first that drops the report.

    .. versionadded:: 0.1.0
    """

    def process(report: Report) -> Report | None:
        for processor in processors:
            changed = processor(report)
            if changed is None:
                return None
            report = changed
        return report

    return process


def _labels_of(schemas: Iterable[object]) -> dict[str, object]:
    return {path: labels for schema in schemas for path, labels in labels_in(schema).items()}


def _under(
    limits: Mapping[str, float], fields: Iterable[FieldConfidence]
) -> Iterator[FieldConfidence]:
    """The values whose confidence is below the limit set for their path, or for all like it."""
    for of in fields if limits else ():
        limit = limits.get(of.path, limits.get(pattern_of(of.path)))
        confidence = of.confidence.confidence
        if limit is not None and confidence is not None and confidence < limit:
            yield of


def _structure(
    answers: Sequence[Completion], labels: Mapping[str, object], low_token: float
) -> tuple[Fields, Mapping[str, LabelConfidence], tuple[ToolConfidence, ...]]:
    """What is known of the parts of an answer: its values, its labels, its tool calls."""
    if not answers:
        return Fields(), {}, ()
    text, tokens = answers[0].text, _content(answers[0])
    tools = tool_fields(tokens, answers[0].tool_calls, labels=labels, low_token=low_token)
    if len(tools) == 1 and not text:
        return tools[0].arguments, tools[0].labels, tools
    is_json = bool(tokens) and looks_like_json(text)
    fields = fields_of(tokens, text, low_token=low_token) if is_json else Fields()
    aligned = align(tokens, text) if labels else None
    return fields, label_confidences(tokens, aligned, text, labels, fields), tools


def _confidence(report: CallReport) -> float:
    return report.confidence.confidence or 0.0


def _lowest(of: FieldConfidence) -> float:
    return of.lowest or 0.0


def _content(completion: Completion) -> Sequence[TokenLogprob]:
    tokens = tokens_of(completion)
    if not channels_of(tokens) - {"content"}:
        return tokens
    return tuple(token for token in tokens if token.channel == "content")
