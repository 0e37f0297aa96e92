"""What several tests need: OpenTelemetry with its real SDK, in memory."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.local import LocalModel, local_model
from langchain_logprobs.patches import openai_responses
from langchain_logprobs.testing import FixedIds

pytest.register_assert_rewrite("cells")  # what it compares is shown when it differs

# A deadline measures how busy the machine is, and so does the time that drawing examples takes.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Whether a change is right must not depend on the dice; `make seek` throws them.
settings.register_profile("repeat", unhurried, derandomize=True)
settings.register_profile("seek", unhurried, derandomize=False, max_examples=1000, print_blob=True)
settings.load_profile("repeat")

PATIENCE = 120.0
"""Seconds in which what is waited for comes, however busy the machine is."""


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """What a shell starts in the background ignores it, and so would what is started from there."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_test_leaves_a_patch_to_the_next() -> Iterator[None]:
    """`with_logprobs(ChatOpenAI(...))` turns it on for the process; what is lost depends on it."""
    openai_responses.revert()
    yield
    openai_responses.revert()


@dataclass
class Observed:
    """A tracer and a meter provider, and everything that went through them."""

    sampler: Sampler | None = None
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.tracer_provider = TracerProvider(sampler=self.sampler, id_generator=FixedIds())
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])
        self.tracer = self.tracer_provider.get_tracer("application")

    def handler(self, **arguments: Any) -> LogprobsCallbackHandler:
        """A handler that writes here, and hides no error."""
        return LogprobsCallbackHandler(
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            **{"raise_errors": True, **arguments},
        )

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The finished spans whose name begins so, in the order of their start."""
        finished = self.exporter.get_finished_spans()
        return sorted((of for of in finished if of.name.startswith(name)), key=_start)

    def tree(self) -> list[Any]:
        """The spans as nested lists: a name, and what is under it."""
        return _nested(self.spans(), None)

    def metrics(self) -> dict[str, dict[frozenset[tuple[str, Any]], float]]:
        """Every metric: its value (a histogram's count) by attributes."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: {
                frozenset((of.attributes or {}).items()): getattr(of, "count", None)
                or getattr(of, "value", 0)
                for of in metric.data.data_points
            }
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def sums(self) -> dict[str, float]:
        """Every histogram: the sum of what it was told, over all attributes."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: sum(of.sum for of in metric.data.data_points if hasattr(of, "sum"))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.data.data_points and hasattr(metric.data.data_points[0], "bucket_counts")
        }

    def total(self, metric: str, **attributes: str) -> float:
        """The value of a metric, summed over everything but these attributes."""
        wanted = set(attributes.items())
        return sum(of for key, of in self.metrics().get(metric, {}).items() if wanted <= key)

    def close(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


@pytest.fixture
def observed() -> Iterator[Observed]:
    """Every trace sampled."""
    of = Observed()
    yield of
    of.close()


@pytest.fixture
def unsampled() -> Iterator[Observed]:
    """No trace sampled."""
    of = Observed(sampler=ParentBased(TraceIdRatioBased(0)))
    yield of
    of.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell has set must not change what a test sees."""
    import os  # noqa: PLC0415

    for name in os.environ:
        if name.startswith(("LANGCHAIN_LOGPROBS_", "OTEL_", "OPENINFERENCE_", "TRACELOOP_")):
            monkeypatch.delenv(name)


async def until(holds: Callable[[], object]) -> None:
    """Waits until something holds; fails if it does not in time."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "It did not come about in time."
        await asyncio.sleep(0.01)


def wait_until(holds: Callable[[], object]) -> None:
    """The same, in code that is not asynchronous."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "It did not come about in time."
        time.sleep(0.01)


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def _start(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    return span.start_time or 0, context.span_id if context else 0


def _nested(spans: list[ReadableSpan], parent: int | None) -> list[Any]:
    return [
        [span.name, *_nested(spans, span.context.span_id)]
        for span in spans
        if (span.parent.span_id if span.parent else None) == parent
    ]


@pytest.fixture(scope="session")
def local() -> Iterator[LocalModel]:
    """The real local model, started once for the whole session."""
    pytest.importorskip("xllamacpp", reason='needs the extra "local"', exc_type=ImportError)
    with local_model() as model:
        yield model
