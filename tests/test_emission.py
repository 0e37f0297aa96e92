"""Token spans made from values are, span for span, those that are started and ended."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import pytest
from conftest import PATIENCE, Observed
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import environment_variables
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceState

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry import direct, names
from langchain_logprobs.telemetry.linking import LinkingProcessor
from langchain_logprobs.telemetry.pace import BURST
from langchain_logprobs.telemetry.worker import SHARED
from langchain_logprobs.testing import FixedClock, FixedIds, ScriptedChatModel, answer

REMOTE = trace.SpanContext(
    7,
    8,
    is_remote=True,
    trace_flags=trace.TraceFlags(3),
    trace_state=TraceState([("vendor", "state")]),
)
TOKENS = [
    (" A", -0.5, {" A": -0.5, " B": -1.5}),
    (" b", None),
    (" c", -9999.0, {" d": -0.1}),
    (" é", -0.0, {" é": 0.0}),
    "e",
    (b"\xc3", -0.3),
    (b"\xa9", -0.2),
]


class Stating(Sampler):
    """A sampler that adds an attribute and changes the trace state."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        told = ALWAYS_ON.should_sample(*args, **kwargs)
        return SamplingResult(
            told.decision, {**told.attributes, "sampled.by": "us"}, TraceState([("sampled", "us")])
        )

    def get_description(self) -> str:
        return "Stating"


class NoTokens(Stating):
    """A sampler that does not want token spans."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        name = args[2] if len(args) > 2 else kwargs["name"]
        sampler = ALWAYS_OFF if name == "token" else ALWAYS_ON
        return sampler.should_sample(*args, **kwargs)


class Marking(SpanProcessor):
    """A processor that writes on every span when it starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("marked", "yes")
        span.set_attribute("parent", trace.get_current_span(parent_context).is_recording())


class Batched(SpanProcessor):
    """A processor that only looks at the ends."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


RECORDING = StaticSampler(Decision.RECORD_ONLY)
PROVIDERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "resource": {"resource": Resource({"service.name": "shop"}, "https://schema")},
    "ratio": {"sampler": TraceIdRatioBased(1.0)},
    "parent-based ratio": {"sampler": ParentBased(TraceIdRatioBased(1.0))},
    "sampler of one's own": {"sampler": Stating()},
    "sampler of one's own, parent-based": {
        "sampler": ParentBased(Stating(), local_parent_sampled=Stating())
    },
    "sampler that wants no tokens": {"sampler": NoTokens()},
    "sampler that has tokens recorded but not sampled": {
        "sampler": ParentBased(
            ALWAYS_ON, local_parent_sampled=RECORDING, remote_parent_sampled=ALWAYS_ON
        )
    },
    "few attributes": {"span_limits": SpanLimits(max_span_attributes=5)},
    "short attributes": {"span_limits": SpanLimits(max_span_attribute_length=1)},
}
LIMITED = {
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "5",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "5",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
}
"""Variables that limit what a span may carry."""
DIRECT = {"plain", "resource", "ratio", "parent-based ratio"}
"""Providers whose spans need not be started."""


def spans_of(
    processors: Sequence[SpanProcessor] = (), *, inside: bool = False, **provider: Any
) -> tuple[list[dict[str, Any]], bool]:
    """Everything there is to know of the spans of a call, and whether any was made directly."""
    exporter = InMemorySpanExporter()
    ids = {"id_generator": FixedIds(), **provider}
    tracer_provider = TracerProvider(shutdown_on_exit=False, **ids)
    for processor in processors:
        tracer_provider.add_span_processor(processor)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = LogprobsCallbackHandler(
        tracer_provider=tracer_provider,
        clock=FixedClock(),
        capture_content=True,
        raise_errors=True,
    )
    model = ScriptedChatModel(answers=[answer(*TOKENS)])
    made: list[int] = []
    emit = direct.Direct.emit

    def counted(self: direct.Direct, *args: Any) -> None:
        made.append(1)
        emit(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct.Direct, "emit", counted)
        if inside:
            parent = trace.SpanContext(
                7,
                8,
                is_remote=True,
                trace_flags=trace.TraceFlags(3),
                trace_state=TraceState([("a", "b")]),
            )
            with trace.use_span(trace.NonRecordingSpan(parent)):
                list(model.stream("?", config={"callbacks": [handler]}))
        else:
            list(model.stream("?", config={"callbacks": [handler]}))
        assert SHARED.flush(PATIENCE)  # of processors of one's own, older SDKs say that they cannot
    return [described(span) for span in exporter.get_finished_spans()], bool(made)


def described(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.get_span_context(), span.parent
    attributes = dict(span.attributes or {})
    attributes.pop("langchain_logprobs.run_id", None)
    return {
        "name": span.name,
        "context": context,
        "flags": context and context.trace_flags,
        "state": context and context.trace_state,
        "parent": parent,
        "kind": span.kind,
        "times": (span.start_time, span.end_time),
        "status": (span.status.status_code, span.status.description),
        "attributes": list(attributes.items()),
        "types": [type(value) for value in attributes.values()],
        "events": span.events,
        "links": span.links,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": span.resource,
        "scope": span.instrumentation_scope,
        "kind of span": type(span),
    }


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a remote trace"])
@pytest.mark.parametrize("name", PROVIDERS)
def test_spans_are_the_same_however_they_are_made(
    *, name: str, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, were_direct = spans_of(inside=inside, **PROVIDERS[name])
    monkeypatch.setattr(direct, "like", lambda *_: None)
    started, none_direct = spans_of(inside=inside, **PROVIDERS[name])

    assert made == started
    assert (were_direct, none_direct) == (name in DIRECT, False)
    assert len(started) == (1 if name.startswith("sampler that") else 1 + len(TOKENS))


@pytest.mark.parametrize("variable", LIMITED)
def test_limits_from_the_environment_hold_for_token_spans(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, LIMITED[variable])
    made, were_direct = spans_of()
    monkeypatch.setattr(direct, "like", lambda *_: None)
    started, _ = spans_of()

    assert made == started
    assert not were_direct
    tokens = [span for span in made if span["name"] == "token"]
    if "COUNT" in variable:
        assert [len(span["attributes"]) for span in tokens] == [5] * len(TOKENS)
    else:
        assert all(dict(span["attributes"])[names.TOKEN_CHANNEL] == "c" for span in tokens)


class Filtering(BatchSpanProcessor):
    """A batch processor that wants the first tokens only."""

    def on_end(self, span: ReadableSpan) -> None:
        if (span.attributes or {}).get(names.TOKEN_INDEX, 0) < 3:
            super().on_end(span)


def restless(exporter: SpanExporter) -> BatchSpanProcessor:
    """A batch processor that somebody has changed at run time."""
    processor = BatchSpanProcessor(exporter)
    take, ended = processor.on_end, list[int]()

    def on_end(span: ReadableSpan) -> None:
        ended.append(1)
        if len(ended) % 2:
            take(span)

    processor.on_end = on_end  # type: ignore[method-assign]
    return processor


def stopped(exporter: SpanExporter) -> BatchSpanProcessor:
    """A batch processor that takes nothing any longer."""
    processor = BatchSpanProcessor(exporter)
    processor.shutdown()
    return processor


def test_a_span_goes_straight_into_the_queue_of_a_batch_processor_and_by_on_end_to_any_other() -> (
    None
):
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    batch, own = BatchSpanProcessor(exporter), Filtering(exporter)
    changed, simple = restless(exporter), SimpleSpanProcessor(exporter)
    for processor in (LinkingProcessor(), batch, own, changed, simple):
        provider.add_span_processor(processor)

    takers = direct.takers_of(provider._active_span_processor)

    assert takers == [batch._batch_processor.emit, own.on_end, changed.on_end, simple.on_end]
    concurrent = ConcurrentMultiSpanProcessor()
    concurrent.add_span_processor(batch)
    assert direct.takers_of(concurrent) == [concurrent.on_end]
    concurrent.shutdown()
    provider.shutdown()


BATCHING: dict[str, Callable[[SpanExporter], SpanProcessor]] = {
    "batch": BatchSpanProcessor,
    "batch of one's own": Filtering,
    "batch changed at run time": restless,
    "batch that is shut down": stopped,
}


@pytest.mark.parametrize("several", [None, ConcurrentMultiSpanProcessor], ids=["", "concurrent"])
@pytest.mark.parametrize("name", [*BATCHING, "sampler that has tokens recorded but not sampled"])
def test_the_same_spans_reach_an_exporter_however_they_are_made(
    *, name: str, several: Callable[[], Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported() -> list[tuple[Any, ...]]:
        exporter = InMemorySpanExporter()
        multi = {} if several is None else {"active_span_processor": several()}
        processor = BATCHING.get(name, BatchSpanProcessor)(exporter)
        spans_of([processor], **multi, **PROVIDERS.get(name, {}))
        processor.force_flush()
        processor.shutdown()
        return [
            (span.name, span.context, dict(span.attributes or {}).get(names.TOKEN_INDEX))
            for span in exporter.get_finished_spans()
        ]

    made = exported()
    monkeypatch.setattr(direct, "like", lambda *_: None)
    started = exported()

    assert made == started
    sampled = {
        "batch": 1 + len(TOKENS),
        "batch of one's own": 4,
        "batch changed at run time": 4,
        "batch that is shut down": 0,
    }
    assert len(made) == sampled.get(name, 1)


class Ids(FixedIds):
    """Ids at the edges of what an id may be, and beyond."""

    def __init__(self, *span_ids: int) -> None:
        super().__init__()
        self._edges = cycle(span_ids)

    def generate_span_id(self) -> int:
        return next(self._edges)


@pytest.mark.parametrize(
    ("span_ids", "is_direct"),
    [((1, 2**64 - 1, 5), True), ((5, 1, 0, 2**64), True), ((5, 0, 1), False)],
)
def test_an_id_generator_of_ones_own_is_asked_once_a_span(
    *, span_ids: tuple[int, ...], is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, were_direct = spans_of(id_generator=Ids(*span_ids), inside=True)
    monkeypatch.setattr(direct, "like", lambda *_: None)
    started, _ = spans_of(id_generator=Ids(*span_ids), inside=True)

    assert were_direct == is_direct
    assert made == started
    assert [span["context"].span_id for span in made[:3]] == list(span_ids[:3])
    assert [span["context"].is_valid for span in made] == [
        span["context"].is_valid for span in started
    ]


class Looking(SpanProcessor):
    """A processor that does something with every span that ends."""

    def __init__(self, look: Callable[[Any], object]) -> None:
        self.look = look
        self.seen: list[Any] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == "token":
            self.seen.append(self.look(span))


def deep_copy(span: Any) -> Any:
    try:
        return copy.deepcopy(span)
    except TypeError:  # older SDKs cannot
        return None


LOOKS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deep copy": deep_copy,
    "json": lambda span: span.to_json(),
    "private": lambda span: (span._name, span._end_time, dict(span._attributes)),
    "nothing of that name": lambda span: (hasattr(span, "set_attribute"), type(span)),
}


@pytest.mark.parametrize("name", LOOKS)
def test_however_a_span_is_looked_at_it_is_that_of_the_sdk(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(spans: list[Any]) -> list[Any]:
        return [described(of) if isinstance(of, ReadableSpan) else of for of in spans]

    first, second = Looking(LOOKS[name]), Looking(LOOKS[name])
    _, were_direct = spans_of([first])
    monkeypatch.setattr(direct, "like", lambda *_: None)
    spans_of([second])

    assert were_direct
    assert seen(first.seen) == seen(second.seen)
    assert len(first.seen) == len(TOKENS)


def test_what_is_written_on_a_span_that_nobody_has_looked_at_stays() -> None:
    def rename(span: Any) -> ReadableSpan:
        span._kind = "changed"
        kept: ReadableSpan = span
        return kept

    class Blind(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(rename(span))

    ended: list[Any] = []
    _, were_direct = spans_of([Blind()])

    assert were_direct
    assert {span.kind for span in ended} == {"changed"}
    assert [span.name for span in ended].count("token") == len(TOKENS)


def test_threads_that_look_at_a_span_at_once_see_the_same() -> None:
    ended: list[Any] = []

    class Ended(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    for _ in range(50):
        spans_of([Ended()])
    together = threading.Barrier(4)
    looks: list[list[tuple[Any, ...]]] = [[] for _ in range(4)]

    def look(at: int) -> None:
        together.wait()
        looks[at] += [(span.name, span.start_time, dict(span.attributes)) for span in ended]

    threads = [threading.Thread(target=look, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert looks[0] == looks[1] == looks[2] == looks[3]
    assert len(looks[0]) == 50 * (1 + len(TOKENS))


def test_a_processor_that_writes_at_the_start_sees_every_token_span() -> None:
    spans, were_direct = spans_of([Marking()])

    assert not were_direct
    assert all(("marked", "yes") in span["attributes"] for span in spans)


def test_a_processor_put_together_at_run_time_sees_every_token_span() -> None:
    processor, seen = SpanProcessor(), list[str]()

    def note(span: Span, parent_context: Context | None = None) -> None:
        assert parent_context is not None
        seen.append(span.name)

    processor.on_start = note  # type: ignore[method-assign]

    _, were_direct = spans_of([processor])

    assert not were_direct
    assert seen.count("token") == len(TOKENS)


def test_a_processor_that_looks_at_the_ends_sees_every_token_span_whole() -> None:
    processor = Batched()

    spans, were_direct = spans_of([processor])

    assert were_direct
    assert [described(span) for span in processor.ended] == spans


def test_a_provider_can_say_that_it_is_flushed_though_we_watch_its_spans() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    handler = LogprobsCallbackHandler(tracer_provider=provider)
    ScriptedChatModel(answers=[answer("x")]).invoke("?", config={"callbacks": [handler]})

    assert LinkingProcessor().force_flush() is True  # the SDK's own is None up to 1.34
    assert provider.force_flush() is True


def test_measuring_the_sdk_itself_needs_spans_that_are_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
    monkeypatch.setenv(variable, "true")

    _, were_direct = spans_of()

    assert were_direct == (not hasattr(environment_variables, variable))  # older SDKs have none


def test_another_sdk_is_spoken_to_by_its_public_face(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: object, **__: object) -> ReadableSpan:
        raise TypeError("no such argument")

    monkeypatch.setattr(direct.Direct, "span", other)

    spans, were_direct = spans_of()

    assert not were_direct
    assert len(spans) == 1 + len(TOKENS)


class Slow(SpanExporter):
    """An exporter that takes its time, and notes the sizes of its batches."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.names: list[str] = []
        self._wait = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._wait.wait(self.seconds)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


def test_a_burst_of_token_spans_loses_none_and_evicts_none_of_the_application() -> None:
    exporter = Slow(0.01)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    handler = LogprobsCallbackHandler(tracer_provider=provider, max_token_spans=None)
    model = ScriptedChatModel(answers=[answer(*["x"] * (8 * BURST))])

    for _ in range(100):
        provider.get_tracer("application").start_span("work").end()
    model.invoke("?", config={"callbacks": [handler]})
    for _ in range(100):
        provider.get_tracer("application").start_span("work").end()
    assert handler.flush(PATIENCE)
    provider.shutdown()

    assert exporter.names.count("token") == 8 * BURST
    assert exporter.names.count("work") == 200


def test_a_small_queue_makes_small_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "256")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "128")
    exporter = Slow(0.005)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    handler = LogprobsCallbackHandler(tracer_provider=provider, max_token_spans=None)
    model = ScriptedChatModel(answers=[answer(*["x"] * 2000)])

    model.invoke("?", config={"callbacks": [handler]})
    assert handler.flush(PATIENCE)
    provider.shutdown()

    assert exporter.names.count("token") == 2000


class Hidden(BatchSpanProcessor):
    """A batch processor that nobody can look into."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._inner = BatchSpanProcessor(exporter)

    def on_end(self, span: ReadableSpan) -> None:
        self._inner.on_end(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._inner.shutdown()


def test_a_queue_that_cannot_be_seen_is_flushed_however_many_calls_fill_it() -> None:
    exporter = Slow(0.1)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Hidden(exporter))
    handler = LogprobsCallbackHandler(tracer_provider=provider)
    model = ScriptedChatModel(answers=[answer(*["x"] * 400)])

    for _ in range(25):
        model.invoke("?", config={"callbacks": [handler]})
    assert handler.flush(PATIENCE)
    provider.shutdown()

    assert exporter.names.count("token") == 10_000


def test_a_flush_that_hangs_holds_up_no_other_provider() -> None:
    exporter, other = Slow(3600), InMemorySpanExporter()
    hanging, free = TracerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    hanging.add_span_processor(Hidden(exporter))
    free.add_span_processor(BatchSpanProcessor(other))
    model = ScriptedChatModel(answers=[answer(*["x"] * 2000)])
    first, second = (
        LogprobsCallbackHandler(tracer_provider=of, max_token_spans=None) for of in (hanging, free)
    )

    model.invoke("?", config={"callbacks": [first]})
    model.invoke("?", config={"callbacks": [second]})

    assert second.flush(PATIENCE)
    assert [span.name for span in other.get_finished_spans()].count("token") == 2000
    assert not first.flush(0.1)
    exporter.seconds = 0
    exporter._wait.set()
    assert first.flush(PATIENCE)
    assert exporter.names.count("token") == 2000
    hanging.shutdown()
    free.shutdown()


def test_a_flush_that_raises_loses_the_rest_of_its_call_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Raising(Hidden):
        def force_flush(self, _: int | None = None) -> bool:
            raise OSError("gone")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raising(Slow(0)))
    handler = LogprobsCallbackHandler(tracer_provider=provider)
    model = ScriptedChatModel(answers=[answer(*["x"] * 1000)])

    model.invoke("?", config={"callbacks": [handler]})
    assert SHARED.flush(PATIENCE)

    assert "Token spans could not be emitted." in caplog.messages


def test_a_provider_that_raises_when_it_is_flushed_is_counted_and_said(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            raise OSError(timeout_millis)

    handler = LogprobsCallbackHandler(
        tracer_provider=Raising(shutdown_on_exit=False), meter_provider=observed.meter_provider
    )

    assert not handler.flush(PATIENCE)
    assert [of.exc_info[0] for of in caplog.records if of.exc_info] == [OSError]
    assert observed.total("langchain_logprobs.errors", where="sink") == 1


@pytest.mark.parametrize("queue", ["", "512", "64"])
def test_a_queue_that_cannot_be_seen_is_flushed_before_it_is_full(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if queue:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", queue)
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", queue)
    exporter = Slow(0.001)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Hidden(exporter))
    handler = LogprobsCallbackHandler(tracer_provider=provider, max_token_spans=None)
    model = ScriptedChatModel(answers=[answer(*["x"] * 2000)])

    model.invoke("?", config={"callbacks": [handler]})
    assert handler.flush(PATIENCE)
    provider.shutdown()

    assert exporter.names.count("token") == 2000
