"""What a model call must give, whichever way it is made: report, spans and metrics, all of them.

One cell of the matrix of ways is one `assert_seen()`: it compares tokens, text and outcome, the
whole span tree, and every metric there is, with what the script says, by sums of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from conftest import Observed, attributes_of
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from langchain_logprobs import CallReport, LogprobsCallbackHandler, TokenLogprob
from langchain_logprobs.testing import Answer

METRIC = "langchain_logprobs."
_HEADLESS = {"choices_interleaved", "incomplete"}
"""Reasons for which tokens that came are no sequence to measure."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A model call as it must be reported.

    Attributes:
        tokens: Of each completion.
        texts: Of each completion.
        source: Where the tokens came from; `None` if there are none.
    """

    tokens: tuple[tuple[TokenLogprob, ...], ...] = ((),)
    texts: tuple[str, ...] = ("",)
    source: str | None = "end"
    outcome: str = "ok"
    error: str | None = None
    unavailable: str | None = None
    model: str = "scripted-1"
    operation: str = "chat"
    tool_calls: tuple[tuple[str, Any], ...] = ()
    finish_reason: str | None = "stop"

    @property
    def span(self) -> list[Any]:
        """Its span, with a span for every token under it."""
        return [
            f"{self.operation} {self.model}".strip(),
            *[["token"] for of in self.tokens for _ in of],
        ]

    @property
    def content(self) -> tuple[TokenLogprob, ...]:
        """The tokens whose confidence is the call's; none where it has no confidence."""
        if not self.tokens or self.unavailable in _HEADLESS:
            return ()
        return tuple(of for of in self.tokens[0] if of.channel == "content")

    def but(self, **others: Any) -> Said:
        """The same call with something else about it."""
        return replace(self, **others)


def said(script: Answer, **others: Any) -> Said:
    """What a `ScriptedChatModel` that gives this answer must be reported to have said."""
    return replace(
        Said(
            tokens=(script.tokens,),
            texts=(script.text,),
            finish_reason=script.finish_reason,
            tool_calls=tuple((of["name"], of["args"]) for of in script.tool_calls),
        ),
        **others,
    )


def assert_seen(
    observed: Observed,
    handler: LogprobsCallbackHandler,
    expected: Sequence[Said],
    *,
    roots: Sequence[tuple[str, int]] = (),
) -> None:
    """Reports, span tree and metrics are those of these calls, and of nothing else.

    Args:
        observed: Where the handler writes; nothing else has written there.
        handler: One that keeps its reports.
        expected: The calls, in any order.
        roots: The root runs, by name, with how many of the calls each has. Calls beyond them were
            made alone.
    """
    assert handler.flush()
    assert handler.is_idle()
    assert_reports(handler.reports, expected)
    assert [(of.name, len(of.calls)) for of in handler.trees] == list(roots)
    assert_spans(observed, handler.reports, expected, roots)
    assert_metrics(observed, handler, expected)


def assert_reports(reports: Sequence[CallReport], expected: Sequence[Said]) -> None:
    """Each call was reported once, as it was."""
    assert len({of.call.run_id for of in reports}) == len(reports)
    assert sorted(map(reported, reports), key=repr) == sorted(expected, key=repr)
    for report in reports:
        of = reported(report).content
        known = report.confidence
        assert (known.count, report.tokens if of else ()) == (len(of), report.tokens if of else ())
        assert known.confidence == (pytest.approx(headline(of)) if of else None)
        timed = [token.at_ns for one in report.call.completions for token in one.tokens]
        if report.call.source == "stream":
            assert all(report.call.started_ns <= at <= report.call.ended_ns for at in timed if at)
            assert all(at is not None for at in timed)
            assert timed == sorted(timed, key=lambda at: at or 0)
        else:
            assert timed == [None] * len(timed)


def reported(report: CallReport) -> Said:
    """A report as what is expected of one; when its tokens came is left out."""
    call = report.call
    first = call.completions[0] if call.completions else None
    return Said(
        tokens=tuple(tuple(map(_untimed, of.tokens)) for of in call.completions) or ((),),
        texts=tuple(of.text for of in call.completions) or ("",),
        source=call.source,
        outcome=call.outcome,
        error=call.error,
        unavailable=report.unavailable,
        model=call.model or "",
        operation=call.operation,
        tool_calls=() if first is None else first.tool_calls,
        finish_reason=None if first is None else first.finish_reason,
    )


def headline(tokens: Sequence[TokenLogprob]) -> float:
    """The geometric mean of their probabilities."""
    return math.exp(sum(of.logprob or 0.0 for of in tokens) / len(tokens))


def assert_spans(
    observed: Observed,
    reports: Sequence[CallReport],
    expected: Sequence[Said],
    roots: Sequence[tuple[str, int]],
) -> None:
    """The spans are a root for each root run, one for each call, one for each token: no others."""
    by_id = {of.context.span_id: of for of in observed.spans() if of.context}
    under: dict[int | None, list[ReadableSpan]] = {}
    for span in by_id.values():
        under.setdefault(span.parent.span_id if span.parent else None, []).append(span)
    calls = [of for of in by_id.values() if of.name.startswith(("chat", "text_completion"))]
    tops = [of for of in under.get(None, []) if of not in calls]
    named = [(of.name, len(under.get(of.context.span_id, []))) for of in tops if of.context]
    wanted = [(f"invoke_workflow {name}", count) for name, count in roots if count]
    assert sorted(named) == sorted(wanted)
    assert sorted(tree for top in observed.tree() for tree in _calls_in(top)) == sorted(
        of.span for of in expected
    )
    assert len(by_id) == len(tops) + sum(map(_size, (of.span for of in expected)))
    by_run = {str(of.call.run_id): of for of in reports}
    for span in calls:
        report = by_run.pop(attributes_of(span)["langchain_logprobs.run_id"])
        assert_call_span(span, report, under.get(span.context.span_id, []))
    assert not by_run


def assert_call_span(span: ReadableSpan, report: CallReport, tokens: list[ReadableSpan]) -> None:
    """An LLM span and the token spans under it say what the report says."""
    attributes = attributes_of(span)
    of = {
        "outcome": report.call.outcome,
        "source": report.call.source,
        "unavailable": report.unavailable,
        "response.confidence": report.confidence.confidence,
        "tokens.count": report.confidence.count or None,
    }
    told = {name: attributes.get(METRIC + name) for name in of}
    told["tokens.count"] = told["tokens.count"] or None
    assert told == of
    failed = report.call.outcome == "error"
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert attributes.get("error.type") == (report.call.error if failed else None)
    assert [_place(one) for one in sorted(tokens, key=_place)] == [
        (index, at, token.logprob, token.channel, token.at_ns is not None)
        for index, completion in enumerate(report.call.completions)
        for at, token in enumerate(completion.tokens)
    ]


def assert_metrics(
    observed: Observed, handler: LogprobsCallbackHandler, expected: Sequence[Said]
) -> None:
    """Every metric has counted these calls, and no other was recorded."""
    contents = [of.content for of in expected if of.content]
    tokens = [token for of in expected for one in of.tokens for token in one]
    entropies = [of for of in contents if any(token.candidates for token in of)]
    wanted = {
        "responses": dict(Counter(map(_verdict, expected))),
        "tokens": dict(Counter(map(_band, tokens))),
        "token_spans": {("emitted",): len(tokens)} if tokens else {},
        "response.uncertainty": {(): len(contents)} if contents else {},
        "response.surprisal": {(): len(contents)} if contents else {},
        "response.surprisal.max": {(): len(contents)} if contents else {},
        "response.entropy": {(): len(entropies)} if entropies else {},
        "response.tokens": {(): len(contents)} if contents else {},
        "chain.uncertainty": _of_trees(handler),
    }
    assert _metrics(observed) == {name: of for name, of in wanted.items() if of}
    assert_values(observed, contents)
    assert _models(observed) == Counter((of.operation, of.model) for of in expected)


def assert_values(observed: Observed, contents: Sequence[Sequence[TokenLogprob]]) -> None:
    """The histograms were told the numbers of these answers."""
    surprisals = [[-(token.logprob or 0.0) for token in of] for of in contents]
    wanted = {
        "response.uncertainty": sum(1 - headline(of) for of in contents),
        "response.surprisal": sum(sum(of) / len(of) for of in surprisals),
        "response.surprisal.max": sum(map(max, surprisals)),
        "response.tokens": sum(map(len, contents)),
    }
    told = observed.sums()
    assert {name: told.get(METRIC + name, 0) for name in wanted} == pytest.approx(wanted)


def _models(observed: Observed) -> Counter[tuple[str, str]]:
    """How many responses there were, by operation and model."""
    found: Counter[tuple[str, str]] = Counter()
    for key, value in observed.metrics().get(f"{METRIC}responses", {}).items():
        of = dict(key)
        found[of["gen_ai.operation.name"], of.get("gen_ai.request.model", "")] += int(value)
    return found


_OWN = {"responses": ("confidence", "reason"), "tokens": ("band",), "token_spans": ("result",)}
"""The attributes that a metric has beside those of the call."""


def _metrics(observed: Observed) -> dict[str, dict[tuple[Any, ...], float]]:
    """Every metric by its own attributes, summed over those of the call."""
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    for name, points in observed.metrics().items():
        own = _OWN.get(name.removeprefix(METRIC), ())
        of = found.setdefault(name.removeprefix(METRIC), {})
        for key, value in points.items():
            at = tuple(dict(key)[one] for one in own if one in dict(key))
            of[at] = of.get(at, 0) + value
    return found


def _of_trees(handler: LogprobsCallbackHandler) -> dict[tuple[Any, ...], float]:
    known = [of for of in handler.trees if of.weakest is not None]
    return {(): len(known)} if known else {}


def _verdict(of: Said) -> tuple[str, ...]:
    if of.unavailable is not None:
        return ("unavailable", of.unavailable)
    return ("low" if headline(of.content) < 0.7 else "ok",)


def _band(token: TokenLogprob) -> tuple[str]:
    if token.logprob is None:
        return ("missing",)
    probability = math.exp(token.logprob)
    return ("low" if probability < 0.5 else "medium" if probability < 0.9 else "high",)


def _untimed(token: TokenLogprob) -> TokenLogprob:
    return replace(token, at_ns=None)


def _place(span: ReadableSpan) -> tuple[Any, ...]:
    of = attributes_of(span)
    names = ("completion", "index", "logprob", "channel", "timed")
    place = [of.get(f"{METRIC}token.{name}") for name in names]
    return (place[0] or 0, *place[1:])


def _calls_in(tree: list[Any]) -> Iterator[list[Any]]:
    if tree[0].startswith(("chat", "text_completion")):
        yield tree
    for below in tree[1:]:
        yield from _calls_in(below)


def _size(tree: list[Any]) -> int:
    return 1 + sum(map(_size, tree[1:]))
