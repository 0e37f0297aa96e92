"""An OTLP/HTTP receiver that counts what arrives, and tells it: `GET /counts`, `GET /reset`.

    python -m benchmarks.receiver --port 0

Spans are counted by the `service.name` of who sent them. It takes any path, so that Langfuse's
client can be pointed at it, too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import threading
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

COUNTED: defaultdict[str, Counter[str]] = defaultdict(Counter)
_LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Counts requests, bytes on the wire, bytes unpacked, and spans by name."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Counts what is sent."""
        wire = self.rfile.read(int(self.headers["Content-Length"]))
        raw = gzip.decompress(wire) if self.headers.get("Content-Encoding") == "gzip" else wire
        with _LOCK:
            for who, names in _sent(self.path, raw):
                COUNTED[who].update(names)
                COUNTED[who].update({"requests": 1, "wire bytes": len(wire), "bytes": len(raw)})
        self._answer(b"")

    def do_GET(self) -> None:
        """Tells the counts; `/reset` then forgets them."""
        with _LOCK:
            told = json.dumps(COUNTED).encode()
            if self.path == "/reset":
                COUNTED.clear()
        self._answer(told)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _sent(path: str, raw: bytes) -> list[tuple[str, Counter[str]]]:
    """Who sent it, and the names of what they sent."""
    if path.endswith("/traces"):
        traces = ExportTraceServiceRequest.FromString(raw)
        return [
            (
                _service(of),
                Counter(f"span {span.name}" for at in of.scope_spans for span in at.spans),
            )
            for of in traces.resource_spans
        ]
    if path.endswith("/metrics"):
        metrics = ExportMetricsServiceRequest.FromString(raw)
        return [
            (_service(of), Counter(metrics=sum(len(at.metrics) for at in of.scope_metrics)))
            for of in metrics.resource_metrics
        ]
    return []


def _service(of: object) -> str:
    attributes = of.resource.attributes  # type: ignore[attr-defined]
    return next((at.value.string_value for at in attributes if at.key == "service.name"), "")


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
