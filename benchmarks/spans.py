"""What a token span costs, from the callback to the wire: CPU time of the whole process.

    python -m benchmarks.spans --tokens 1000 --candidates 5 --rounds 7

Every contestant is driven through a callback manager with the same answer, and waits until it has
arrived: by OTLP over HTTP at a receiver in a process of its own, or at an exporter that forgets it.
`process us` is CPU time of all threads, a token; `added us` what is more than without the spans
(`token_spans="none"` for ours, a callback that does nothing for a span in the callback).
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.request import urlopen

from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.outputs import ChatGenerationChunk
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as standard
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Standard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.contestants import Discarding, Empty, SpanInCallback
from benchmarks.payloads import chunks, ended
from benchmarks.rounds import RESULTS, Figures, Median, Table, interleaved, ratio, write
from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.exporters.encoding import encode as quick
from langchain_logprobs.exporters.http import OTLPSpanExporter as Quick
from langchain_logprobs.telemetry import direct

_ASKED = {"logprobs": True, "top_logprobs": 5, "model_name": "benchmark"}
_NAIVE = "span in callback"
Provider = Callable[[SpanExporter], TracerProvider]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who takes part: a callback, how it is waited for, and what is different meanwhile."""

    handler: BaseCallbackHandler
    finish: Callable[[], object]
    without: str
    spans: bool = True
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "spans.json")
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive()
        return
    stream = chunks(options.tokens, options.candidates)
    told = f"{options.tokens} tokens of {options.candidates} candidates"
    with receiving() as address:
        endpoint = f"{address}/v1/traces"
        taking_part = contestants(partial(Standard, endpoint), partial(Quick, endpoint))
        before = _received(address)
        exported = table(f"by OTLP over HTTP, {told}", taking_part, stream, options.rounds)
        calls = (options.rounds + 1) * sum(of.spans for of in taking_part.values())
        arrived = _received(address) - before
    tables = [
        exported,
        table(f"forgotten, {told}", contestants(Discarding, None), stream, options.rounds),
        pieces(stream, options.rounds),
    ]
    for of in tables:
        of.print()
    print(f"\nToken spans sent: {calls * len(stream)}, arrived: {arrived}")
    write(options.json, tables)


def contestants(
    exporter: Callable[[], SpanExporter], own: Callable[[], SpanExporter] | None
) -> dict[str, Contestant]:
    """Everybody, each with a provider and a default `BatchSpanProcessor` of its own.

    Args:
        exporter: Makes the exporter that everybody has.
        own: Makes that of this package, for those that have it.
    """
    found = {
        "nothing": Contestant(Empty(), lambda: None, "nothing", spans=False),
        "ours, no spans": _ours(exporter(), spans=False, token_spans="none"),
        "ours": _ours(exporter()),
        "ours, content": _ours(exporter(), capture_content=True),
        "ours, started and ended": _ours(exporter(), around=_all_started),
        _NAIVE: _naive(exporter()),
    }
    if own is not None:
        found["ours, own exporter"] = _ours(own())
        found["ours, content, own exporter"] = _ours(own(), capture_content=True)
    return found


def table(
    title: str, taking_part: Mapping[str, Contestant], stream: Sequence[Any], rounds: int
) -> Table:
    """Everybody side by side."""
    measures = {name: partial(measure, of, stream) for name, of in taking_part.items()}
    found = interleaved(measures, rounds=rounds, label=title)
    added = {name: _added(found, name, of.without) for name, of in taking_part.items()}
    rows: list[dict[str, object]] = [
        {
            "who": name,
            "process us": found[name]["process"],
            "added us": added[name],
            f"process / {_NAIVE}": ratio(found[name], found[_NAIVE], "process"),
            f"added / {_NAIVE}": added[name] / added[_NAIVE],
        }
        for name in taking_part
    ]
    return Table(title, rows)


def measure(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> Figures:
    """The CPU time of one answer, until everything has arrived."""
    manager = CallbackManager.configure([of.handler])
    whole = ended(stream)
    gc.collect()
    with of.around():
        started = time.process_time()
        (run,) = manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
        for chunk in stream:
            run.on_llm_new_token(chunk.text, chunk=chunk)
        run.on_llm_end(whole)
        of.finish()
        return {"process": (time.process_time() - started) / len(stream) * 1e6}


def pieces(stream: Sequence[ChatGenerationChunk], rounds: int) -> Table:
    """What the parts of a token span's way cost, each on its own."""
    finished = {
        name: _finished(stream, content=content)
        for name, content in (("numbers", False), ("content", True))
    }
    encoders = {"the SDK's encoder": standard, "our encoder": quick}
    measures = {
        f"{encoder}, {name}": partial(_encoded, encode, spans)
        for encoder, encode in encoders.items()
        for name, spans in finished.items()
    }
    found = interleaved(measures, rounds=rounds, label="pieces")
    return Table("encoding alone", [{"what": name, **of} for name, of in found.items()])


def _encoded(encode: Callable[[Sequence[ReadableSpan]], Any], spans: list[ReadableSpan]) -> Figures:
    spans = list(map(copy, spans))  # an encoder must not find what another has looked at
    started = time.process_time()
    data = [
        encode(spans[at : at + 512]).SerializePartialToString() for at in range(0, len(spans), 512)
    ]
    seconds = time.process_time() - started
    return {
        "us a span": seconds / len(spans) * 1e6,
        "bytes a span": sum(map(len, data)) / len(spans),
    }


def _finished(stream: Sequence[ChatGenerationChunk], *, content: bool) -> list[ReadableSpan]:
    """The finished token spans of an answer."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = LogprobsCallbackHandler(
        tracer_provider=provider, max_token_spans=None, capture_content=content
    )
    measure(Contestant(handler, handler.flush, ""), stream)
    return list(exporter.get_finished_spans())


def _ours(
    exporter: SpanExporter,
    *,
    spans: bool = True,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
    **settings: Any,
) -> Contestant:
    provider = _provider(exporter)
    handler = LogprobsCallbackHandler(tracer_provider=provider, max_token_spans=None, **settings)
    return Contestant(handler, handler.flush, "ours, no spans", spans, around)


def _naive(exporter: SpanExporter) -> Contestant:
    provider = _provider(exporter)
    return Contestant(SpanInCallback(provider), provider.force_flush, "nothing")


def _provider(exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _all_started() -> AbstractContextManager[object]:
    """Has every token span started and ended, as where something would notice otherwise."""
    return patch.object(direct, "like", lambda *_: None)


def _added(found: Mapping[str, Mapping[str, Median]], name: str, without: str) -> float:
    return found[name]["process"].median - found[without]["process"].median


@contextmanager
def receiving() -> Iterator[str]:
    """The address of a receiver in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.spans", "--receive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def receive() -> None:
    """Takes spans, and tells how many of them were token spans."""
    counted = 0

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal counted
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            scopes = [of for resource in request.resource_spans for of in resource.scope_spans]
            counted += sum(span.name == "token" for scope in scopes for span in scope.spans)
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(json.dumps(counted).encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def _received(address: str) -> int:
    with urlopen(address) as answer:
        return int(json.load(answer))


if __name__ == "__main__":
    main()
