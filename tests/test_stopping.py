"""What arrives of the calls under way when a real gunicorn or uvicorn is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import PATIENCE
from receiver import receiving

TESTS = Path(__file__).parent
PATIENT = ("--graceful-timeout", "120", "--timeout", "120")
GUNICORN = ("gunicorn", "--no-control-socket", *PATIENT, "--bind")
THREADS = (*GUNICORN, "127.0.0.1:{port}", "--threads", "4", "served:wsgi")
PRELOADED = (*GUNICORN, "127.0.0.1:{port}", "--threads", "4", "--preload", "served:wsgi")
ASGI = (*GUNICORN, "127.0.0.1:{port}", "--worker-class", "asgi", "served:asgi")
UVICORN = ("uvicorn", "--port", "{port}", "served:asgi")
WORKERS = ("uvicorn", "--port", "{port}", "--workers", "2", "served:asgi")
# uvicorn raises the signal again when it has served its last request, and by default that ends a
# process on the spot: no exit handler runs, so the application has to close what it opened.
CLOSES = {"CLOSES": "1"}


@pytest.mark.skipif(sys.platform == "win32", reason="It has no SIGTERM, nor has gunicorn Windows.")
@pytest.mark.parametrize(
    ("command", "environment"),
    [(THREADS, {}), (PRELOADED, {}), (ASGI, {}), (UVICORN, CLOSES), (WORKERS, CLOSES)],
    ids=["gunicorn", "gunicorn, preloaded", "gunicorn, asgi", "uvicorn", "uvicorn, workers"],
)
def test_a_server_that_is_told_to_stop_has_sent_the_call_that_ended_and_the_one_in_flight(
    command: Sequence[str], environment: Mapping[str, str]
) -> None:
    with receiving() as received:
        stop_midway(command, {**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint})

    names = Counter(span.name for span in received.spans())
    assert names == {"token": 3000 + 100, "chat quick": 1, "chat slow": 1}


def stop_midway(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Serves, and is told to stop when a call has just ended and another is half-way."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(port=port) for part in command)],
        cwd=TESTS,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with answered(f"http://127.0.0.1:{port}/slow") as in_flight:
            beginning = in_flight.read(1)
            with answered(f"http://127.0.0.1:{port}/ended") as ended:
                assert ended.read() == b"x"
            process.send_signal(signal.SIGTERM)
            assert len(beginning + in_flight.read()) == 100
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=600)
    assert process.returncode in {0, -signal.SIGTERM}, told


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answered(url: str) -> HTTPResponse:
    """The answer, once somebody listens."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return cast("HTTPResponse", urlopen(url, timeout=PATIENCE))
        except URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
