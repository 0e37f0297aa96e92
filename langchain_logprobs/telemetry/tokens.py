"""A report's tokens to token spans: pure functions, as those for calls and trees in `spans`.

A call has thousands of them, so they are held column by column, and what is alike in all of them is
done by the interpreter's own loops (`map`, `zip`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from itertools import accumulate, chain, compress, pairwise
from typing import Any, TypeVar

from langchain_logprobs.core.confidence import Columns
from langchain_logprobs.core.measures import as_columns
from langchain_logprobs.core.model import Completion, ModelCall, tokens_of
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.core.text import align, pieces
from langchain_logprobs.core.tokens import (
    Listed,
    TokenLogprob,
    Tokens,
    channel_column,
    channels_of,
    listed_of,
    logprobs_of,
    times_of,
)
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
Column = Sequence[Value | None]
"""The values of one attribute; `None` for spans that do not have it."""

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
_PROBABILITY = TOKEN_ATTRIBUTES.index(names.TOKEN_PROBABILITY)
_TEXT = TOKEN_ATTRIBUTES.index(names.TOKEN_TEXT)


@dataclass(frozen=True, slots=True)
class TokenSpans:
    """Token spans to be, side by side.

    Attributes:
        columns: What they have of each of the `TOKEN_ATTRIBUTES`.
        starts: When the token before each arrived; when the call started, for the first.
        ends: When each arrived itself. Not streamed: both are the end of the call.
    """

    columns: tuple[Column, ...]
    starts: Sequence[int]
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.ends)

    def attributes(self, at: int) -> Attributes:
        """The attributes of one of them: those that it has."""
        pairs = zip(TOKEN_ATTRIBUTES, self.columns, strict=True)
        return {name: value for name, column in pairs if (value := column[at]) is not None}

    def cut(self, first: int, end: int) -> TokenSpans:
        """Those from one place on to another."""
        if first <= 0 and end >= len(self):
            return self
        return self._each(lambda column: column[first:end])

    def at(self, places: Sequence[int]) -> TokenSpans:
        """Those in these places."""
        first, end = places[0], places[0] + len(places)
        if list(places) == list(range(first, end)):
            return self.cut(first, end)
        return self._each(lambda column: [column[at] for at in places])

    def _each(self, of: Callable[[Sequence[Any]], Sequence[Any]]) -> TokenSpans:
        return TokenSpans(tuple(map(of, self.columns)), of(self.starts), of(self.ends))


def count_token_spans(report: CallReport, options: Options) -> tuple[int, int]:
    """How many token spans a call will have, and how many the options leave out."""
    completions = list(map(tokens_of, report.call.completions))
    count = sum(map(len, completions))
    wanted = 0 if options.token_spans == "none" else count
    if options.token_spans == "low":
        logprobs = chain.from_iterable(map(logprobs_of, completions))
        wanted = sum(_is_wanted(of, report.low_token, options) for of in logprobs)
    if options.max_token_spans is not None:
        wanted = min(wanted, options.max_token_spans)
    return wanted, count - wanted


def token_spans(report: CallReport, options: Options, size: int) -> Iterator[TokenSpans]:
    """The token spans of a call, in order, so many at once; each lot is made when it is asked for.

    The first has one more: that is where the example is that others are made like.
    """
    tokens = _every_token(report)
    columns = (*_measures(report, tokens), *_columns(report, options))
    count, omitted = count_token_spans(report, options)
    if omitted:
        chosen = _chosen(logprobs_of(tokens), count, report.low_token, options)
        columns = tuple(list(compress(column, chosen)) for column in columns)
    for first, end in pairwise([0, *range(size + 1, count, size), count] if count else []):
        yield _token_spans([column[first:end] for column in columns], report.low_token)


def token_name(spans: TokenSpans, at: int, options: Options) -> str:
    """What a token span is called: always the same, unless people are to read it in a tree."""
    if not options.openinference:
        return names.TOKEN_SPAN
    text, probability = (spans.columns[of][at] for of in (_TEXT, _PROBABILITY))
    label = names.TOKEN_SPAN if text is None else repr(text)
    return label if probability is None else f"{label} {probability:.2f}"


def token_attributes(spans: TokenSpans, at: int, options: Options) -> Attributes:
    """The attributes of a token span, with those that Phoenix shows."""
    text = spans.columns[_TEXT][at]
    shown = text if isinstance(text, str) else None
    return spans.attributes(at) | openinference_attributes("CHAIN", shown, options)


def _token_spans(columns: Sequence[Sequence[Any]], low_token: float) -> TokenSpans:
    """The spans of tokens, made of their `_measures` and their `_columns`."""
    probability, _, rank, margin, entropy, tail_mass, log_odds, *others = columns
    index, completion, channel, logprob, at_ns, starts, ends, *others = others
    field, first, last, text, candidates = others
    values = (
        index,
        logprob,
        probability,
        entropy,
        tail_mass,
        margin,
        log_odds,
        rank,
        [None if of is None else of < low_token for of in probability],
        [of is not None for of in at_ns],
        channel,
        completion,
        field,
        first,
        last,
        text,
        *_candidates(candidates),
    )
    return TokenSpans(values, starts, ends)


def _candidates(sources: Sequence[Callable[[], Listed | None] | None]) -> tuple[Column, Column]:
    """The texts of the tokens' candidates, and their logprobs."""
    listed = [of and of() for of in sources]
    return (
        [tuple(map(sendable, of[0])) or None if of else None for of in listed],
        [of[1] or None if of else None for of in listed],
    )


def _measures(report: CallReport, tokens: Sequence[TokenLogprob]) -> Columns:
    """The measures of all tokens of a call."""
    measured = report.measured
    return measured.columns if tokens is measured.tokens else as_columns(measured.of(tokens))


def _columns(report: CallReport, options: Options) -> tuple[Sequence[Any], ...]:
    """What else there is to know of all tokens of a call, some of it from those before them."""
    parts = [_of_completion(report, at, options) for at in range(len(report.call.completions))]
    if len(parts) == 1:
        return parts[0]
    return tuple(list(chain.from_iterable(of)) for of in zip(*parts, strict=True)) or ((),) * 12


def _of_completion(report: CallReport, at: int, options: Options) -> tuple[Sequence[Any], ...]:
    completion = report.call.completions[at]
    tokens = tokens_of(completion)
    nothing, content = [None] * len(tokens), options.capture_content
    channels, times = channel_column(tokens), times_of(tokens)
    fields = {} if at else _field_paths(report, options)
    paths = list(map(fields.get, range(len(tokens)))) if fields else ()
    places = _places(completion, _counts(report).get(at))
    return (
        range(len(tokens)),
        [at] * len(tokens),
        channels,
        logprobs_of(tokens),
        times,
        *_bounds(report.call, times),
        *(_of_content(of, channels) if of else nothing for of in (paths, *places)),
        pieces(tokens) if content else nothing,
        _sources(tokens) if content else nothing,
    )


def _sources(tokens: Sequence[TokenLogprob]) -> Sequence[Callable[[], Listed | None]]:
    """What makes the candidates of each token."""
    if isinstance(tokens, Tokens):
        return [partial(tokens.block.row, at) for at in range(len(tokens))]
    return [partial(_listed, token) for token in tokens]


def _listed(token: TokenLogprob) -> Listed | None:
    listed: Any = listed_of(token) or tuple(zip(*token.candidates, strict=True))
    return listed or None


def _chosen(
    logprobs: Sequence[float | None], count: int, low_token: float, options: Options
) -> list[bool]:
    """For each token of a call, whether it is one of the so many that become spans."""
    wanted = [_is_wanted(of, low_token, options) for of in logprobs]
    known = [math.inf if of is None else of for of in logprobs]
    places = compress(range(len(known)), wanted)
    chosen = set(nsmallest(count, places, key=known.__getitem__))
    return [at in chosen for at in range(len(known))]


def _every_token(report: CallReport) -> Sequence[TokenLogprob]:
    """The tokens of all completions, one after another."""
    completions = report.call.completions
    if len(completions) == 1:  # the very ones whose measures are at hand
        return tokens_of(completions[0])
    return [token for completion in completions for token in completion.tokens]


def _field_paths(report: CallReport, options: Options) -> Mapping[int, str]:
    """The path to tell for each token of the content that wrote a JSON value, by its index."""
    return {
        at: sendable(path)
        for field in reversed(report.every_field)  # of two in one token, the first
        if field.leaf and (path := told(field.path, report, options)) is not None
        for at in field.tokens
    }


def _of_content(values: Sequence[T], channels: Sequence[str]) -> Sequence[T | None]:
    """What the tokens of the content have, in a column for all of the tokens."""
    if len(values) == channels.count("content") == len(channels):
        return values
    known = iter(values)
    return [next(known, None) if channel == "content" else None for channel in channels]


def _bounds(call: ModelCall, times: Sequence[int | None]) -> tuple[Sequence[int], Sequence[int]]:
    """When the spans of a completion's tokens start, and when they end."""
    known = [of for of in times if of is not None]
    bounds = list(accumulate(known, max, initial=call.started_ns))  # clocks can be set back
    if len(known) == len(times):
        return bounds[:-1], bounds[1:]
    starts, ends = iter(bounds[:-1]), iter(bounds[1:])
    return (
        [call.ended_ns if of is None else next(starts) for of in times],
        [call.ended_ns if of is None else next(ends) for of in times],
    )


def _counts(report: CallReport) -> dict[int, int]:
    """How many tokens the content of each completion has, whatever a processor has left of it."""
    contents = (of for of in report.sequences if of.channel == "content")
    return {of.completion: of.confidence.count for of in contents}


def _places(completion: Completion, count: int | None) -> tuple[Sequence[int], Sequence[int]]:
    """Where each token of the content begins and ends in the answer's bytes, if that is certain."""
    content = tokens_of(completion)
    if channels_of(content) - {"content"}:
        content = [token for token in content if token.channel == "content"]
    is_whole = bool(completion.text) and len(content) == count
    aligned = align(content, completion.text) if is_whole else None
    if aligned is None or aligned.alignment != "exact":
        return (), ()
    return aligned.starts, aligned.ends


def _is_wanted(logprob: float | None, low_token: float, options: Options) -> bool:
    if options.token_spans == "low":
        return logprob is not None and math.exp(logprob) < low_token
    return options.token_spans == "all"
