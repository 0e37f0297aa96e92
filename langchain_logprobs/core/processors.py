"""Ready-made steps between a report and its sinks: hide text, keep a share, keep the doubtful."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from heapq import nsmallest
from itertools import accumulate
from operator import itemgetter
from uuid import UUID

from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.fields import FieldConfidence
from langchain_logprobs.core.measures import Measured, as_columns
from langchain_logprobs.core.model import Completion
from langchain_logprobs.core.report import CallReport, Processor, Report
from langchain_logprobs.core.schemas import pattern_of
from langchain_logprobs.core.text import pieces
from langchain_logprobs.core.tokens import Candidate, TokenLogprob

MASK = "▮"
"""What stands for a token's text after `redact`."""
_STEP = re.compile(r"""\["(?:[^"\\]|\\.)*"\]|\[\d+\]|\.[^.\[]+""")
"""One step of a field's path: `["a key"]`, `[0]`, `.key`."""


def redact(*patterns: str | re.Pattern[str]) -> Processor:
    """A processor that hides text and changes no number.

    Which candidates are the same token stays, so that every measure keeps its value.

    Args:
        patterns: Regular expressions. Without any, all goes: token texts, bytes, alternatives,
            answers, values and labels, keys that no schema names, tool-call arguments and run
            metadata. With some, what they match in the answer, the tokens that overlap a match or
            weighed one, with all their alternatives, and the arguments of tool calls in which there
            is a match; and if there is any, the values and labels.

    Raises:
        re.error: A pattern is no regular expression.

    .. versionadded:: 0.1.0
    """
    compiled = [re.compile(pattern) for pattern in patterns]
    return _on_calls(partial(_without_matches, compiled) if compiled else _without_text)


def sample(rate: float) -> Processor:
    """A processor that keeps this share of the root runs, each with all its calls or none.

    Which are kept depends on the root run's id alone, so that every process decides alike.

    Args:
        rate: Between 0 (none) and 1 (all).

    Raises:
        ValueError: `rate` is not between 0 and 1.

    .. versionadded:: 0.1.0
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"sample() takes a share between 0 and 1, not {rate!r}")
    bound = int(rate * 2**64)

    def process(report: Report) -> Report | None:
        return report if _spread(_root_run_id(report)) < bound else None

    return process


def keep_lowest(count: int) -> Processor:
    """A processor that keeps, of each completion, the `count` least likely tokens, in order.

    The report's measures stay those of all tokens, and its fields no longer say which are theirs.

    Args:
        count: How many tokens; at least 0.

    Raises:
        ValueError: `count` is negative.

    .. versionadded:: 0.1.0
    """
    if type(count) is not int or count < 0:
        raise ValueError(f"keep_lowest() takes a number of tokens, not {count!r}")

    def lowest(completion: Completion) -> Completion:
        tokens = completion.tokens
        kept = sorted(nsmallest(count, range(len(tokens)), key=lambda at: likelihood(tokens[at])))
        return replace(completion, tokens=tuple(tokens[at] for at in kept))

    def fewer(report: CallReport) -> CallReport:
        return _with_fields(_with_completions(report, lowest), _without_places)

    return _on_calls(fewer)


def likelihood(token: TokenLogprob) -> float:
    """The token's logprob for sorting; tokens without one come last."""
    return 1.0 if token.logprob is None else token.logprob


def _on_calls(change: Callable[[CallReport], CallReport]) -> Processor:
    """A processor of call reports that does the same to the calls of a tree."""

    def process(report: Report) -> Report:
        if isinstance(report, CallReport):
            return change(report)
        calls, weakest = tuple(map(change, report.calls)), report.weakest
        if weakest is not None:
            known = zip(report.calls, calls, strict=True)
            weakest = next((new for old, new in known if old is weakest), None) or change(weakest)
        return replace(report, calls=calls, weakest=weakest)

    return process


def _with_completions(report: CallReport, change: Callable[[Completion], Completion]) -> CallReport:
    completions = tuple(map(change, report.call.completions))
    if completions == report.call.completions:
        return report
    tokens = tuple(token for completion in completions for token in completion.tokens)
    return replace(
        report,
        call=replace(report.call, completions=completions),
        measured=Measured(tokens, as_columns(report.measured.of(tokens))),  # it holds tokens too
    )


def _with_fields(
    report: CallReport, change: Callable[[FieldConfidence], FieldConfidence]
) -> CallReport:
    tools = tuple(
        replace(
            tool,
            chosen=None if tool.chosen is None else change(tool.chosen),
            arguments=tool.arguments.map(change),
        )
        for tool in report.tools
    )
    low = tuple(map(change, report.low_fields))
    return replace(report, fields=report.fields.map(change), tools=tools, low_fields=low)


def _without_places(field: FieldConfidence) -> FieldConfidence:
    return replace(field, tokens=range(0))


def _without_text(report: CallReport) -> CallReport:
    known = report.known_paths
    report = _without_values(report, lambda path, _: not {path, pattern_of(path)} & known)
    report = _with_completions(report, _masked)
    parameters = _numbers(report.call.parameters)
    return replace(report, call=replace(report.call, metadata={}, parameters=parameters))


def _without_matches(patterns: list[re.Pattern[str]], report: CallReport) -> CallReport:
    masked = _with_completions(report, lambda of: _masked_matches(of, patterns))
    # A value may match where its spelling in the answer, such as "\\u00e9", does not.
    said = (text for of in report.every_field for text in (of.path, *_leaves(of.value)))
    if masked == report and not _any_match(patterns, said):
        return report
    return _without_values(masked, lambda _, key: _any_match(patterns, [key]))


def _without_values(report: CallReport, hides: Callable[[str, str], bool]) -> CallReport:
    """The report without what its fields say; which label was chosen is the answer itself.

    Args:
        report: The report.
        hides: Whether a key is to be hidden, by the path that ends with it, and the key.
    """
    numbers: dict[str, int] = {}

    def masked(field: FieldConfidence) -> FieldConfidence:
        return replace(field, path=_masked_path(field.path, hides, numbers), value=None)

    tools = tuple(replace(tool, labels={}) for tool in report.tools)
    return _with_fields(replace(report, labels={}, tools=tools), masked)


def _masked_path(path: str, hides: Callable[[str, str], bool], numbers: dict[str, int]) -> str:
    """The path with a number for every key to be hidden: the same key, the same number."""
    shown = real = "$"
    for step in _STEP.findall(path):
        real += step
        key = step[1:] if step[0] == "." else json.loads(step)[0]
        if isinstance(key, str) and hides(real, key):
            step = f".{MASK}{numbers.setdefault(real, len(numbers) + 1)}"  # noqa: PLW2901
        shown += step
    return shown


def _numbers(parameters: object) -> dict[str, object]:
    match parameters:
        case dict():
            return {key: of for key, of in parameters.items() if isinstance(of, (int, float))}
    return {}


def _masked(completion: Completion) -> Completion:
    return replace(
        completion,
        tokens=tuple(map(_masked_token, completion.tokens)),
        text=MASK if completion.text else "",
        tool_calls=tuple((name, {}) for name, _ in completion.tool_calls),
    )


def _masked_token(token: TokenLogprob) -> TokenLogprob:
    """The token without its text; tokens that were the same are still the same."""
    masks = {identity(token): MASK}
    for candidate in token.candidates:
        masks.setdefault(identity(candidate), f"{MASK}{len(masks)}")
    return replace(
        token,
        text=MASK,
        raw=None,
        candidates=tuple(
            Candidate(masks[identity(candidate)], candidate.logprob)
            for candidate in token.candidates
        ),
    )


def _masked_matches(completion: Completion, patterns: list[re.Pattern[str]]) -> Completion:
    """The completion with what the patterns match hidden, wherever it stands."""
    tokens = completion.tokens
    hidden = {
        at
        for channel in {token.channel for token in tokens}
        for at in _hidden(
            [at for at, token in enumerate(tokens) if token.channel == channel],
            tokens,
            completion.text if channel == "content" else None,
            patterns,
        )
    }
    return replace(
        completion,
        tokens=tuple(_masked_token(of) if at in hidden else of for at, of in enumerate(tokens)),
        text=_masked_text(completion.text, patterns),
        tool_calls=tuple(
            (name, {} if _any_match(patterns, _leaves(arguments)) else arguments)
            for name, arguments in completion.tool_calls
        ),
    )


def _hidden(
    places: list[int],
    tokens: Sequence[TokenLogprob],
    text: str | None,
    patterns: list[re.Pattern[str]],
) -> Iterator[int]:
    """Those of the places whose tokens overlap a match, or came with an alternative that is one."""
    channel = [tokens[at] for at in places]
    # As the tokens spell it, and as the answer does: a byte alphabet hides a match from the first,
    # what the provider stripped from the second.
    for texts in {tuple(pieces(channel)), tuple(pieces(channel, text))}:
        spans = _spans("".join(texts), patterns)
        for at, piece, end in zip(places, texts, accumulate(map(len, texts)), strict=True):
            start = end - len(piece)
            # A token that only begins a character has no text, and is part of what follows.
            if _overlaps(start, max(end, start + 1), spans):
                yield at
    for at, token in zip(places, channel, strict=True):
        if _any_match(patterns, (candidate.text for candidate in token.candidates)):
            yield at


def _spans(text: str, patterns: Iterable[re.Pattern[str]]) -> list[tuple[int, int]]:
    """What the patterns match, from where to where: in order, apart, none of them empty."""
    found = (match.span() for pattern in patterns for match in pattern.finditer(text))
    spans: list[tuple[int, int]] = []
    for start, end in sorted(span for span in found if span[0] < span[1]):
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _overlaps(start: int, end: int, spans: Sequence[tuple[int, int]]) -> bool:
    following = bisect_right(spans, start, key=itemgetter(1))
    return following < len(spans) and spans[following][0] < end


def _masked_text(text: str, patterns: Iterable[re.Pattern[str]]) -> str:
    """The text with a mask for every stretch that the patterns match."""
    spans = _spans(text, patterns)
    starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)]
    return MASK.join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _any_match(patterns: Iterable[re.Pattern[str]], texts: Iterable[str]) -> bool:
    return any(_spans(text, patterns) for text in texts)


def _leaves(value: object) -> Iterator[str]:
    """Every key and value in a tool call's arguments, as text."""
    match value:
        case Mapping():
            for key, inner in value.items():
                yield str(key)
                yield from _leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from _leaves(inner)
        case _:
            yield str(value)


def _root_run_id(report: Report) -> UUID:
    return (report.call if isinstance(report, CallReport) else report.tree).root_run_id


def _spread(run_id: UUID) -> int:
    """The id as an even 64-bit number: the low half of a UUID may be a fixed variant and node."""
    digest = (run_id.int ^ (run_id.int >> 64)) & (2**64 - 1)
    return digest * 0x9E3779B97F4A7C15 % 2**64
