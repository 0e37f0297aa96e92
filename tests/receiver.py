"""An OTLP/HTTP receiver on loopback that parses what it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: dict[str, type[Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@dataclass
class Received:
    """What arrived: the raw bodies, the messages in them, and the headers before them."""

    endpoint: str = ""
    delay: float = 0.0
    bodies: list[bytes] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self, name: str = "") -> list[Any]:
        """Every span whose name begins so."""
        return [
            span
            for message in tuple(self.messages)
            for resource in getattr(message, "resource_spans", ())
            for scope in resource.scope_spans
            for span in scope.spans
            if span.name.startswith(name)
        ]

    def metrics(self) -> dict[str, Any]:
        """The last state of every metric."""
        return {
            metric.name: metric
            for message in tuple(self.messages)
            for resource in getattr(message, "resource_metrics", ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@contextmanager
def receiving(delay: float = 0.0, port: int = 0) -> Iterator[Received]:
    """A receiver that takes `delay` seconds for each request, until the context ends."""
    received = Received(delay=delay)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            message = next(of for path, of in REQUESTS.items() if self.path.endswith(path))()
            message.ParseFromString(body)
            time.sleep(received.delay)
            received.headers.append({name.lower(): of for name, of in self.headers.items()})
            received.bodies.append(body)
            received.messages.append(message)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    received.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def attributes(message: Any) -> dict[str, Any]:
    """The attributes of a span or a data point, as Python values."""
    return {of.key: _value(of.value) for of in message.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(of) for of in value.array_value.values]
    return None if kind is None else getattr(value, kind)
