"""PromQL over the package's metrics: their names as Prometheus has them, and the forms of query.

Prometheus's naming of OpenTelemetry metrics, as the exporters write it: dots become underscores, a
counter ends in `_total`, units in braces are left out, and so is the unit 1 of a histogram (only a
gauge would become `_ratio`).
"""

from __future__ import annotations

from dataclasses import dataclass

from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.names import Instrument

JOB = "job"
"""The application: Prometheus makes this label of `service.name`, or of the scrape job's name."""
LAST_WEEK = "offset 1w"


def series(instrument: Instrument) -> str:
    """The name Prometheus has for a metric; a histogram's series add their own endings."""
    name = label(instrument.name)
    return f"{name}_total" if instrument.kind == "counter" else name


def label(attribute: str) -> str:
    """The name Prometheus has for an attribute."""
    return attribute.replace(".", "_")


MODEL = label(names.REQUEST_MODEL)
MEASURED = f'{names.METRIC_CONFIDENCE}!="unavailable"'
LOW = f'{names.METRIC_CONFIDENCE}="low"'
REQUESTED = f'{names.METRIC_REASON}!="not_requested"'
WITHOUT_MODEL = (names.TOKEN_SPANS, names.ERRORS, names.CHAIN_UNCERTAINTY)
"""What is not counted by model."""


def selector(instrument: Instrument, *where: str) -> str:
    """The braces of a query: the dashboard's variables, and these matchers."""
    variables = [f'{JOB}=~"$job"']
    if instrument not in WITHOUT_MODEL:
        variables.append(f'{MODEL}=~"$model"')
    return "{" + ", ".join([*variables, *where]) + "}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """What a query sums by, over which window, and from when.

    Attributes:
        by: The labels to keep.
        window: The range of the rates.
        when: An offset.
    """

    by: str = ""
    window: str = "$window"
    when: str = ""

    def rate(self, instrument: Instrument, *where: str, end: str = "") -> str:
        """How much a second, of the series that the matchers let through."""
        chosen = f"{series(instrument)}{end}{selector(instrument, *where)}"
        at = f" {self.when}" if self.when else ""
        by = f" by ({self.by})" if self.by else ""
        return f"sum{by} (rate({chosen}[{self.window}]{at}))"

    def quantile(self, of: float, histogram: Instrument) -> str:
        """A quantile of what a histogram saw."""
        by = f"le, {self.by}" if self.by else "le"
        buckets = Over(by=by, window=self.window, when=self.when).rate(histogram, end="_bucket")
        return f"histogram_quantile({of:g}, {buckets})"

    def mean(self, histogram: Instrument) -> str:
        """The mean of what a histogram saw."""
        return f"{self.rate(histogram, end='_sum')} / {self.rate(histogram, end='_count')}"

    def share(self, counter: Instrument, part: str, *whole: str) -> str:
        """The share of a part of what is counted; 0, and not nothing, where there is none of it."""
        counted = self.rate(counter, *whole)
        return f"({self.rate(counter, *whole, part)} or 0 * {counted}) / {counted}"
