"""The other instrumentations: how each is set up, and which of its spans is the LLM span."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Seen:
    """Every span of the process: some never end, and some are never started.

    Nothing is registered for their start: then our token spans could not be made directly.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._started: list[ReadableSpan] = []
        self.processor = SimpleSpanProcessor(self._exporter)

    def watch(self) -> None:
        """Sees every span that any tracer starts from now on."""
        start_span = Tracer.start_span

        def start_and_keep(*given: Any, **named: Any) -> trace.Span:
            span = start_span(*given, **named)
            if isinstance(span, ReadableSpan):
                self._started.append(span)
            return span

        Tracer.start_span = start_and_keep  # type: ignore[method-assign]

    def take(self) -> list[tuple[ReadableSpan, bool]]:
        """The spans since the last call, and whether each was made without being started."""
        started, self._started = self._started, []
        ended = self._exporter.get_finished_spans()
        self._exporter.clear()
        known = {of.context.span_id for of in started}
        made = [of for of in ended if of.context.span_id not in known]
        return [*((of, False) for of in started), *((of, True) for of in made)]


class Arrived(NamedTuple):
    """What a neighbour's own back end has of our spans.

    Attributes:
        calls: Spans of its own for a call of a model.
        tokens: Token spans under one.
        summaries: Spans named `logprobs` under one.
        astray: Whatever else there is of ours.
    """

    calls: int
    tokens: int
    summaries: int
    astray: int


@dataclass
class Neighbour:
    """Another instrumentation at work.

    Attributes:
        callbacks: The handlers it wants to be passed.
        provider: The tracer provider to hand to our handler; `None` for the global one.
        arrived: What its own back end has, where that is another way.
    """

    callbacks: Callable[[], list[Any]] = list
    provider: TracerProvider | None = None
    arrived: Callable[[], Arrived | None] = lambda: None


@contextlib.contextmanager
def beside(name: str, seen: Seen, base_url: str) -> Iterator[Neighbour]:
    """The instrumentation of this name, set up as its documentation says."""
    with tempfile.TemporaryDirectory() as folder:
        yield _SETUPS[name](seen, base_url, folder)


def _provider(seen: Seen) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(seen.processor)
    trace.set_tracer_provider(provider)
    return provider


def _counted(calls: int, ours: Iterable[tuple[str, bool]]) -> Arrived:
    """What there is; of ours, pairs of a span's name and whether it is under a call."""
    counts = Counter(name if is_under_call else "" for name, is_under_call in ours)
    return Arrived(calls, counts["token"], counts["logprobs"], counts[""])


def _genai(seen: Seen, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=_provider(seen))
    return Neighbour()


def _openinference(seen: Seen, *_: str) -> Neighbour:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=_provider(seen))
    return Neighbour()


def _openllmetry(seen: Seen, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument(tracer_provider=_provider(seen))
    return Neighbour()


def _langfuse(seen: Seen, base_url: str, _: str) -> Neighbour:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from langfuse.span_filter import is_default_export_span

    backend = InMemorySpanExporter()
    client = Langfuse(
        public_key="pk-lf-none",
        secret_key="sk-lf-none",
        base_url=base_url.removesuffix("/v1"),
        tracer_provider=_provider(seen),
        span_exporter=backend,
        # Langfuse exports no spans of scopes that it does not know, unless it is told so.
        should_export_span=lambda span: (
            is_default_export_span(span) or span.instrumentation_scope.name == "langchain_logprobs"
        ),
    )

    def arrived() -> Arrived:
        client.flush()
        spans = backend.get_finished_spans()
        calls = {
            of.context.span_id
            for of in spans
            if (of.attributes or {}).get("langfuse.observation.type") == "generation"
        }
        ours = [of for of in spans if of.instrumentation_scope.name == "langchain_logprobs"]
        return _counted(len(calls), ((of.name, of.parent.span_id in calls) for of in ours))

    return Neighbour(lambda: [CallbackHandler()], arrived=arrived)


def _openlit(seen: Seen, *_: str) -> Neighbour:
    import openlit

    _provider(seen)
    openlit.init(disable_metrics=True, disable_events=True)
    return Neighbour()


def _mlflow(seen: Seen, _: str, folder: str) -> Neighbour:
    os.environ["MLFLOW_USE_DEFAULT_TRACER_PROVIDER"] = "false"
    mlflow = _mlflow_at(folder)
    _provider(seen)
    mlflow.langchain.autolog()
    return Neighbour(arrived=partial(_in_mlflow, mlflow))


def _mlflow_alone(seen: Seen, _: str, folder: str) -> Neighbour:
    mlflow = _mlflow_at(folder)
    provider = mlflow.tracing.get_bridged_tracer_provider()
    provider.add_span_processor(seen.processor)
    mlflow.langchain.autolog()
    return Neighbour(provider=provider, arrived=partial(_in_mlflow, mlflow))


def _mlflow_at(folder: str) -> Any:
    # SQLite takes one writer; MLflow gives up what it finds locked, its own spans as well.
    os.environ["MLFLOW_ASYNC_TRACE_LOGGING_MAX_WORKERS"] = "1"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("beside")
    return mlflow


def _in_mlflow(mlflow: Any) -> Arrived:
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(return_type="list", max_results=500)
    spans = {span.span_id: span for of in traces for span in of.data.spans}
    calls = {of.span_id for of in spans.values() if of.span_type == "CHAT_MODEL"}
    ours = [of for of in spans.values() if of.name in {"token", "logprobs"}]
    return _counted(len(calls), ((of.name, of.parent_id in calls) for of in ours))


def _logfire(seen: Seen, *_: str) -> Neighbour:
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[seen.processor],
    )
    logfire.instrument_openai()
    return Neighbour()


def _httpx(seen: Seen, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument(tracer_provider=_provider(seen))
    return Neighbour()


def _httpx2(seen: Seen, *_: str) -> Neighbour:
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

    HTTPX2ClientInstrumentor().instrument(tracer_provider=_provider(seen))
    return Neighbour()


def _openinference_and_httpx2(seen: Seen, *given: str) -> Neighbour:
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

    HTTPX2ClientInstrumentor().instrument()  # by the global provider, which comes only now
    return _openinference(seen, *given)


_SETUPS: dict[str, Callable[[Seen, str, str], Neighbour]] = {
    "genai": _genai,
    "openinference": _openinference,
    "openllmetry": _openllmetry,
    "langfuse": _langfuse,
    "openlit": _openlit,
    "mlflow": _mlflow,
    "mlflow-alone": _mlflow_alone,
    "logfire": _logfire,
    "httpx": _httpx,
    "httpx2": _httpx2,
    "openinference-httpx2": _openinference_and_httpx2,
}
