"""A report's tokens to token spans: pure functions, as those for calls and trees in `spans`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import nsmallest
from itertools import chain, compress, count, islice, repeat
from typing import NamedTuple, TypeVar

from langchain_logprobs.core.confidence import TokenMeasures
from langchain_logprobs.core.model import Completion, ModelCall, TokenLogprob
from langchain_logprobs.core.processors import likelihood
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.core.text import align, pieces
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import sendable
from langchain_logprobs.telemetry.spans import (
    Attributes,
    Options,
    Value,
    openinference_attributes,
    told,
)

T = TypeVar("T")


class TokenSpan(NamedTuple):
    """A token span to be.

    Attributes:
        token: The token.
        at: Its place among the tokens of its completion.
        completion: The completion's place among those of the call.
        start_ns: When the token before it arrived; when the call started, for the first.
        end_ns: When it arrived itself. Not streamed: both are the end of the call.
        measures: Its measures.
        text: What to show of it, where content may be sent.
        place: The bytes of the answer it wrote, from and to, where that is known.
        field: The path of the JSON value it wrote, if it wrote one whose name may be told.
    """

    token: TokenLogprob
    measures: TokenMeasures
    at: int
    completion: int
    start_ns: int
    end_ns: int
    text: str | None
    place: tuple[int, int] | None
    field: str | None = None


_TOKEN_SPAN = partial(tuple.__new__, TokenSpan)
"""`TokenSpan._make`, in half the time."""

TOKEN_ATTRIBUTES = (
    names.TOKEN_INDEX,
    names.TOKEN_LOGPROB,
    names.TOKEN_PROBABILITY,
    names.TOKEN_ENTROPY,
    names.TOKEN_TAIL_MASS,
    names.TOKEN_MARGIN,
    names.TOKEN_LOG_ODDS,
    names.TOKEN_RANK,
    names.TOKEN_LOW,
    names.TOKEN_TIMED,
    names.TOKEN_CHANNEL,
    names.TOKEN_COMPLETION,
    names.TOKEN_FIELD,
    names.TOKEN_BYTE_START,
    names.TOKEN_BYTE_END,
    names.TOKEN_TEXT,
    names.TOKEN_CANDIDATES,
    names.TOKEN_CANDIDATE_LOGPROBS,
)
"""What a token span can tell."""
TokenValues = tuple[Value | None, ...]
"""The values of `TOKEN_ATTRIBUTES`; `None` for those that a span does not have."""


def count_token_spans(report: CallReport, options: Options) -> tuple[int, int]:
    """How many token spans a call will have, and how many the options leave out."""
    tokens = _every_token(report)
    wanted = 0 if options.token_spans == "none" else len(tokens)
    if options.token_spans == "low":
        wanted = sum(_is_wanted(token, report.low_token, options) for token in tokens)
    if options.max_token_spans is not None:
        wanted = min(wanted, options.max_token_spans)
    return wanted, len(tokens) - wanted


def token_spans(report: CallReport, options: Options) -> Iterable[TokenSpan]:
    """The token spans of a call, in order: each made when it is asked for."""
    fields = _field_paths(report, options)
    # Taken for all at once: to find those of one completion, all have to be gone through.
    measures = iter(report.measured.of(_every_token(report)))
    spans = chain.from_iterable(
        _completion_spans(report, index, options, measures, {} if index else fields)
        for index in range(len(report.call.completions))
    )
    count, omitted = count_token_spans(report, options)
    return compress(spans, _chosen(report, count, options)) if omitted else spans


def _chosen(report: CallReport, count: int, options: Options) -> list[bool]:
    """For each token of a call, whether it is one of the so many that become spans."""
    tokens = _every_token(report)
    wanted = [_is_wanted(token, report.low_token, options) for token in tokens]
    places = compress(range(len(tokens)), wanted)
    chosen = set(nsmallest(count, places, key=lambda at: likelihood(tokens[at])))
    return [at in chosen for at in range(len(tokens))]


def token_name(span: TokenSpan, options: Options) -> str:
    """What a token span is called: always the same, unless people are to read it in a tree."""
    if not options.openinference:
        return names.TOKEN_SPAN
    label = names.TOKEN_SPAN if span.text is None else repr(span.text)
    probability = span.measures.probability
    return label if probability is None else f"{label} {probability:.2f}"


def token_attributes(span: TokenSpan, low_token: float, options: Options) -> Attributes:
    """The attributes of a token span."""
    known = named(token_values(span, low_token, options))
    if options.openinference:
        known |= openinference_attributes("CHAIN", span.text, options)
    return known


def named(values: TokenValues) -> Attributes:
    """The attributes that have these values: those that are there."""
    pairs = zip(TOKEN_ATTRIBUTES, values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def token_values(span: TokenSpan, low_token: float, options: Options) -> TokenValues:
    """The values of a token span's attributes."""
    token, measures, at, completion, _, _, text, place, field = span
    probability, _, rank, margin, entropy, tail_mass, log_odds = measures
    first, last = place or (None, None)
    candidates = token.candidates if options.capture_content else ()
    return (
        at,
        token.logprob,
        probability,
        entropy,
        tail_mass,
        margin,
        log_odds,
        rank,
        None if probability is None else probability < low_token,
        token.at_ns is not None,
        token.channel,
        completion,
        field and sendable(field),
        first,
        last,
        text,
        tuple([sendable(of.text) for of in candidates]) or None,
        tuple([of.logprob for of in candidates]) or None,
    )


def _field_paths(report: CallReport, options: Options) -> dict[int, str]:
    """The path to tell for each token of the content that wrote a JSON value, by its index."""
    return {
        at: path
        for field in reversed(report.every_field)  # of two in one token, the first
        if field.leaf and (path := told(field.path, report, options)) is not None
        for at in field.tokens
    }


def _completion_spans(
    report: CallReport,
    index: int,
    options: Options,
    measures: Iterator[TokenMeasures],
    fields: Mapping[int, str],
) -> Iterable[TokenSpan]:
    completion = report.call.completions[index]
    tokens = completion.tokens
    places = _places(completion, _counts(report).get(index))
    paths = [fields.get(at) for at in range(len(tokens))] if fields else []
    times = list(_times(report.call, tokens))
    columns = (
        tokens,
        list(islice(measures, len(tokens))),
        count(),
        repeat(index),
        [start_ns for start_ns, _ in times],
        [end_ns for _, end_ns in times],
        pieces(tokens) if options.capture_content else repeat(None),
        _of_content(places, tokens),
        _of_content(paths, tokens),
    )
    return map(_TOKEN_SPAN, zip(*columns, strict=False))  # some columns have no end


def _every_token(report: CallReport) -> Sequence[TokenLogprob]:
    """The tokens of all completions, one after another."""
    completions = report.call.completions
    if len(completions) == 1:  # the very tuple whose measures are at hand
        return completions[0].tokens
    return [token for completion in completions for token in completion.tokens]


def _of_content(values: Sequence[T], tokens: Iterable[TokenLogprob]) -> Iterable[T | None]:
    """What the tokens of the content have, in a column for all of the tokens."""
    if not values:
        return repeat(None)
    known = iter(values)
    return [next(known, None) if token.channel == "content" else None for token in tokens]


def _times(call: ModelCall, tokens: Iterable[TokenLogprob]) -> Iterator[tuple[int, int]]:
    before = call.started_ns
    for token in tokens:
        if token.at_ns is None:
            yield call.ended_ns, call.ended_ns
        else:
            now = max(before, token.at_ns)  # clocks can be set back
            yield before, now
            before = now


def _counts(report: CallReport) -> dict[int, int]:
    """How many tokens the content of each completion has, whatever a processor has left of it."""
    contents = (of for of in report.sequences if of.channel == "content")
    return {of.completion: of.confidence.count for of in contents}


def _places(completion: Completion, count: int | None) -> list[tuple[int, int]]:
    """Where each token of the content stands in the answer's bytes, if that is certain."""
    content = [token for token in completion.tokens if token.channel == "content"]
    is_whole = bool(completion.text) and len(content) == count
    aligned = align(content, completion.text) if is_whole else None
    if aligned is None or aligned.alignment != "exact":
        return []
    return list(zip(aligned.starts, aligned.ends, strict=True))


def _is_wanted(token: TokenLogprob, low_token: float, options: Options) -> bool:
    if options.token_spans == "low":
        return token.logprob is not None and math.exp(token.logprob) < low_token
    return options.token_spans == "all"
