"""The other instrumentations: how each is set up, and which of its spans is the LLM span."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Started(SpanProcessor):
    """Keeps every span that starts: some never end."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Keeps a span."""
        del parent_context
        self.spans.append(span)


@dataclass
class Neighbour:
    """Another instrumentation at work.

    Attributes:
        started: The provider's spans.
        callbacks: The handlers it wants to be passed.
        delivered: How many token spans reached its own backend, where that is another way.
    """

    started: Started
    callbacks: Callable[[], list[Any]] = list
    delivered: Callable[[], int | None] = lambda: None

    def spans(self) -> list[ReadableSpan]:
        """The spans started since the last call."""
        started, self.started.spans = self.started.spans, []
        return started


@contextlib.contextmanager
def beside(name: str, base_url: str) -> Iterator[Neighbour]:
    """The instrumentation of this name, set up as its documentation says."""
    started = Started()
    with tempfile.TemporaryDirectory() as folder:
        yield _SETUPS[name](started, base_url, folder)


def _provider(started: Started) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(started)
    trace.set_tracer_provider(provider)
    return provider


def _none(started: Started, *_: str) -> Neighbour:
    _provider(started)
    return Neighbour(started)


def _genai(started: Started, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=_provider(started))
    return Neighbour(started)


def _openinference(started: Started, *_: str) -> Neighbour:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=_provider(started))
    return Neighbour(started)


def _openllmetry(started: Started, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument(tracer_provider=_provider(started))
    return Neighbour(started)


def _langfuse(started: Started, base_url: str, _: str) -> Neighbour:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from langfuse.span_filter import is_default_export_span

    backend = InMemorySpanExporter()
    client = Langfuse(
        public_key="pk-lf-none",
        secret_key="sk-lf-none",
        base_url=base_url.removesuffix("/v1"),
        tracer_provider=_provider(started),
        span_exporter=backend,
        # Langfuse exports no spans of scopes that it does not know, unless it is told so.
        should_export_span=lambda span: (
            is_default_export_span(span) or span.instrumentation_scope.name == "langchain_logprobs"
        ),
    )

    def delivered() -> int:
        client.flush()
        return sum(of.name == "token" for of in backend.get_finished_spans())

    return Neighbour(started, lambda: [CallbackHandler()], delivered)


def _openlit(started: Started, *_: str) -> Neighbour:
    import openlit

    _provider(started)
    openlit.init(disable_metrics=True, disable_events=True)
    return Neighbour(started)


def _mlflow(started: Started, _: str, folder: str) -> Neighbour:
    os.environ["MLFLOW_USE_DEFAULT_TRACER_PROVIDER"] = "false"
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("beside")
    _provider(started)
    mlflow.langchain.autolog()

    def delivered() -> int:
        traces = mlflow.search_traces(return_type="list", max_results=500)
        return sum(span.name == "token" for of in traces for span in of.data.spans)

    return Neighbour(started, delivered=delivered)


def _logfire(started: Started, *_: str) -> Neighbour:
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[started],
    )
    logfire.instrument_openai()
    return Neighbour(started)


def _httpx(started: Started, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument(tracer_provider=_provider(started))
    return Neighbour(started)


_SETUPS: dict[str, Callable[[Started, str, str], Neighbour]] = {
    "none": _none,
    "genai": _genai,
    "openinference": _openinference,
    "openllmetry": _openllmetry,
    "langfuse": _langfuse,
    "openlit": _openlit,
    "mlflow": _mlflow,
    "logfire": _logfire,
    "httpx": _httpx,
}
