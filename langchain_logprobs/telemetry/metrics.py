"""A report to instruments. Recorded once a call, whether or not any span is sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, MeterProvider, get_meter_provider
from opentelemetry.sdk.trace import ReadableSpan

from langchain_logprobs.core.confidence import FLOOR
from langchain_logprobs.core.model import ModelCall, tokens_of
from langchain_logprobs.core.report import CallReport, TreeReport
from langchain_logprobs.core.schemas import pattern_of
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.identity import OfEach

_HIGH = 0.9
"""From this probability on a token is in the band `high`."""


class Metrics:
    """The package's instruments on one meter provider.

    Args:
        provider: Where they are made; the global one if not given.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = (provider or get_meter_provider()).get_meter(names.SCOPE)
        self._histograms: dict[names.Instrument, Histogram] = {
            of: meter.create_histogram(
                of.name, of.unit, of.description, explicit_bucket_boundaries_advisory=of.buckets
            )
            for of in names.INSTRUMENTS
            if of.kind == "histogram"
        }
        self._counters: dict[names.Instrument, Counter] = {
            of: meter.create_counter(of.name, of.unit, of.description)
            for of in names.INSTRUMENTS
            if of.kind == "counter"
        }
        self._told: set[str] = set()

    def is_first(self, kind: str) -> bool:
        """Whether this is the first time that somebody asks: what fails once fails often."""
        first = kind not in self._told
        self._told.add(kind)
        return first

    def record_call(
        self,
        report: CallReport,
        context: Context,
        *,
        metric_attributes: Sequence[str] = (),
        metric_fields: Sequence[str] = (),
    ) -> None:
        """Records a call, inside `context`, so that exemplars point at its LLM span."""
        dimensions = {**call_dimensions(report.call), **_chosen(report.call, metric_attributes)}
        of = report.confidence
        measured = {
            names.UNCERTAINTY: of.uncertainty,
            names.SURPRISAL: None if of.mean_logprob is None else -of.mean_logprob,
            names.SURPRISAL_MAX: None if of.min_logprob is None else -max(of.min_logprob, FLOOR),
            names.ENTROPY: of.mean_entropy,
            names.LENGTH: of.count or None,
        }
        for instrument, value in measured.items():
            if value is not None:
                self._histograms[instrument].record(abs(value), dimensions, context)
        self._add(names.RESPONSES, 1, {**dimensions, **_verdict(report)}, context)
        for band, count in _bands(report):
            self._add(names.TOKENS, count, {**dimensions, names.METRIC_BAND: band}, context)
        fields = self._histograms[names.FIELD_UNCERTAINTY]
        for path, uncertainty in _allowed(report, metric_fields):
            fields.record(uncertainty, {**dimensions, names.METRIC_FIELD: path}, context)

    def record_tree(self, report: TreeReport, context: Context) -> None:
        """Records a root run by its least certain call."""
        if report.weakest is not None:
            uncertainty = report.weakest.confidence.uncertainty
            if uncertainty is not None:
                dimensions = {names.OPERATION: names.WORKFLOW_OPERATION}
                self._histograms[names.CHAIN_UNCERTAINTY].record(uncertainty, dimensions, context)

    def count_token_spans(self, result: str, count: int) -> None:
        """Counts token spans by what became of them."""
        if count:
            self._add(names.TOKEN_SPANS, count, {names.METRIC_RESULT: result})

    def count_error(self, where: str) -> None:
        """Counts an error that the application was spared."""
        self._add(names.ERRORS, 1, {names.METRIC_WHERE: where})

    def _add(
        self,
        instrument: names.Instrument,
        count: int,
        attributes: Mapping[str, Any],
        context: Context | None = None,
    ) -> None:
        self._counters[instrument].add(count, attributes, context)


def count_unsent(spans: Iterable[ReadableSpan]) -> None:
    """Counts the token spans among those that could not be sent, with the global provider."""
    count = sum(names.TOKEN_INDEX in (span.attributes or ()) for span in spans)
    metrics_of(None).count_token_spans("unsent", count)


def _metrics(provider: Any) -> Metrics:
    return Metrics(provider)


_METRICS = OfEach[Metrics](_metrics)


def metrics_of(provider: MeterProvider | None) -> Metrics:
    """The provider's instruments, made once however many handlers there are."""
    return _METRICS[get_meter_provider() if provider is None else provider]


def call_dimensions(call: ModelCall) -> dict[str, str]:
    """The four dimensions that other generative-AI metrics have too, so that dashboards join."""
    known = {
        names.OPERATION: call.operation,
        names.PROVIDER: provider_name(call.provider),
        names.REQUEST_MODEL: call.model,
        names.RESPONSE_MODEL: call.response_model,
    }
    return {name: sendable(value) for name, value in known.items() if value is not None}


def sendable(text: str) -> str:
    """The text; half a character in it, with which OTLP sends nothing at all, is `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def provider_name(provider: str | None) -> str | None:
    """The conventions' name of a provider that LangChain names."""
    return None if provider is None else names.PROVIDERS.get(provider, provider)


def _allowed(report: CallReport, patterns: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The uncertainty of the values that may be metrics, by the pattern that allows them."""
    for field in report.every_field if patterns else ():
        uncertainty = field.confidence.uncertainty
        pattern = field.path if field.path in patterns else pattern_of(field.path)
        if uncertainty is not None and pattern in patterns:
            yield pattern, uncertainty


def _chosen(call: ModelCall, keys: Sequence[str]) -> dict[str, Any]:
    return {
        key: sendable(value) if isinstance(value, str) else value
        for key in keys
        if isinstance(value := call.metadata.get(key), (str, bool, int, float))
    }


def _verdict(report: CallReport) -> dict[str, str]:
    if report.unavailable is not None:
        return {
            names.METRIC_CONFIDENCE: "unavailable",
            names.METRIC_REASON: report.unavailable,
        }
    return {names.METRIC_CONFIDENCE: "low" if report.low else "ok"}


def _bands(report: CallReport) -> Iterator[tuple[str, int]]:
    """How many tokens are in each band of probability; bands without any are left out."""
    tokens = map(tokens_of, report.call.completions)
    probabilities = list(chain.from_iterable(map(report.measured.probabilities, tokens)))
    known = [of for of in probabilities if of is not None]
    low_token = float(report.low_token)
    from_high = max(_HIGH, low_token)
    low = len([of for of in known if of < low_token])
    high = len([of for of in known if of >= from_high])
    counts = {
        "high": high,
        "medium": len(known) - low - high,
        "low": low,
        "missing": len(probabilities) - len(known),
    }
    return ((band, count) for band, count in counts.items() if count)
