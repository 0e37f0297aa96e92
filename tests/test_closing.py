"""Back ends that close a trace with its root span get every token span all the same."""

from __future__ import annotations

from collections.abc import Sequence
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PATIENCE, Observed
from langchain_core.output_parsers import StrOutputParser
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from theirs import Theirs

from langchain_logprobs.telemetry.closing import closers
from langchain_logprobs.telemetry.linking import watch
from langchain_logprobs.telemetry.pace import SLICE, pace_of
from langchain_logprobs.telemetry.sink import OpenTelemetrySink
from langchain_logprobs.telemetry.spans import Options
from langchain_logprobs.telemetry.worker import SHARED, Worker
from langchain_logprobs.testing import ScriptedChatModel, answer

MODEL = ScriptedChatModel(answers=[answer("a", "b", "c")])


class BaseMlflowSpanProcessor(SpanProcessor):
    """MLflow's law: what starts in a trace that was written is lost.

    It is written when its root has ended and no other span of it is open. Seen in MLflow 3.17,
    which `make neighbours` has for real.
    """

    __module__ = "mlflow.tracing.processor.base_mlflow"

    def __init__(self) -> None:
        self.open: dict[int, dict[int, Span]] = {}
        self.ended_roots: set[int] = set()
        self.stored: dict[int, Span] = {}
        self.span_exporter = self

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        del parent_context
        if span.parent is None:
            self.open[span.context.trace_id] = {}
        if span.context.trace_id in self.open:
            self.open[span.context.trace_id][span.context.span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        if span.parent is None:
            self.ended_roots.add(span.context.trace_id)
        self.export([span])

    def export(self, spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            live = self.open.get(span.context.trace_id, {}).get(span.context.span_id)
            if live is not None:
                self.stored[span.context.span_id] = live
        for trace_id in self.ended_roots & self.open.keys():
            if all(of.end_time is not None for of in self.open[trace_id].values()):
                del self.open[trace_id]

    def names(self) -> list[str]:
        """The names of what is kept."""
        assert all(of.end_time is not None for of in self.stored.values())
        return sorted(of.name for of in self.stored.values())


class Rival(SpanProcessor):
    """Ends a span of another trace just when `logprobs` has ended, and is not on its way yet."""

    def __init__(self, store: BaseMlflowSpanProcessor) -> None:
        self._store = store

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == "logprobs":
            self._store.export([])


@pytest.fixture
def store(observed: Observed) -> BaseMlflowSpanProcessor:
    processor = BaseMlflowSpanProcessor()
    observed.tracer_provider.add_span_processor(Rival(processor))
    observed.tracer_provider.add_span_processor(processor)
    watch(observed.tracer_provider)  # as instrument() does, before the first call
    return processor


def theirs(observed: Observed) -> Theirs:
    return Theirs(observed, "mlflow", **{"mlflow.spanType": "CHAT_MODEL"})


def test_a_span_that_starts_too_late_is_lost_there(
    observed: Observed, store: BaseMlflowSpanProcessor
) -> None:
    root = observed.tracer.start_span("root")
    context = trace.set_span_in_context(root, Context())
    observed.tracer.start_span("in time", context).end()
    root.end()

    observed.tracer.start_span("late", context).end()

    assert store.names() == ["in time", "root"]


@pytest.mark.parametrize("lone", [True, False])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_every_token_is_there_whoever_hears_first(
    observed: Observed, store: BaseMlflowSpanProcessor, first: str, *, lone: bool
) -> None:
    handlers: list[Any] = [theirs(observed), observed.handler()]
    runnable: Any = MODEL if lone else MODEL | StrOutputParser()

    runnable.invoke("", {"callbacks": handlers if first == "theirs" else handlers[::-1]})

    assert handlers[1].flush()
    chains = [] if lone else ["their chain", "their chain"]  # the parser's, too
    assert store.names() == ["logprobs", *chains, "their llm", "token", "token", "token"]
    assert not store.open  # nothing is kept open for ever
    (summary,) = observed.spans("logprobs")
    (llm,) = observed.spans("their llm")
    assert {of.parent.span_id for of in [summary, *observed.spans("token")]} == {
        llm.context.span_id
    }
    assert (summary.attributes or {})["langchain_logprobs.tokens.count"] == 3


@pytest.mark.parametrize("lone", [True, False])
def test_every_token_is_there_under_a_span_of_our_own(
    observed: Observed, store: BaseMlflowSpanProcessor, *, lone: bool
) -> None:
    handler = observed.handler()
    runnable: Any = MODEL if lone else MODEL | StrOutputParser()

    runnable.invoke("", {"callbacks": [handler]})

    assert handler.flush()
    root = [] if lone else ["invoke_workflow RunnableSequence"]
    assert store.names() == ["chat scripted-1", *root, "logprobs", "token", "token", "token"]
    assert not store.open


def test_where_no_token_follows_nothing_is_kept_open(
    observed: Observed, store: BaseMlflowSpanProcessor
) -> None:
    handler = observed.handler(token_spans="none")

    MODEL.invoke("", {"callbacks": [handler, theirs(observed)]})

    assert store.names() == ["their llm"]
    assert not store.open


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_tokens_that_are_lost_keep_no_trace_open(
    observed: Observed, store: BaseMlflowSpanProcessor, first: str
) -> None:
    handlers: list[Any] = [theirs(observed), observed.handler(max_pending_spans=1)]

    MODEL.invoke("", {"callbacks": handlers if first == "theirs" else handlers[::-1]})

    assert store.names() == ["logprobs", "their llm"]
    assert not store.open
    assert observed.total("langchain_logprobs.token_spans", result="lost") == 3


def test_tokens_given_up_at_exit_keep_no_trace_open(
    observed: Observed, store: BaseMlflowSpanProcessor
) -> None:
    class Idle(Worker):
        def _start(self) -> None:
            """Has no thread."""

    worker = Idle()
    sink = OpenTelemetrySink(
        tracer_provider=observed.tracer_provider,
        meter_provider=observed.meter_provider,
        options=Options(),
        worker=worker,
    )
    handler = observed.handler(sinks=[sink])

    MODEL.invoke("", {"callbacks": [handler, theirs(observed)]})
    assert store.open

    assert worker.give_up() == 3
    assert not store.open
    assert store.names() == ["logprobs", "their llm"]


def test_a_back_end_that_cannot_be_flushed_keeps_no_trace_open(
    observed: Observed, store: BaseMlflowSpanProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> bool:
        raise OSError("gone")

    monkeypatch.setattr(store, "force_flush", gone)

    MODEL.invoke("", {"callbacks": [observed.handler(), theirs(observed)]})

    assert SHARED.flush(PATIENCE)
    assert not store.open
    assert store.names() == ["logprobs", "their llm", "token", "token", "token"]


def test_what_is_lost_is_counted_though_the_back_end_cannot_be_flushed(
    observed: Observed, store: BaseMlflowSpanProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> bool:
        raise OSError("gone")

    monkeypatch.setattr(store, "force_flush", gone)
    handler = observed.handler(max_pending_spans=1, raise_errors=False)

    MODEL.invoke("", {"callbacks": [handler, theirs(observed)]})

    assert not store.open
    assert observed.total("langchain_logprobs.token_spans", result="lost") == 3
    assert observed.total("langchain_logprobs.errors", where="sink") == 1


def test_a_report_that_is_dropped_keeps_no_trace_open(
    observed: Observed, store: BaseMlflowSpanProcessor
) -> None:
    handler = observed.handler(processors=[lambda _: None])

    MODEL.invoke("", {"callbacks": [theirs(observed), handler]})

    assert handler.flush()
    assert not store.open


def test_other_back_ends_get_no_summary_of_what_their_span_says(observed: Observed) -> None:
    handler = observed.handler()

    MODEL.invoke("", {"callbacks": [handler, theirs(observed)]})

    assert handler.flush()
    assert closers(observed.tracer_provider) == []
    assert observed.tree() == [["their llm", ["token"], ["token"], ["token"]]]


def test_half_of_the_queue_of_what_is_to_be_written_is_left_to_others(observed: Observed) -> None:
    tasks: Queue[object] = Queue(maxsize=256)
    exporter = InMemorySpanExporter()
    exporter._async_queue = SimpleNamespace(_queue=tasks)  # type: ignore[attr-defined]
    observed.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    pace = pace_of(observed.tracer_provider)

    for _ in range(128 - SLICE):
        tasks.put_nowait(None)
    has_room = pace.has_room()
    tasks.put_nowait(None)

    assert (has_room, pace.has_room()) == (True, False)


def test_a_queue_inside_a_span_processor_is_seen() -> None:
    inside = BatchSpanProcessor(InMemorySpanExporter())
    processor = SpanProcessor()
    processor._batch_delegate = inside  # type: ignore[attr-defined]
    provider = TracerProvider()
    provider.add_span_processor(processor)

    assert pace_of(provider).queues == [inside._batch_processor._queue]
    inside.shutdown()
