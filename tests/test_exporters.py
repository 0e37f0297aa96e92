"""What our encoder writes is, message for message, what OpenTelemetry's does."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from functools import partial
from importlib.metadata import entry_points
from typing import Any

import grpc
import pytest
from conftest import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as StandardGrpc,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as StandardHttp,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from receiver import receiving

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.core.confidence import TokenMeasures
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.exporters import encoding, wire
from langchain_logprobs.exporters.encoding import encode_spans
from langchain_logprobs.exporters.grpc import OTLPSpanExporter as QuickGrpc
from langchain_logprobs.exporters.http import OTLPSpanExporter as QuickHttp
from langchain_logprobs.exporters.swap import quick
from langchain_logprobs.telemetry import direct
from langchain_logprobs.telemetry.direct import Direct, untouched
from langchain_logprobs.telemetry.names import SCOPE
from langchain_logprobs.telemetry.spans import Options, TokenSpan, token_values
from langchain_logprobs.telemetry.worker import SHARED
from langchain_logprobs.testing import FixedClock, ScriptedChatModel, answer


def same(spans: Sequence[ReadableSpan]) -> bool:
    """Whether both encoders make the same message of them: compared as bytes, for NaN's sake."""
    ours = encode_spans(list(map(copy.copy, spans)))
    return ours.SerializePartialToString() == standard(spans).SerializePartialToString()


class Colour(IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


TEXTS = st.text(st.characters(), max_size=200)  # lone surrogates among them
NUMBERS = st.one_of(st.integers(-(2**65), 2**65), st.integers(-300, 70_000), st.floats())
ODD = st.one_of(st.none(), st.binary(max_size=3), st.just(Colour.RED), st.just(Word("a")))
SCALARS = st.one_of(TEXTS, st.booleans(), NUMBERS)
SEQUENCES = st.one_of(
    st.lists(st.floats(), max_size=300).map(tuple),
    st.lists(TEXTS, max_size=4).map(tuple),
    st.lists(st.one_of(SCALARS, ODD), max_size=4).map(tuple),
    st.lists(st.integers(), max_size=3),
    st.tuples(st.tuples(st.integers(0, 9)), st.just(())),
)
VALUES = st.one_of(SCALARS, SEQUENCES, ODD, st.dictionaries(TEXTS, SCALARS, max_size=2))
KEYS = st.one_of(st.sampled_from(["a", "b", "long." * 40]), st.text(min_size=1, max_size=5))
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
PLAIN = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
    st.one_of(st.text(st.characters(codec="utf-8")), st.booleans(), st.integers(0, 9)),
    max_size=2,
)
STATES = st.sampled_from([None, TraceState(), TraceState([("a", "1"), ("b", "2")])])
SPAN_IDS = st.integers(1, 2**64 - 1)


def contexts(trace_id: int) -> st.SearchStrategy[SpanContext]:
    return st.builds(
        SpanContext,
        st.just(trace_id),
        SPAN_IDS,
        is_remote=st.booleans(),
        trace_flags=st.builds(TraceFlags, st.integers(0, 255)),
        trace_state=STATES,
    )


RESOURCES = st.builds(Resource, PLAIN, st.sampled_from(["", "https://schema"]))
SCOPES = st.one_of(
    st.none(),
    st.builds(
        InstrumentationScope,
        st.sampled_from([SCOPE, SCOPE, "application"]),
        st.sampled_from([None, "1"]),
        st.sampled_from([None, "https://scope"]),
        PLAIN,
    ),
)
STATUSES = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.one_of(st.none(), st.text(max_size=9))),
)
TIMES = st.one_of(st.integers(0, 2**64 - 1), st.none())


def again(resource: Resource) -> Resource:
    """An equal one."""
    return Resource(dict(resource.attributes), resource.schema_url)


@st.composite
def span_lists(draw: st.DrawFn) -> list[ReadableSpan]:
    """A batch: of several traces, resources and scopes, some of them equal but not the same."""
    resources = draw(st.lists(RESOURCES, min_size=1, max_size=3))
    scopes = draw(st.lists(SCOPES, min_size=1, max_size=3))
    parents = [None, *draw(st.lists(contexts(9), max_size=2))]
    statuses = draw(st.lists(STATUSES, min_size=1, max_size=2))
    made = st.builds(
        ReadableSpan,
        name=st.sampled_from(["token", "chat", "\N{SNOWMAN}"]),
        context=st.one_of(contexts(9), contexts(2**128 - 1)),
        parent=st.sampled_from(parents),
        resource=st.sampled_from([*resources, again(resources[0])]),
        attributes=st.one_of(
            ATTRIBUTES,
            ATTRIBUTES.map(lambda of: BoundedAttributes(3, of)),  # some are dropped
            st.none(),
        ),
        events=st.sampled_from([(), (), (), (Event("now", {"a": 1}, 5),)]),
        links=st.sampled_from([(), (), (), (Link(SpanContext(1, 2, is_remote=True), {}),)]),
        kind=st.sampled_from(SpanKind),
        status=st.sampled_from(statuses),
        start_time=TIMES,
        end_time=TIMES,
        instrumentation_scope=st.sampled_from([*scopes, copy.copy(scopes[0])]),
    )
    return draw(st.lists(made, max_size=6))


@given(span_lists())
@settings(deadline=None, max_examples=300)
def test_any_batch_becomes_the_message_that_the_sdk_makes(spans: list[ReadableSpan]) -> None:
    assert same(spans)


LOGPROBS = st.one_of(st.none(), st.floats(), st.integers(-3, 0))
MEASURES = st.one_of(st.none(), st.floats())
ROWS = st.builds(
    TokenSpan,
    st.builds(
        TokenLogprob,
        TEXTS,
        LOGPROBS,
        st.none(),
        st.lists(st.builds(Candidate, TEXTS, st.one_of(st.floats(), st.just(-1))), max_size=3).map(
            tuple
        ),
        st.sampled_from(["content", "refusal"]),
        st.one_of(st.none(), st.just(1)),
    ),
    st.builds(
        TokenMeasures,
        *[MEASURES] * 2,
        st.one_of(st.none(), st.integers(0, 500)),
        *[MEASURES] * 4,
    ),
    st.integers(0, 100_000),
    st.integers(0, 2),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.one_of(st.none(), TEXTS),
    st.one_of(st.none(), st.tuples(st.integers(0, 2**21), st.integers(0, 2**21))),
    st.one_of(st.none(), st.just("answer.city")),
)


def maker(*, content: bool) -> Direct:
    """Makes finished spans under a parent of a real provider."""
    provider = TracerProvider(resource=Resource({"a": 1}), shutdown_on_exit=False)
    tracer = provider.get_tracer(SCOPE, "1")
    parent = trace.set_span_in_context(tracer.start_span("chat"))
    example = tracer.start_span("token", parent)
    example.end()
    assert isinstance(example, ReadableSpan)
    options = Options(capture_content=content)
    read = partial(token_values, low_token=0.5, options=options)
    return Direct(example, example.context, None, lambda: 1, lambda _: None, read)


@given(st.lists(ROWS, min_size=1, max_size=5), st.lists(SPAN_IDS, min_size=5, max_size=5))
@settings(deadline=None, max_examples=200)
def test_tokens_become_the_message_that_the_sdk_makes_of_their_spans(
    rows: list[TokenSpan], ids: list[int]
) -> None:
    for made in (maker(content=True), maker(content=False)):
        spans = [
            direct.Deferred(made.context_of(span_id), made, row)
            for span_id, row in zip(ids, rows, strict=False)
        ]
        assert all(map(untouched, spans))
        assert same(spans)
        assert not any(map(untouched, spans))
        assert same(spans)


def pipeline(*exporters: SpanExporter, processors: Sequence[SpanProcessor] = ()) -> None:
    """One streamed answer with content, through the SDK, to each of the exporters."""
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    handler = LogprobsCallbackHandler(
        tracer_provider=provider, clock=FixedClock(), capture_content=True, raise_errors=True
    )
    model = ScriptedChatModel(
        answers=[
            answer(
                (" A", -0.5, {" A": -0.5, " B": -1.5}),
                (" b", None),
                (" c", -9999.0, {" d": -0.1}),
                *[(f"é{at}", -0.25) for at in range(700)],
            )
        ]
    )
    list(model.stream("?", config={"callbacks": [handler]}))
    with provider.get_tracer("application").start_as_current_span("work") as span:
        span.add_event("now", {"a": 1})
    assert SHARED.flush(PATIENCE)  # of processors of one's own, older SDKs say that they cannot
    provider.shutdown()


class Comparing(SpanExporter):
    """Encodes what it is handed both ways."""

    def __init__(self) -> None:
        self.untouched: list[int] = []
        self.same: list[bool] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.untouched.append(sum(untouched(span) is not None for span in spans))
        self.same.append(same(spans))
        return SpanExportResult.SUCCESS


def test_a_call_of_many_batches_is_encoded_alike_from_tokens_that_nobody_looked_at() -> None:
    exporter = Comparing()

    pipeline(exporter)

    assert all(exporter.same)
    assert len(exporter.same) > 1
    assert sum(exporter.untouched) == 702  # all but the first token's, which is the example


class Redacting(SpanProcessor):
    """Changes spans that have ended, as people do who know the SDK well."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == "token":
            changed = {"langchain_logprobs.token.text": "***", "seen": True}
            span._attributes = {**(span.attributes or {}), **changed}
        else:
            span._name = "renamed"


def test_what_another_processor_writes_on_ended_spans_is_sent() -> None:
    with receiving() as received:
        endpoint = f"{received.endpoint}/v1/traces"
        memory = InMemorySpanExporter()
        pipeline(QuickHttp(endpoint), memory, processors=[Redacting()])

    texts = [
        of.value.string_value
        for span in received.spans("token")
        for of in span.attributes
        if of.key == "langchain_logprobs.token.text"
    ]
    finished = memory.get_finished_spans()
    assert texts == ["***"] * 703
    assert [span.name for span in finished].count("renamed") == 2
    assert all((span.attributes or {})["seen"] for span in finished if span.name == "token")


def test_every_exporter_of_a_provider_gets_every_span() -> None:
    with receiving() as first, receiving() as second:
        pipeline(
            QuickHttp(f"{first.endpoint}/v1/traces"),
            StandardHttp(f"{second.endpoint}/v1/traces"),
        )

    def sent(messages: Sequence[Any]) -> list[bytes]:
        spans = [
            span.SerializeToString(deterministic=True)
            for message in messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(spans)

    assert len(sent(first.messages)) == 705
    assert sent(first.messages) == sent(second.messages)


def finished() -> tuple[ReadableSpan, ...]:
    """The spans of one call, none of which anybody has looked at."""
    exporter = InMemorySpanExporter()
    pipeline(exporter)
    return exporter.get_finished_spans()


def test_over_http_the_same_bytes_arrive_as_from_the_standard_exporter() -> None:
    spans = finished()
    with receiving() as received:
        endpoint = f"{received.endpoint}/v1/traces"
        results = [
            exporter.export(list(map(copy.copy, spans)))
            for exporter in (QuickHttp(endpoint), StandardHttp(endpoint))
        ]

    assert results == [SpanExportResult.SUCCESS] * 2
    ours, theirs = received.bodies
    assert ours == theirs


def test_the_standard_variables_configure_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = finished()
    with receiving() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=secret")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        result = QuickHttp().export(list(map(copy.copy, spans)))

    assert result is SpanExportResult.SUCCESS
    (headers,) = received.headers
    assert (headers["api-key"], headers["content-encoding"]) == ("secret", "gzip")
    assert received.bodies == [standard(spans).SerializePartialToString()]


@contextmanager
def receiving_grpc() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The address of a gRPC receiver, and what arrives there."""
    received: list[ExportTraceServiceRequest] = []

    class Service(TraceServiceServicer):
        def Export(self, request: Any, _: Any) -> ExportTraceServiceResponse:  # noqa: N802
            received.append(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        server.stop(None).wait()


def test_over_grpc_the_same_message_arrives_as_from_the_standard_exporter() -> None:
    spans = finished()
    with receiving_grpc() as (endpoint, received):
        exporters = [kind(endpoint, insecure=True) for kind in (QuickGrpc, StandardGrpc)]
        results = [exporter.export(list(map(copy.copy, spans))) for exporter in exporters]
        for exporter in exporters:
            exporter.shutdown()

    assert results == [SpanExportResult.SUCCESS] * 2
    ours, theirs = received
    assert ours == theirs


NAMES = {"otlp_logprobs_http": QuickHttp, "otlp_logprobs_grpc": QuickGrpc}


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_points_give_the_exporters(name: str) -> None:
    (entry,) = entry_points(group="opentelemetry_traces_exporter", name=name)

    assert entry.load() is NAMES[name]


CONFIGURED = """
import gc
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.sdk.trace.export import SpanExporter

_OTelSDKConfigurator().configure(auto_instrumentation_version=None)
from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.testing import ScriptedChatModel, answer

model = ScriptedChatModel(answers=[answer("a", "b", "c")])
model.invoke("?", config={"callbacks": [LogprobsCallbackHandler()]})
print(*(type(of).__module__ for of in gc.get_objects() if isinstance(of, SpanExporter)))
"""


def test_one_variable_puts_it_in_the_place_of_the_standard_one() -> None:
    with receiving() as received:
        variables = {
            "OTEL_TRACES_EXPORTER": "otlp_logprobs_http",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        }
        ran = subprocess.run(
            [sys.executable, "-c", CONFIGURED],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )

    assert ran.stdout == "langchain_logprobs.exporters.http\n"
    assert len(received.spans("token")) == 3


@pytest.fixture
def _asked_anew() -> Iterator[None]:
    """Has the two encoders compared again, and again afterwards."""
    encoding._agrees.cache_clear()
    yield
    encoding._agrees.cache_clear()


@pytest.mark.usefixtures("_asked_anew")
@pytest.mark.parametrize("wrong", [b"\x49", b"\x3a", b"\xff"], ids=["field", "kind", "nonsense"])
def test_an_encoder_that_does_not_agree_with_the_sdk_is_not_used(
    wrong: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = finished()
    monkeypatch.setattr(wire, "_SPAN_START", wrong)

    assert same(spans)
    assert not encoding._agrees()


@pytest.mark.usefixtures("_asked_anew")
def test_another_sdk_is_left_to_its_own_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = finished()

    def other(*_: object) -> ReadableSpan:
        raise TypeError("no such argument")

    monkeypatch.setattr(encoding, "_bare", other)

    assert same(spans)
    assert not encoding._agrees()


def test_an_exporter_that_encodes_in_another_way_is_left_as_it_is() -> None:
    class Other(SpanExporter):
        def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.FAILURE

    class Ours(Other):
        pass

    assert quick(Ours)().export([]) is SpanExportResult.FAILURE
    assert "export" not in vars(Ours)


def test_only_how_spans_are_encoded_and_who_hears_of_failures_is_put_in() -> None:
    for exporter, methods in (
        (QuickHttp, {"export", "_serialize_spans"}),  # SDK versions call it in different ones
        (QuickGrpc, {"_translate_data", "__init__"}),
    ):
        ours, patient, swapped, theirs, *_ = exporter.__mro__
        changed = {name for name, of in vars(swapped).items() if callable(of)}

        assert changed
        assert changed <= methods
        assert theirs.__module__.startswith("opentelemetry.")
        own = vars(ours) | vars(patient)
        public = {name for name, of in own.items() if callable(of)}
        assert public == {"__init__", "export", "force_flush", "shutdown"}
