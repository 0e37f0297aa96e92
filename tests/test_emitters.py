"""A call's confidence in the words of other back ends, through their own clients."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import langsmith
import pytest
from conftest import Observed, wait_until
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import LangChainTracer
from langsmith import Client, tracing_context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from langchain_logprobs import LogprobsCallbackHandler
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
    multipart: list[tuple[bytes, bytes]] = field(default_factory=list)

    def spans(self) -> list[Any]:
        """Every span that came by OTLP."""
        messages = [
            ExportTraceServiceRequest.FromString(body)
            for path, body in self.bodies
            if path.endswith("/v1/traces")
        ]
        return [
            span
            for message in messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def scores(self) -> list[Any]:
        """Langfuse's scores, in order."""
        bodies = [json.loads(body) for path, body in self.bodies if path.endswith("/scores")]
        return [score for body in bodies for score in body]

    def parts(self, name: str) -> list[Any]:
        """The JSON parts of multipart bodies whose name begins so, and has only one dot."""
        return [
            json.loads(part.get_payload())
            for content_type, body in self.multipart
            for part in message_from_bytes(b"Content-Type: %b\n\n%b" % (content_type, body)).walk()
            if (of := str(part.get_param("name", header="Content-Disposition"))).startswith(name)
            and of.count(".") == 1
        ]


def _unzstd(body: bytes) -> bytes:
    from zstandard import ZstdDecompressor  # noqa: PLC0415

    return ZstdDecompressor().decompressobj().decompress(body)


DECODERS = {"gzip": gzip.decompress, "zstd": _unzstd}


@contextmanager
def accepting() -> Iterator[Posted]:
    """A server that takes whatever it is sent."""
    posted = Posted()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            encoding = self.headers.get("Content-Encoding", "")
            body = DECODERS.get(encoding, bytes)(self._body())
            posted.bodies.append((self.path, body))
            content_type = self.headers.get("Content-Type", "")
            if content_type.startswith("multipart/"):
                posted.multipart.append((content_type.encode(), body))
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


def until_posted(posted: Posted, name: str) -> None:
    """Waits for a part of that name."""
    wait_until(lambda: posted.parts(name))


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


@contextmanager
def langfuse_at(url: str, provider: TracerProvider) -> Iterator[tuple[Any, str]]:
    """A real client of Langfuse, and its public key, by which Langfuse finds it again."""
    from langfuse import Langfuse  # noqa: PLC0415

    key = f"pk-lf-{uuid4()}"
    client = Langfuse(public_key=key, secret_key="none", base_url=url, tracer_provider=provider)
    yield client, key
    client.flush()
    client.shutdown()


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_langfuse_gets_a_numeric_score_on_its_observation_of_the_call(
    observed: Observed, first: str
) -> None:
    from langfuse.langchain import CallbackHandler  # noqa: PLC0415

    with accepting() as posted, langfuse_at(posted.url, observed.tracer_provider) as (client, key):
        handler = observed.handler(emitters=[langfuse_scores(client)])
        MODEL.invoke("", {"callbacks": [handler]})  # from here on, spans are watched
        handlers = [handler, CallbackHandler(public_key=key)]
        chain = MODEL | StrOutputParser()
        chain.invoke("", {"callbacks": handlers if first == "ours" else handlers[::-1]})
        assert handler.flush()

    (generation,) = (of for of in posted.spans() if of.name == "ScriptedChatModel")
    kind = {of.key: of.value.string_value for of in generation.attributes}
    assert kind["langfuse.observation.type"] == "generation"
    score = posted.scores()[-1]
    assert score["observationId"] == generation.span_id.hex()
    assert score["traceId"] == generation.trace_id.hex()
    assert score["value"] == CONFIDENCE
    assert score["name"] == "logprob.confidence"
    assert score["dataType"] == "NUMERIC"
    assert score["comment"] == "ok"


def test_langfuse_scores_our_own_span_where_it_traces_no_call_itself(observed: Observed) -> None:
    with accepting() as posted, langfuse_at(posted.url, TracerProvider()) as (client, _):
        handler = observed.handler(emitters=[langfuse_scores(client)])
        MODEL.invoke("", {"callbacks": [handler]})

    (llm,) = observed.spans("chat")
    (score,) = posted.scores()
    assert score["value"] == CONFIDENCE
    assert score["traceId"] == f"{llm.context.trace_id:032x}"
    assert score["observationId"] == f"{llm.context.span_id:016x}"


def test_langfuse_gets_no_score_of_what_is_not_sampled(unsampled: Observed) -> None:
    class NoClient:
        def create_score(self, **_: Any) -> None:
            raise AssertionError

    handler = unsampled.handler(emitters=[langfuse_scores(NoClient())])

    MODEL.invoke("", {"callbacks": [handler]})

    assert handler.is_idle()


def test_langsmith_gets_feedback_on_its_own_run_of_the_call(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accepting() as posted:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", posted.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "none")
        client = Client(api_url=posted.url, api_key="none")
        tracer = LangChainTracer(client=client, project_name="quiz")
        handler = observed.handler(emitters=[langsmith_feedback(client, session_id=PROJECT)])
        (MODEL | StrOutputParser()).invoke("", {"callbacks": [tracer, handler]})
        client.flush()
        client.close()

    runs = posted.parts("post.")
    (call,) = (of for of in runs if of["run_type"] == "llm")
    (root,) = (of for of in runs if of.get("parent_run_id") is None)
    (feedback,) = posted.parts("feedback.")
    assert feedback["run_id"] == call["id"]
    assert feedback["trace_id"] == call["trace_id"] == root["id"] != call["id"]
    assert feedback["key"] == "logprob.confidence"
    assert feedback["session_id"] == str(PROJECT)
    assert feedback["score"] == 0.7408  # LangSmith's client rounds
    assert feedback["value"] == "ok"


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("traceable", [False, True])
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_feedback_is_in_the_trace_that_langsmith_has_the_call_in(
    monkeypatch: pytest.MonkeyPatch, way: str, *, inner: bool, traceable: bool
) -> None:
    """Which may begin in a function around LangChain, or in a chain that our handler is not in."""
    with accepting() as posted:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", posted.url)
        client = Client(api_url=posted.url, api_key="none")
        emitters = [langsmith_feedback(client, session_id=PROJECT)]
        handler = LogprobsCallbackHandler(sinks=[], emitters=emitters, raise_errors=True)
        model = MODEL.model_copy(update={"callbacks": [handler]}) if inner else MODEL
        chain: Any = RunnableLambda(str) | model | StrOutputParser()
        config: Any = {"callbacks": [] if inner else [handler]}

        def call() -> None:
            match way:
                case "invoke":
                    chain.invoke("", config)
                case "stream":
                    list(chain.stream("", config))
                case "ainvoke":
                    asyncio.run(chain.ainvoke("", config))
                case _:
                    asyncio.run(read(chain.astream("", config)))

        with tracing_context(client=client, enabled=True):
            langsmith.traceable(call)() if traceable else call()
        client.flush()
        client.close()

    (called,) = (of for of in posted.parts("post.") if of["run_type"] == "llm")
    (feedback,) = posted.parts("feedback.")
    assert feedback["run_id"] == called["id"]
    assert feedback["trace_id"] == called["trace_id"] != called["id"]


def test_without_a_client_langsmith_is_found_by_its_environment(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accepting() as posted:
        monkeypatch.setenv("LANGSMITH_ENDPOINT", posted.url)
        monkeypatch.setenv("LANGSMITH_API_KEY", "none")
        emit = langsmith_feedback(session_id=PROJECT)
        handler = observed.handler(emitters=[emit], keep=1)
        MODEL.invoke("", {"callbacks": [handler]})
        until_posted(posted, "feedback.")

    (feedback,) = posted.parts("feedback.")
    assert handler.last is not None
    assert feedback["run_id"] == str(handler.last.call.run_id)
