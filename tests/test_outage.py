"""A receiver that is away for a while costs no span; one that refuses, hangs nothing up."""

from __future__ import annotations

import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
import requests
from conftest import PATIENCE
from conftest import wait_until as until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from langchain_logprobs import LogprobsCallbackHandler, SettingsError
from langchain_logprobs.exporters import patience
from langchain_logprobs.exporters.grpc import OTLPSpanExporter as Grpc
from langchain_logprobs.exporters.http import OTLPSpanExporter as Http
from langchain_logprobs.telemetry import metrics
from langchain_logprobs.telemetry.worker import SHARED
from langchain_logprobs.testing import ScriptedChatModel, answer

MOMENT = 20.0
"""Seconds that a busy machine needs for what takes a moment, and less than any wait that is cut."""
UP = 0
"""What a receiver answers while it takes spans."""


@dataclass
class Receiver:
    """What it answers, and what it was sent.

    Who does not hear its answer in time sends the same spans again.
    """

    answers: int
    tries: int = 0
    taken: dict[bytes, str] = field(default_factory=dict)

    def take(self, request: ExportTraceServiceRequest) -> int:
        self.tries += 1
        answered = self.answers
        if answered == UP:
            self.taken.update(
                (span.span_id, span.name)
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
        return answered

    @property
    def names(self) -> Counter[str]:
        """How many different spans there are of each name."""
        return Counter(self.taken.copy().values())


@contextmanager
def http_at(port: int, receiver: Receiver) -> Iterator[None]:
    """Listens for OTLP over HTTP; `answers` is a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.take(ExportTraceServiceRequest.FromString(body)) or 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CODES = {503: grpc.StatusCode.UNAVAILABLE, 400: grpc.StatusCode.INVALID_ARGUMENT}


@contextmanager
def grpc_at(port: int, receiver: Receiver) -> Iterator[None]:
    """Listens for OTLP over gRPC; `answers` is what stands for a code of it."""

    class Service(TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
            if answered := receiver.take(request):
                context.abort(CODES[answered], "no")
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    add_TraceServiceServicer_to_server(Service(), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@dataclass(frozen=True)
class Way:
    """One of the two protocols."""

    exporter: Callable[[int, float, float], SpanExporter]
    listening: Callable[[int, Receiver], Any]
    refused: tuple[str, str]
    """What it says where nobody listens: at once, and where the time for an answer is over before,
    as on a machine that does much else."""


WAYS = {
    "http": Way(
        lambda port, seconds, timeout: Http(
            f"http://127.0.0.1:{port}/v1/traces", timeout=timeout, patience=seconds
        ),
        http_at,
        ("ConnectionError", "ConnectTimeout"),
    ),
    "grpc": Way(
        lambda port, seconds, timeout: Grpc(
            f"http://127.0.0.1:{port}",
            timeout=timeout,  # type: ignore[arg-type] # older versions say int
            patience=seconds,
        ),
        grpc_at,
        ("UNAVAILABLE", "DEADLINE_EXCEEDED"),
    ),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def port() -> int:
    """Where nobody listens so far."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(autouse=True)
def _a_minute_is_a_second(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 0.1)
    for name in ("exporter.otlp.proto.grpc.exporter", "sdk._shared_internal"):
        for of in logging.getLogger(f"opentelemetry.{name}").filters:
            vars(of).pop("last_log", None)  # it drops what was logged in the last 20 seconds
    yield
    SHARED.give_up()


@dataclass
class Application:
    """A provider with a default batch processor before an exporter, and its own work."""

    exporter: SpanExporter
    most: int = 100_000
    provider: TracerProvider = field(default_factory=lambda: TracerProvider(shutdown_on_exit=False))

    def __post_init__(self) -> None:
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter))
        self.handler = LogprobsCallbackHandler(
            tracer_provider=self.provider,
            max_token_spans=None,
            max_pending_spans=self.most,
            token_arrays=False,
        )

    def call(self, tokens: int) -> None:
        model = ScriptedChatModel(answers=[answer(*["x"] * tokens)])
        model.invoke("?", config={"callbacks": [self.handler]})

    def work(self, spans: int = 1) -> None:
        for _ in range(spans):
            self.provider.get_tracer("application").start_span("work").end()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our exporters logged."""
    return [of.getMessage() for of in caplog.records if of.name == "langchain_logprobs"]


def test_a_receiver_that_refuses_then_is_overloaded_then_takes_gets_every_span(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 60, 0.7))
    receiver = Receiver(503)

    application.call(20_000)
    for _ in range(60):
        application.work(5)
        time.sleep(0.01)
    with way.listening(port, receiver):
        until(lambda: receiver.tries > 2)
        vars(application.exporter)["_timeout"] = PATIENCE  # the outage is over for good
        receiver.answers = UP
        assert application.handler.flush(PATIENCE)
        application.provider.shutdown()

    assert (receiver.names["token"], receiver.names["work"]) == (20_000, 300)
    began, ended = said(caplog)
    assert began.startswith(
        tuple(f"Spans cannot be sent at present ({of}). Each batch is tried" for of in way.refused)
    )
    assert ended.startswith("Spans are sent again after ")
    assert ended.endswith("; 0 were lost.")


def test_opentelemetry_tells_of_the_first_try_and_of_no_other(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 60, 0.7))

    application.work(512)
    until(lambda: said(caplog))
    told = len(caplog.records)
    time.sleep(0.6)

    assert 1 <= told <= 3
    assert len(caplog.records) == told
    application.provider.shutdown()


def test_what_is_wrong_for_good_is_not_tried_again(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 60, PATIENCE))
    receiver = Receiver(400)

    with way.listening(port, receiver):
        application.work(512)
        until(lambda: receiver.tries)
        time.sleep(0.3)
        assert receiver.tries == 1
        receiver.answers = UP
        application.work(512)
        application.provider.shutdown()

    assert receiver.names["work"] == 512
    assert said(caplog) == []
    assert "Failed to export" in caplog.text  # OpenTelemetry says it


def test_what_is_wrong_for_good_after_an_outage_is_lost_and_said(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 60, 0.7))
    receiver = Receiver(400)

    application.work(512)
    until(lambda: said(caplog))
    with way.listening(port, receiver):
        until(lambda: len(said(caplog)) == 2)
        receiver.answers = UP
        application.work(512)
        until(lambda: len(said(caplog)) == 3)
        application.provider.shutdown()

    assert said(caplog)[1].startswith("512 spans could not be sent (")
    assert said(caplog)[2].endswith("; 512 were lost.")


@pytest.mark.parametrize("timeout", [0.3, 120])
def test_a_shutdown_during_the_outage_takes_a_moment(way: Way, port: int, timeout: float) -> None:
    application = Application(way.exporter(port, 3600, timeout))
    application.work(1500)
    time.sleep(0.5)

    begun = time.monotonic()
    application.provider.shutdown()

    assert time.monotonic() - begun < MOMENT


def test_a_shutdown_of_the_exporter_alone_ends_the_wait(way: Way, port: int) -> None:
    exporter = way.exporter(port, 3600, 120)
    application = Application(exporter)
    application.work(512)
    time.sleep(0.3)

    begun = time.monotonic()
    exporter.shutdown()
    assert application.provider.force_flush()

    assert time.monotonic() - begun < MOMENT
    application.provider.shutdown()


def test_patience_ends_and_what_it_costs_is_counted(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 0.3, 0.1))

    application.work(1024)
    until(lambda: len(said(caplog)) == 2)
    time.sleep(0.6)
    application.provider.shutdown()

    began, lost, in_all = said(caplog)
    assert began.endswith(
        "Each batch is tried again for 0.3 s; the next line about it comes when they can, "
        "or are lost."
    )
    assert lost in [
        f"512 spans could not be sent ({of}), and are lost. Further ones will only be counted."
        for of in way.refused
    ]
    assert in_all == "1024 spans in all could not be sent, and are lost."


@pytest.mark.parametrize("seconds", [0.3, 0])
def test_token_spans_that_could_not_be_sent_are_counted(
    way: Way, port: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)
    application = Application(way.exporter(port, seconds, 0.1))

    application.call(600)
    application.work(700)
    assert SHARED.flush(PATIENCE, id(application.provider))
    application.provider.shutdown()

    data = reader.get_metrics_data()
    assert data is not None
    counted = {
        str((point.attributes or {})["result"]): getattr(point, "value", None)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "langchain_logprobs.token_spans"
        for point in metric.data.data_points
    }
    assert counted == {"emitted": 600, "unsent": 600}


def test_what_waits_for_a_receiver_that_never_comes_is_bounded_and_told(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 3600, 0.2), most=2500)

    for _ in range(8):
        application.call(1000)
    until(lambda: any("Spans cannot be sent" in of for of in said(caplog)))

    assert SHARED.pending <= 2500
    SHARED.give_up()
    application.provider.shutdown()
    lost = int(said(caplog)[-1].split()[0])
    assert 512 <= lost <= 1024 + 512 + 128 + 8  # half of the queue, a batch, a slice, the calls


def test_nobody_waits_who_exports_in_a_thread_of_the_application(way: Way, port: int) -> None:
    exporter = way.exporter(port, 3600, 0.2)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    begun = time.monotonic()
    provider.get_tracer("application").start_span("work").end()

    assert time.monotonic() - begun < MOMENT
    provider.shutdown()


def test_without_patience_all_is_left_to_opentelemetry(
    way: Way, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(way.exporter(port, 0, 0.1))

    application.work(1024)
    until(lambda: "Failed to export" in caplog.text or "Exception while" in caplog.text)
    application.provider.shutdown()

    assert said(caplog) == []


def test_a_flush_of_ours_waits_and_one_of_the_exporter_hurries(
    way: Way, port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 3600.0)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 3600.0)
    exporter, receiver = way.exporter(port, 7200, 0.7), Receiver(UP)
    application = Application(exporter)

    application.call(100)
    assert not application.handler.flush(1.0)
    until(lambda: said(caplog))
    with way.listening(port, receiver):
        until(lambda: exporter.force_flush() and application.handler.flush(0.5))
        application.provider.shutdown()

    assert receiver.names["token"] == 100


def test_a_session_of_ones_own_is_used_and_heard(port: int) -> None:
    session, receiver = requests.Session(), Receiver(503)
    session.headers["api-key"] = "secret"
    endpoint = f"http://127.0.0.1:{port}/v1/traces"
    first = Http(endpoint, session=session, timeout=0.7, patience=60)
    adapters = dict(session.adapters)
    second = Application(Http(endpoint, session=session, timeout=0.7, patience=60))

    with http_at(port, receiver):
        second.work(512)
        until(lambda: receiver.tries > 2)
        receiver.answers = UP
        until(lambda: receiver.names["work"] == 512)
        second.provider.shutdown()

    assert dict(session.adapters) == adapters  # wrapped once
    assert receiver.names["work"] == 512
    first.shutdown()


def test_a_credential_provider_of_the_environment_still_makes_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nobody")

    with pytest.raises(RuntimeError, match="nobody"):  # OpenTelemetry asks for it
        Http()


FORKED = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from langchain_logprobs.exporters.http import OTLPSpanExporter

provider = TracerProvider()
exporter = OTLPSpanExporter(sys.argv[1], timeout=0.2, patience=3600)
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("application")
for _ in range(512):
    tracer.start_span("parent").end()
time.sleep(0.5)
print("ready", flush=True)
child = os.fork()
if not child:
    tracer.start_span("child").end()
    sys.exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_process_and_its_child_both_end_during_the_outage(port: int) -> None:
    command = [sys.executable, "-c", FORKED, f"http://127.0.0.1:{port}/v1/traces"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        begun = time.monotonic()
        assert process.wait(PATIENCE) == 0

    assert time.monotonic() - begun < MOMENT


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, True, "10"])
@pytest.mark.parametrize("exporter", [Http, Grpc], ids=["http", "grpc"])
def test_a_patience_that_is_no_number_of_seconds_raises(exporter: Any, wrong: Any) -> None:
    with pytest.raises(SettingsError, match=r"^patience is .*, but takes a number of seconds"):
        exporter(patience=wrong)


@pytest.mark.parametrize("wrong", ["-1", "nan", "inf", "long"])
def test_a_variable_that_is_no_number_of_seconds_raises(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(patience.PATIENCE, wrong)

    with pytest.raises(SettingsError, match=f"^The environment's {patience.PATIENCE} is '{wrong}'"):
        Http()


@pytest.mark.parametrize(("text", "shown"), [("", "120"), (" ", "120"), ("7.5", "7.5")])
def test_the_variable_says_how_patient_an_exporter_is(
    text: str, shown: str, port: int, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv(patience.PATIENCE, text)
    application = Application(Http(f"http://127.0.0.1:{port}/v1/traces", timeout=0.1))

    application.work(512)
    until(lambda: said(caplog))
    application.provider.shutdown()

    assert f" Each batch is tried again for {shown} s; " in said(caplog)[0]


class Failing(SpanExporter):
    """Raises, as older exporters do, once a request has gone wrong."""

    def __init__(self, *, is_passing: bool) -> None:
        self.patience = patience.Patience(self, 0.2)
        self.is_passing = is_passing
        self.tries = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return self.patience.export(self._export, spans)

    def _export(self, _: Sequence[Any]) -> SpanExportResult:
        self.tries += 1
        patience.tell("ConnectionError", is_passing=self.is_passing)
        raise requests.ConnectionError("refused")


def test_an_exporter_that_raises_is_tried_again_if_that_passes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter = Failing(is_passing=True)
    application = Application(exporter)

    application.work(512)
    until(lambda: "are lost" in caplog.text)
    application.provider.shutdown()

    assert exporter.tries > 1
    assert "Exception while exporting" not in caplog.text


def test_an_exporter_whose_own_waits_cannot_be_ended_is_left_alone() -> None:
    exporter = Failing(is_passing=True)
    exporter.patience.watch(exporter)
    application = Application(exporter)

    application.work(512)
    until(lambda: exporter.tries)
    time.sleep(0.2)
    application.provider.shutdown()

    assert exporter.tries == 1


def test_an_exporter_that_raises_for_good_is_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporter = Failing(is_passing=False)
    application = Application(exporter)

    application.work(512)
    until(lambda: "Exception while exporting" in caplog.text)
    application.provider.shutdown()

    assert exporter.tries == 1
    assert said(caplog) == []
