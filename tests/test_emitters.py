"""A call's confidence in the words of other back ends, through their own clients."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from conftest import Observed
from langsmith import Client
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from langchain_logprobs.emitters.evaluation import evaluation_events
from langchain_logprobs.emitters.langfuse import langfuse_scores
from langchain_logprobs.emitters.langsmith import langsmith_feedback
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer

MODEL = ScriptedChatModel(answers=[answer(("Syd", -0.5), ("ney", -0.1))])
PROJECT = UUID(int=7)
CONFIDENCE = pytest.approx(0.740818, abs=1e-6)  # exp(-0.6 / 2)


@dataclass
class Posted:
    """What a loopback server was posted."""

    url: str = ""
    bodies: list[tuple[str, bytes]] = field(default_factory=list)

    def all(self) -> bytes:
        """Every body, one after another."""
        return b"\n".join(body for _, body in self.bodies)


@contextmanager
def accepting() -> Iterator[Posted]:
    """A server that takes whatever it is sent."""
    posted = Posted()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self._body()
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "zstd":
                    body = _unzstd(body)
            posted.bodies.append((self.path, body))
            self._say({}, 202)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            return body

        def do_GET(self) -> None:
            limits = {"size_limit": 100, "size_limit_bytes": 2**20, "scale_up_qsize_trigger": 1000}
            limits |= {"scale_up_nthreads_limit": 1, "scale_down_nempty_trigger": 4}
            batches = {"use_multipart_endpoint": True, **limits}
            self._say({"version": "0.12.0", "batch_ingest_config": batches})

        def _say(self, body: object, status: int = 200) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    posted.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _unzstd(body: bytes) -> bytes:
    from zstandard import ZstdDecompressor  # noqa: PLC0415

    return ZstdDecompressor().decompressobj().decompress(body)


def a_logger_provider() -> tuple[LoggerProvider, InMemoryLogRecordExporter]:
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider, exporter


def test_an_evaluation_event_carries_the_score_under_the_llm_span(observed: Observed) -> None:
    provider, exporter = a_logger_provider()
    handler = observed.handler(emitters=[evaluation_events(provider)])

    MODEL.invoke("", {"callbacks": [handler]})

    provider.shutdown()
    (record,) = (of.log_record for of in exporter.get_finished_logs())
    (llm,) = observed.spans("chat")
    assert record.event_name == "gen_ai.evaluation.result"
    assert (record.trace_id, record.span_id) == (llm.context.trace_id, llm.context.span_id)
    assert record.severity_text is None
    assert record.attributes == {
        "gen_ai.evaluation.name": "logprob.confidence",
        "gen_ai.evaluation.score.value": CONFIDENCE,
        "gen_ai.evaluation.score.label": "ok",
    }


def test_what_is_low_says_so_and_what_has_no_confidence_says_nothing(observed: Observed) -> None:
    provider, exporter = a_logger_provider()
    handler = observed.handler(emitters=[evaluation_events(provider)], low_response=0.9)

    MODEL.invoke("", {"callbacks": [handler]})
    ScriptedChatModel(answers=MODEL.answers, logprobs=False).invoke("", {"callbacks": [handler]})

    provider.shutdown()
    (record,) = (of.log_record for of in exporter.get_finished_logs())
    assert (record.attributes or {})["gen_ai.evaluation.score.label"] == "low"


def test_without_an_llm_span_the_event_stands_alone() -> None:
    from langchain_logprobs import LogprobsCallbackHandler  # noqa: PLC0415

    provider, exporter = a_logger_provider()
    handler = LogprobsCallbackHandler(
        sinks=[CollectingSink()], emitters=[evaluation_events(provider)], raise_errors=True
    )

    MODEL.invoke("", {"callbacks": [handler]})

    provider.shutdown()
    (record,) = (of.log_record for of in exporter.get_finished_logs())
    assert not record.span_id


def test_an_emitter_that_fails_takes_nothing_else_with_it(observed: Observed) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such back end")

    provider, exporter = a_logger_provider()
    emitters = [fail, evaluation_events(provider)]
    handler = observed.handler(emitters=emitters, raise_errors=False, keep=1)

    MODEL.invoke("", {"callbacks": [handler]})

    provider.shutdown()
    handler.flush()
    assert len(exporter.get_finished_logs()) == 1
    assert len(observed.spans("token")) == 2
    assert observed.total("langchain_logprobs.errors", where="sink") == 1


def test_langfuse_gets_a_numeric_score_on_the_observation(observed: Observed) -> None:
    from langfuse import Langfuse  # noqa: PLC0415

    with accepting() as posted:
        client = Langfuse(
            public_key="pk-lf-none",
            secret_key="sk-lf-none",
            base_url=posted.url,
            tracer_provider=TracerProvider(),
        )
        handler = observed.handler(emitters=[langfuse_scores(client)], keep=1)
        MODEL.invoke("", {"callbacks": [handler]})
        client.flush()
        client.shutdown()

    (llm,) = observed.spans("chat")
    (scores,) = (json.loads(body) for path, body in posted.bodies if path.endswith("/scores"))
    (score,) = scores
    assert score["value"] == CONFIDENCE
    assert score["name"] == "logprob.confidence"
    assert score["dataType"] == "NUMERIC"
    assert score["comment"] == "ok"
    assert score["traceId"] == f"{llm.context.trace_id:032x}"
    assert score["observationId"] == f"{llm.context.span_id:016x}"


def test_langfuse_gets_no_score_of_what_is_not_sampled(unsampled: Observed) -> None:
    class NoClient:
        def create_score(self, **_: Any) -> None:
            raise AssertionError

    handler = unsampled.handler(emitters=[langfuse_scores(NoClient())])

    MODEL.invoke("", {"callbacks": [handler]})

    assert handler.is_idle()


def test_langsmith_gets_feedback_on_the_run(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accepting() as posted:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", posted.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "none")
        client = Client(api_url=posted.url, api_key="none")
        handler = observed.handler(
            emitters=[langsmith_feedback(client, session_id=PROJECT)], keep=1
        )
        MODEL.invoke("", {"callbacks": [handler]})
        client.flush()
        client.close()

    assert handler.last is not None
    run_id = str(handler.last.call.run_id)
    body = posted.all()
    assert body.count(b'"key":"logprob.confidence"') == 1
    start = body.index(b'{"', max(0, body.index(b'"key":"logprob.confidence"') - 400))
    feedback, _ = json.JSONDecoder().raw_decode(body[start:].decode())
    assert feedback["run_id"] == feedback["trace_id"] == run_id
    assert feedback["session_id"] == str(PROJECT)
    assert feedback["score"] == 0.7408  # LangSmith's client rounds
    assert feedback["value"] == "ok"
