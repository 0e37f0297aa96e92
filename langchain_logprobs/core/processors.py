"""Ready-made steps between a report and its sinks: hide text, keep a share, keep the doubtful."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from heapq import nsmallest
from itertools import accumulate
from uuid import UUID

from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.model import Candidate, Completion, TokenLogprob
from langchain_logprobs.core.report import CallReport, Processor, Report
from langchain_logprobs.core.text import pieces

MASK = "▮"
"""What stands for a token's text after `redact`."""


def redact(*patterns: str | re.Pattern[str]) -> Processor:
    """A processor that hides text and changes no number.

    Token texts, bytes, alternatives, answers, tool-call arguments and run metadata go; which
    candidates are the same token stays, so that every measure keeps its value.

    Args:
        patterns: Regular expressions. Without any, all text is hidden; with some, only the tokens
            that overlap a match in the answer (with their alternatives), and the matches in it.

    Raises:
        re.error: A pattern is no regular expression.
    """
    compiled = [re.compile(pattern) for pattern in patterns]
    if not compiled:
        return _on_calls(lambda report: _with_completions(report, _masked, hide_metadata=True))
    return _on_calls(
        lambda report: _with_completions(report, lambda of: _masked_matches(of, compiled))
    )


def sample(rate: float) -> Processor:
    """A processor that keeps this share of the root runs, each with all its calls or none.

    Which are kept depends on the root run's id alone, so that every process decides alike.

    Args:
        rate: Between 0 (none) and 1 (all).

    Raises:
        ValueError: `rate` is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"sample() takes a share between 0 and 1, not {rate!r}")
    bound = int(rate * 2**64)

    def process(report: Report) -> Report | None:
        return report if _spread(_root_run_id(report)) < bound else None

    return process


def keep_lowest(count: int) -> Processor:
    """A processor that keeps, of each completion, the `count` least likely tokens, in order.

    The report's measures stay those of all tokens.

    Args:
        count: How many tokens; at least 0.

    Raises:
        ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"keep_lowest() takes a number of tokens, not {count!r}")

    def lowest(completion: Completion) -> Completion:
        tokens = completion.tokens
        kept = sorted(nsmallest(count, range(len(tokens)), key=lambda at: likelihood(tokens[at])))
        return replace(completion, tokens=tuple(tokens[at] for at in kept))

    return _on_calls(lambda report: _with_completions(report, lowest))


def likelihood(token: TokenLogprob) -> float:
    """The token's logprob for sorting; tokens without one come last."""
    return 1.0 if token.logprob is None else token.logprob


def _on_calls(change: Callable[[CallReport], CallReport]) -> Processor:
    """A processor of call reports that does the same to the calls of a tree."""

    def process(report: Report) -> Report:
        if isinstance(report, CallReport):
            return change(report)
        changed = {id(call): change(call) for call in report.calls}
        weakest = report.weakest
        return replace(
            report,
            calls=tuple(changed.values()),
            weakest=None if weakest is None else changed[id(weakest)],
        )

    return process


def _with_completions(
    report: CallReport, change: Callable[[Completion], Completion], *, hide_metadata: bool = False
) -> CallReport:
    completions = tuple(map(change, report.call.completions))
    if completions != report.call.completions:
        report = _without_values(report)
    call = replace(report.call, completions=completions)
    if hide_metadata:
        call = replace(call, metadata={}, parameters=_numbers(call.parameters))
    return replace(report, call=call)


def _without_values(report: CallReport) -> CallReport:
    """The report without what its fields say; which label was chosen is the answer itself."""
    tools = (
        replace(
            tool,
            chosen=None if tool.chosen is None else replace(tool.chosen, value=None),
            arguments=tool.arguments.without_values(),
            labels={},
        )
        for tool in report.tools
    )
    return replace(report, fields=report.fields.without_values(), labels={}, tools=tuple(tools))


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
    """The completion with what the patterns match hidden, in its tokens and in its text."""
    texts = pieces(completion.tokens)
    hidden = [span for pattern in patterns for span in _spans(pattern, "".join(texts))]
    if not hidden and not any(pattern.search(completion.text) for pattern in patterns):
        return completion
    ends = list(accumulate(map(len, texts)))
    starts = [end - len(text) for end, text in zip(ends, texts, strict=True)]
    return replace(
        completion,
        tokens=tuple(
            _masked_token(token) if _overlaps(start, end, hidden) else token
            for token, start, end in zip(completion.tokens, starts, ends, strict=True)
        ),
        text=_substituted(completion.text, patterns),
        tool_calls=tuple((name, {}) for name, _ in completion.tool_calls),
    )


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in pattern.finditer(text) if match.group())


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    # A token that only begins a character has no text of its own, and is part of what follows.
    return any(first < max(end, start + 1) and start < last for first, last in spans)


def _substituted(text: str, patterns: list[re.Pattern[str]]) -> str:
    for pattern in patterns:
        text = pattern.sub(MASK, text)
    return text


def _root_run_id(report: Report) -> UUID:
    return (report.call if isinstance(report, CallReport) else report.tree).root_run_id


def _spread(run_id: UUID) -> int:
    """The id as an even 64-bit number: the low half of a UUID may be a fixed variant and node."""
    digest = (run_id.int ^ (run_id.int >> 64)) & (2**64 - 1)
    return digest * 0x9E3779B97F4A7C15 % 2**64
