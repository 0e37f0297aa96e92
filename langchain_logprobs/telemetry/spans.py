"""A report to span attributes: pure functions, so that what is sent can be tested without a span.

What is undefined is absent: no attribute stands for a missing number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from itertools import chain, compress, count, islice, repeat
from typing import Literal, NamedTuple, TypeVar

from langchain_logprobs.core.confidence import Confidence, TokenMeasures
from langchain_logprobs.core.model import Completion, ModelCall, tokens_of
from langchain_logprobs.core.processors import likelihood
from langchain_logprobs.core.report import CallReport, TreeReport
from langchain_logprobs.core.schemas import pattern_of
from langchain_logprobs.core.text import align, pieces
from langchain_logprobs.core.tokens import TokenLogprob, logprobs_of
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import provider_name, sendable

Value = str | bool | int | float | Sequence[str] | Sequence[float | None]
Attributes = dict[str, Value]
T = TypeVar("T")

MAX_ARRAY = 16_384
"""Tokens in an array attribute: a longer one could fill an OTLP message (4 MiB over gRPC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What of a report becomes spans. The settings of the same names say what each is."""

    token_spans: Literal["all", "low", "none"] = "all"
    max_token_spans: int | None = 1000
    token_arrays: bool = True
    capture_content: bool = False
    metric_attributes: tuple[str, ...] = ()
    metric_fields: tuple[str, ...] = ()
    max_pending_spans: int = 100_000
    openinference: bool = False


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
    completions = list(map(tokens_of, report.call.completions))
    count = sum(map(len, completions))
    wanted = 0 if options.token_spans == "none" else count
    if options.token_spans == "low":
        logprobs = chain.from_iterable(map(logprobs_of, completions))
        wanted = sum(_is_wanted(of, report.low_token, options) for of in logprobs)
    if options.max_token_spans is not None:
        wanted = min(wanted, options.max_token_spans)
    return wanted, count - wanted


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
    wanted = [_is_wanted(token.logprob, report.low_token, options) for token in tokens]
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


def openinference_attributes(
    kind: Literal["LLM", "CHAIN"], text: str | None, options: Options
) -> Attributes:
    """What Phoenix shows of a span: its kind, and its text where content may be sent."""
    if not options.openinference:
        return {}
    known: Attributes = {names.OPENINFERENCE_KIND: kind}
    if options.capture_content and text:
        known[names.OPENINFERENCE_OUTPUT] = sendable(text)
        known[names.OPENINFERENCE_OUTPUT_TYPE] = "text/plain"
    return known


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


def call_attributes(report: CallReport, omitted: int, options: Options) -> Attributes:
    """What the package has to say of a call, on whoever's LLM span."""
    call, tokens = report.call, report.headline
    arrays = options.token_arrays and 0 < len(tokens) <= MAX_ARRAY
    return _present(
        {
            **_confidence_attributes(report.confidence),
            names.RESPONSE_LOW: None if report.confidence.confidence is None else report.low,
            names.TOKENS_TRUNCATED: call.truncated or None,
            names.TOKENS_LOGPROBS: list(logprobs_of(tokens)) if arrays else None,
            names.TOKENS_TEXTS: (
                pieces(tokens, call.completions[0].text)
                if arrays and options.capture_content
                else None
            ),
            names.TOKEN_SPANS_OMITTED: omitted or None,
            **_field_attributes(report, options),
            names.SOURCE: call.source,
            names.TIMED: None if call.source is None else call.source == "stream",
            names.OUTCOME: call.outcome,
            names.UNAVAILABLE: report.unavailable,
            names.RUN_ID: str(call.run_id),
        }
    )


def model_attributes(call: ModelCall) -> Attributes:
    """What the semantic conventions have an LLM span say of a call."""
    reasons = [of.finish_reason for of in call.completions if of.finish_reason is not None]
    parameters: dict[str, object] = {
        name: call.parameters[key]
        for key, name in names.REQUEST_PARAMETERS.items()
        if _is_number(call.parameters.get(key))
    }
    if parameters.get(names.REQUEST_PARAMETERS["n"]) == 1:
        del parameters[names.REQUEST_PARAMETERS["n"]]
    return _present(
        {
            names.OPERATION: call.operation,
            names.PROVIDER: provider_name(call.provider),
            names.REQUEST_MODEL: call.model,
            names.RESPONSE_MODEL: call.response_model,
            names.RESPONSE_ID: call.response_id,
            names.FINISH_REASONS: reasons or None,
            names.INPUT_TOKENS: call.input_tokens,
            names.OUTPUT_TOKENS: call.output_tokens,
            names.ERROR_TYPE: call.error if call.outcome == "error" else None,
            **parameters,
        }
    )


def tree_attributes(report: TreeReport) -> Attributes:
    """What the root span of a chain carries."""
    weakest = report.weakest
    return _present(
        {
            **_confidence_attributes(report.confidence),
            names.TREE_CALLS: len(report.calls) + report.omitted,
            names.TREE_OMITTED: report.omitted or None,
            names.TREE_WEAKEST_RUN_ID: None if weakest is None else str(weakest.call.run_id),
            names.TREE_WEAKEST_CONFIDENCE: weakest and weakest.confidence.confidence,
            names.OUTCOME: report.tree.outcome,
            names.ERROR_TYPE: report.tree.error if report.tree.outcome == "error" else None,
        }
    )


def _confidence_attributes(of: Confidence) -> dict[str, object]:
    counted = of.count or None
    return {
        names.RESPONSE_CONFIDENCE: of.confidence,
        names.RESPONSE_PERPLEXITY: of.perplexity,
        names.LOGPROB_MEAN: of.mean_logprob,
        names.LOGPROB_SUM: of.sum_logprob,
        names.LOGPROB_MIN: of.min_logprob,
        names.ENTROPY_MEAN: of.mean_entropy,
        names.ENTROPY_MAX: of.max_entropy,
        names.MARGIN_MEAN: of.mean_margin,
        names.LOG_ODDS_MIN: of.min_log_odds,
        names.SURPRISAL_TAIL: of.surprisal_tail,
        names.WINDOW_LOWEST: of.lowest_window,
        names.TOKENS_COUNT: counted,
        names.TOKENS_LOW: counted and of.low,
        names.TOKENS_LOW_RATIO: of.low_ratio,
        names.TOKENS_LOW_LONGEST_RUN: counted and of.low_longest_run,
        names.TOKENS_MISSING: of.missing or None,
        names.TOKENS_CENSORED: of.censored or None,
        names.TOKENS_WITH_CANDIDATES: counted and of.with_candidates,
    }


def _field_attributes(report: CallReport, options: Options) -> dict[str, object]:
    lowest = report.lowest_field
    return {
        names.FIELDS_COUNT: sum(of.leaf for of in report.every_field) or None,
        names.FIELD_LOWEST_PATH: lowest and _told(lowest.path, report, options),
        names.FIELD_LOWEST_CONFIDENCE: lowest and lowest.confidence.confidence,
    }


def _told(path: str, report: CallReport, options: Options) -> str | None:
    """The path, if it holds no key of the model's own making, or content may be sent."""
    is_known = options.capture_content or any(
        of in report.known_paths or of in options.metric_fields for of in (path, pattern_of(path))
    )
    return path if is_known else None


def _field_paths(report: CallReport, options: Options) -> dict[int, str]:
    """The path to tell for each token of the content that wrote a JSON value, by its index."""
    return {
        at: path
        for field in reversed(report.every_field)  # of two in one token, the first
        if field.leaf and (path := _told(field.path, report, options)) is not None
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


def _is_wanted(logprob: float | None, low_token: float, options: Options) -> bool:
    if options.token_spans == "low":
        return logprob is not None and math.exp(logprob) < low_token
    return options.token_spans == "all"


def _present(attributes: Mapping[str, object]) -> Attributes:
    return {
        name: sendable(value) if isinstance(value, str) else value  # type: ignore[misc]
        for name, value in attributes.items()
        if value is not None
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
