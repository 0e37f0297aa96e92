"""The wire formats served from loopback; a path that none knows is answered with 404, and noted."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wire import Answer, Body, Route


@dataclass(slots=True)
class Server:
    """A server on loopback.

    Attributes:
        url: Where it is.
        unknown: Requests that no route knew.
        asked: The bodies it was sent.
    """

    url: str
    unknown: list[str] = field(default_factory=list)
    asked: list[Body] = field(default_factory=list)


@contextmanager
def serving(routes: Iterable[Route], *, tls: bool = False) -> Iterator[Server]:
    """A server that answers a path by the first route whose text is in it."""
    table = tuple(routes)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            self._answer(json.loads(raw) if raw[:1] == b"{" else {})

        def _answer(self, body: Body) -> None:
            server.asked.append(body)
            make = next((make for part, make in table if part in self.path), None)
            if make is None:
                server.unknown.append(f"{self.command} {self.path}")
                self.send_error(404)
                return
            answer = make(body)
            self.send_response(answer.status)
            self.send_header("content-type", answer.kind)
            self.end_headers()
            for part in _parts(answer):
                self.wfile.write(part.encode())
                self.wfile.flush()

        def log_message(self, *args: Any) -> None:
            del args

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        http.socket = _with_certificate(http.socket)
    server = Server(f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _with_certificate(plain: socket.socket) -> ssl.SSLSocket:
    """The socket under a certificate that signs itself, for a client that insists on TLS."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        options = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ]
        subprocess.run(
            ["openssl", *options, "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context.wrap_socket(plain, server_side=True)


def _parts(answer: Answer) -> Iterator[str]:
    before, between, after, end = answer.around
    for place, document in enumerate(answer.documents):
        text = document if isinstance(document, str) else json.dumps(document)
        yield (between if place else before) + text + after
    yield end
