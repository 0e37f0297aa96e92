"""Nothing lost, nobody hurt: slow, failing and dead exporters, exits of every kind, and forks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from conftest import PATIENCE, wait_until
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from receiver import receiving

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry.pace import SLICE
from langchain_logprobs.telemetry.worker import SHARED
from langchain_logprobs.testing import ScriptedChatModel, answer

TOKENS = 20_000


class Exporter(SpanExporter):
    """Takes its time, fails while it is told to, and counts what arrives by name."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.up = threading.Event()
        self.up.set()
        self.names: Counter[str] = Counter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        time.sleep(self.seconds)
        self.up.wait()
        self.names.update(span.name for span in spans)
        return SpanExportResult.SUCCESS


@pytest.fixture(autouse=True)
def _nothing_waits_behind() -> Iterator[None]:
    """A test that fails must not leave its dead exporter in the way of the tests that follow."""
    yield
    SHARED.give_up()


class Ground:
    """A provider with a default batch processor before an exporter, a handler, a model."""

    def __init__(self, exporter: SpanExporter, tokens: int, **settings: int) -> None:
        self.exporter = exporter
        self.reader = InMemoryMetricReader()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.handler = LogprobsCallbackHandler(
            tracer_provider=self.provider,
            meter_provider=MeterProvider([self.reader], shutdown_on_exit=False),
            max_token_spans=None,
            **settings,  # type: ignore[arg-type]
        )
        self.model = ScriptedChatModel(answers=[answer(*["x"] * tokens)])

    def call(self) -> None:
        self.model.invoke("?", config={"callbacks": [self.handler]})

    def counts(self) -> dict[str, int]:
        """Token spans by what became of them."""
        data = self.reader.get_metrics_data()
        return {
            str((point.attributes or {})["result"]): int(getattr(point, "value", 0))
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "langchain_logprobs.token_spans"
            for point in metric.data.data_points
        }

    def settled(self, *, made: int) -> tuple[int, dict[str, int]]:
        """How many token spans wait, and the counts, once each that was made is in one of them.

        For a moment a span is in both: it is counted first, and then it waits no longer.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            waiting, counts = SHARED.pending, self.counts()
            if waiting + sum(counts.values()) == made and waiting == SHARED.pending:
                return waiting, counts
            time.sleep(0.01)
        pytest.fail(f"{waiting} wait, {counts} are counted, {made} were made")


def test_a_slow_exporter_loses_no_token_span_and_evicts_none_of_the_application() -> None:
    ground = Ground(Exporter(0.02), TOKENS // 10)
    over = threading.Event()
    started = Counter[str]()

    def work() -> None:
        tracer = ground.provider.get_tracer("application")
        while not over.wait(0.005):
            tracer.start_span("work").end()
            started["work"] += 1

    application = threading.Thread(target=work)
    application.start()
    for _ in range(10):
        ground.call()
    assert SHARED.flush(PATIENCE)
    over.set()
    application.join()
    ground.provider.shutdown()

    assert ground.exporter.names["token"] == TOKENS
    assert ground.exporter.names["work"] == started["work"] > 0
    assert ground.counts() == {"emitted": TOKENS}


def flushing(ground: Ground, seconds: float) -> float:
    """How long a flush took that may take so long."""
    started = time.monotonic()
    ground.handler.flush(seconds)
    return time.monotonic() - started


def test_flush_ends_in_time_though_the_application_goes_on_starting_spans() -> None:
    ground, over = Ground(Exporter(0.05), 100), threading.Event()

    def work() -> None:
        while not over.wait(0.001):
            ground.provider.get_tracer("application").start_span("work").end()

    application = threading.Thread(target=work)
    application.start()
    ground.call()
    # A busy machine may keep us waiting once, but not each time.
    wait_until(lambda: flushing(ground, 0.5) < 5)
    over.set()
    application.join()
    ground.provider.shutdown()

    assert ground.exporter.names["token"] == 100


def test_an_exporter_that_is_down_for_a_while_loses_nothing() -> None:
    ground = Ground(Exporter(), 3000)
    ground.exporter.up.clear()

    ground.call()
    assert not ground.handler.flush(0.3)
    ground.exporter.up.set()
    assert ground.handler.flush(PATIENCE)
    ground.provider.shutdown()

    assert ground.exporter.names["token"] == 3000
    assert ground.counts() == {"emitted": 3000}


def test_what_a_dead_exporter_leaves_is_bounded_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ground = Ground(Exporter(), 1000, max_pending_spans=2500)
    ground.exporter.up.clear()

    for _ in range(8):
        ground.call()

    waiting, counts = ground.settled(made=8000)
    assert waiting <= 2500
    assert counts["lost"] % 1000 == 0  # a call's spans are taken or lost together
    # Half of the processor's queue, and the batch under way: the other half is the application's.
    assert counts["emitted"] <= 1024 + 512
    said = [record for record in caplog.records if "were lost" in record.getMessage()]
    assert len(said) == 1
    ground.exporter.up.set()
    assert ground.handler.flush(PATIENCE)
    ground.provider.shutdown()
    counts = ground.counts()
    assert counts == {"emitted": 8000 - counts["lost"], "lost": counts["lost"]}
    assert ground.exporter.names["token"] == counts["emitted"]


def test_a_provider_whose_exporter_is_dead_holds_up_no_other() -> None:
    dead, alive = Ground(Exporter(), 3000), Ground(Exporter(), 3000)
    dead.exporter.up.clear()

    for _ in range(5):
        dead.call()
    alive.call()

    assert alive.handler.flush(PATIENCE)
    assert alive.exporter.names["token"] == 3000
    assert SHARED.pending > 10_000
    dead.exporter.up.set()
    assert dead.handler.flush(PATIENCE)
    assert dead.exporter.names["token"] == 15_000
    dead.provider.shutdown()
    alive.provider.shutdown()


def test_what_waits_for_a_dead_exporter_takes_no_place_from_another() -> None:
    settings = {"max_pending_spans": 1000}
    dead, alive = Ground(Exporter(), 1000, **settings), Ground(Exporter(), 1000, **settings)
    dead.exporter.up.clear()

    for _ in range(5):
        dead.call()
    alive.call()

    assert alive.handler.flush(PATIENCE)
    assert dead.counts()["lost"] > 0
    assert alive.counts() == {"emitted": 1000}
    dead.exporter.up.set()
    dead.provider.shutdown()
    alive.provider.shutdown()


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_flush_takes_no_longer_than_it_is_told(seconds: float) -> None:
    ground = Ground(Exporter(), 3000)
    ground.exporter.up.clear()
    ground.call()

    taken: list[float] = []

    def is_in_time() -> bool:
        taken.append(flushing(ground, seconds))
        return taken[-1] < seconds + 0.4

    wait_until(is_in_time)  # a busy machine is late now and then
    assert not ground.handler.flush(0)
    ground.exporter.up.set()
    ground.provider.shutdown()

    assert min(taken) >= seconds


@pytest.fixture
def refused() -> Iterator[int]:
    """A port on which every connection is refused."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_receiver_that_refuses_and_then_accepts_gets_everything() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces", timeout=PATIENCE)
    ground = Ground(exporter, 3000)

    ground.call()
    assert not ground.handler.flush(1.0)
    with receiving(port=port) as received:
        assert ground.handler.flush(PATIENCE)
        ground.provider.shutdown()

    assert len(received.spans("token")) == 3000
    assert ground.counts() == {"emitted": 3000}


def test_a_receiver_that_refuses_for_ever_costs_no_more_than_is_said(
    refused: int, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{refused}/v1/traces")
    ground = Ground(exporter, 1000, max_pending_spans=2500)

    for _ in range(8):
        ground.call()

    assert SHARED.pending <= 2500
    said = [record for record in caplog.records if "were lost" in record.getMessage()]
    assert len(said) == 1
    SHARED.give_up()
    exporter.shutdown()  # it would go on trying for the rest of its ten seconds
    ground.provider.shutdown()
    counts = ground.counts()
    assert counts["emitted"] + counts["lost"] == 8000
    # What is emitted is in the processor's queue, or was in it: half of it, a batch and a slice.
    assert counts["emitted"] <= 1024 + 512 + SLICE


HEAD = """
    import os, signal, sys, threading, time
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from langchain_core.runnables import RunnableLambda
    from langchain_logprobs import LogprobsCallbackHandler
    from langchain_logprobs.testing import ScriptedChatModel, answer

    class Printing(SpanExporter):
        seconds = 0.02
        def export(self, spans):
            time.sleep(self.seconds)
            os.write(1, b"".join(span.name.encode() + b"\\n" for span in spans))
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Printing()))
    trace.set_tracer_provider(provider)
    handler = LogprobsCallbackHandler(max_token_spans=None)
    model = ScriptedChatModel(answers=[answer(*["x"] * 3000)])
    config = {"callbacks": [handler]}
"""


def ran(body: str, *, kill: bool = False) -> tuple[Counter[str], int]:
    """What a program exports, and its exit code."""
    program = textwrap.dedent(HEAD) + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [line.strip() for line in iter(process.stdout.readline, "ready\n")] if kill else []
        if kill:
            process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=PATIENCE)
        return Counter([*lines, *rest.splitlines()]), process.returncode


def test_a_program_that_ends_has_sent_everything() -> None:
    names, code = ran("model.invoke('?', config=config)")

    assert (names["token"], names["chat scripted-1"], code) == (3000, 1, 0)


def test_a_program_that_exits_inside_a_chain_has_sent_everything() -> None:
    names, code = ran("""
        def leave(_):
            model.invoke("?", config=config)
            sys.exit(3)
        RunnableLambda(leave).invoke("?", config=config)
    """)

    assert (names["token"], code) == (3000, 3)


def test_a_program_that_raises_has_sent_everything() -> None:
    names, code = ran("model.invoke('?', config=config); raise SystemError('gone')")

    assert (names["token"], code) == (3000, 1)


def test_a_worker_that_is_told_to_stop_has_sent_everything() -> None:
    names, code = ran(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as gunicorn's and uvicorn's do
        model.invoke("?", config=config)
        os.write(1, b"ready\\n")
        while True:
            time.sleep(0.1)
        """,
        kill=True,
    )

    assert (names["token"], code) == (3000, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_parent_and_child_of_a_fork_each_send_what_is_theirs() -> None:
    names, code = ran("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        model.invoke("?", config=config)
        child = os.fork()
        if not child:
            model.invoke("?", config=config)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    """)

    assert (names["token"], names["chat scripted-1"], code) == (6000, 2, 0)


def test_an_exporter_that_hangs_holds_up_the_exit_no_longer_than_is_said() -> None:
    names, code = ran("""
        from langchain_logprobs.telemetry import worker
        worker.EXIT_PATIENCE, worker.EXIT_TIMEOUT = 0.3, 3600
        Printing.seconds = 3600
        provider.shutdown = lambda: None  # its own wait is not what is tested
        import atexit; atexit.unregister(provider._atexit_handler)
        model.invoke("?", config=config)
        begun = time.monotonic()
        atexit.register(lambda: os.write(1, b"exit\\n"))
    """)

    assert (names["token"], code) == (0, 0)
