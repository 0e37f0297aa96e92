"""Phoenix and Tempo, started here with an empty store, and how many bytes that store takes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

PATIENCE = 600.0
"""Seconds for a back end to be up, or for spans to be stored."""
_TEMPO = """
server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, log_level: warn,
  grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
distributor: {{receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}}}
live_store: {{flush_check_period: 1s, max_trace_idle: 1s, max_block_duration: 20s}}
storage:
  trace: {{backend: local, wal: {{path: {folder}/wal}}, local: {{path: {folder}/blocks}}}}
usage_report: {{reporting_enabled: false}}
"""

Store = tuple[OTLPSpanExporter, Callable[[int, int], int]]
"""Where spans go, and the bytes stored once so many spans of so many calls are."""


@contextmanager
def phoenix(program: str, folder: Path) -> Iterator[Store]:
    """A Phoenix on SQLite."""
    port, file = free_port(), folder / "phoenix.db"
    environment = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    address = f"http://127.0.0.1:{port}"

    def stored(spans: int, calls: int) -> int:
        del calls
        with closing(sqlite3.connect(file, timeout=60)) as database:
            wait_for(lambda: _first(database, "SELECT count(*) FROM spans") >= spans)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return _first(database, "PRAGMA page_count") * _first(database, "PRAGMA page_size")

    with _serving([program, "serve"], environment, f"{address}/healthz", folder):
        yield _exporter(address), stored


@contextmanager
def tempo(program: str, folder: Path) -> Iterator[Store]:
    """A Tempo in one process, with local blocks."""
    port, otlp = free_port(), free_port()
    (folder / "tempo.yaml").write_text(
        _TEMPO.format(port=port, grpc=free_port(), otlp=otlp, folder=folder)
    )

    def stored(spans: int, calls: int) -> int:
        del spans
        wait_for(lambda: _traces(folder) >= calls)
        return _size(folder)

    command = [program, "-target=all", f"-config.file={folder / 'tempo.yaml'}"]
    with _serving(command, {}, f"http://127.0.0.1:{port}/ready", folder):
        yield _exporter(f"http://127.0.0.1:{otlp}"), stored


def spans_of(folder: Path, trace_id: int) -> int:
    """How many spans of a trace the Tempo in this folder gives back."""
    port = re.findall(r"http_listen_port: (\d+)", (folder / "tempo.yaml").read_text())[0]
    asked = Request(
        f"http://127.0.0.1:{port}/api/v2/traces/{trace_id:032x}",
        headers={"Accept": "application/json"},
    )
    with urlopen(asked, timeout=60) as response:
        batches = json.load(response)["trace"]["resourceSpans"]
    return sum(len(of["spans"]) for batch in batches for of in batch["scopeSpans"])


def _exporter(address: str) -> OTLPSpanExporter:
    return OTLPSpanExporter(f"{address}/v1/traces", compression=Compression.Gzip, timeout=PATIENCE)


def _first(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchone()[0])


def _blocks(folder: Path) -> list[Path]:
    """The folders of the blocks that are complete."""
    return [meta.parent for meta in folder.rglob("meta.json") if "wal" not in meta.parts]


def _traces(folder: Path) -> int:
    metas = [json.loads((block / "meta.json").read_text()) for block in _blocks(folder)]
    return sum(meta.get("totalObjects", 0) for meta in metas)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for block in _blocks(folder) for file in block.iterdir())


@contextmanager
def _serving(
    command: Sequence[str], environment: Mapping[str, str], health: str, folder: Path
) -> Iterator[None]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: _answers(health))
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def wait_for(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Waits until it holds.

    Raises:
        TimeoutError: It does not, for so many seconds.
    """
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=5) as response:
        return bool(response.status == 200)
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
