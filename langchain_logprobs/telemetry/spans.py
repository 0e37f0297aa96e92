"""A report to span attributes: pure functions, so that what is sent can be tested without a span.

What is undefined is absent: no attribute stands for a missing number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_logprobs.core.confidence import Confidence
from langchain_logprobs.core.model import ModelCall
from langchain_logprobs.core.report import CallReport, TreeReport
from langchain_logprobs.core.schemas import pattern_of
from langchain_logprobs.core.text import pieces
from langchain_logprobs.core.tokens import logprobs_of
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import provider_name, sendable

Value = str | bool | int | float | Sequence[str] | Sequence[float | None]
Attributes = dict[str, Value]

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
        names.FIELD_LOWEST_PATH: lowest and told(lowest.path, report, options),
        names.FIELD_LOWEST_CONFIDENCE: lowest and lowest.confidence.confidence,
    }


def told(path: str, report: CallReport, options: Options) -> str | None:
    """The path, if it holds no key of the model's own making, or content may be sent."""
    is_known = options.capture_content or any(
        of in report.known_paths or of in options.metric_fields for of in (path, pattern_of(path))
    )
    return path if is_known else None


def _present(attributes: Mapping[str, object]) -> Attributes:
    return {
        name: sendable(value) if isinstance(value, str) else value  # type: ignore[misc]
        for name, value in attributes.items()
        if value is not None
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
