"""What a call takes in real back ends' stores, by setting: Phoenix, ClickHouse, Tempo.

    make storage                        # Phoenix and ClickHouse
    make storage TEMPO=/path/to/tempo   # Tempo's own program, too

Every back end is the real one, started here, on loopback, with an empty store in a temporary folder
for each setting; ClickHouse runs inside of Python (`chdb`) with the table of the OpenTelemetry
collector's exporter. Every call has an answer of its own, so that no store can share what they say.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks import backends, clickhouse
from benchmarks.contestants import provider_of
from benchmarks.payloads import chunks
from benchmarks.rounds import RESULTS, Table, progress, write
from benchmarks.sent import SETTINGS, call
from langchain_logprobs import LogprobsCallbackHandler

TOKENS = 1000
"""Of each call."""
COMPARED = ("default", "all, content", "low", "none", "none, content", "none, no arrays")
_EVERY_TOKEN = ("default", "all, content")

Stored = Callable[[int, int], int]
"""The bytes of a store, once so many spans of so many calls are in it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A store, and how many calls to put into it.

    Attributes:
        name: Of the back end.
        storing: Starts it with an empty store in a folder; where spans go, and what is stored.
        calls: With a span for every token.
        calls_without: With next to none.
    """

    name: str
    storing: Callable[[Path], AbstractContextManager[tuple[SpanExporter, Stored]]]
    calls: int
    calls_without: int


class Counting(SpanExporter):
    """Hands on, and counts."""

    def __init__(self, to: SpanExporter) -> None:
        self.spans = 0
        self._to = to

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hands them on."""
        self.spans += len(spans)
        return self._to.export(spans)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--phoenix", default="", help="the program; left out without")
    parser.add_argument("--tempo", default="", help="the program; left out without")
    parser.add_argument("--json", type=Path, default=RESULTS / "storage.json")
    options = parser.parse_args()
    rows = [
        {"backend": backend.name, **row}
        for backend in _started(options.phoenix, options.tempo)
        for row in measured(backend)
    ]
    table = Table(f"bytes stored by a call of {TOKENS} tokens", rows, heading="backend")
    tables = [table]
    if options.tempo:
        tables.append(Table("one trace in Tempo", list(in_one_trace(options.tempo))))
    progress("")
    for of in tables:
        of.print()
    write(options.json, tables)


def _started(phoenix: str, tempo: str) -> Iterator[Backend]:
    """Those that can be started here."""
    yield Backend("ClickHouse", clickhouse.storing, 50, 200)
    if tempo:
        yield Backend("Tempo", partial(backends.tempo, tempo), 50, 200)
    if phoenix:
        yield Backend("Phoenix", partial(backends.phoenix, phoenix), 5, 50)


def measured(backend: Backend) -> Iterator[dict[str, object]]:
    """What it stores, by setting."""
    for name in COMPARED:
        progress(f"{backend.name}: {name}")
        calls = backend.calls if name in _EVERY_TOKEN else backend.calls_without
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            backend.storing(Path(folder)) as (exporter, stored),
        ):
            empty, begun = stored(0, 0), time.monotonic()
            spans = _send(exporter, SETTINGS[name], calls)
            full, seconds = stored(spans, calls), time.monotonic() - begun
        yield {
            "who": name,
            "calls": calls,
            "spans a call": round(spans / calls, 1),
            "bytes a call": round((full - empty) / calls),
            "spans stored a second": round(spans / seconds),
        }


def in_one_trace(tempo: str) -> Iterator[dict[str, object]]:
    """How many of the spans of twelve calls in one trace a Tempo keeps."""
    for name in ("default", "low", "none"):
        progress(f"Tempo, one trace: {name}")
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            backends.tempo(tempo, Path(folder)) as (exporter, _),
        ):
            counted = Counting(exporter)
            provider = provider_of("storage", counted)
            handler = LogprobsCallbackHandler(tracer_provider=provider, **SETTINGS[name])
            tracer = provider.get_tracer("application")
            with tracer.start_as_current_span("request") as request:
                for at in range(12):
                    call(handler, chunks(TOKENS, 5, seed=at))
                handler.flush(300)
            provider.shutdown()
            time.sleep(5)  # a trace is looked for in blocks once it has been silent for a while
            kept = backends.spans_of(Path(folder), request.get_span_context().trace_id)
        yield {"who": name, "calls": 12, "spans sent": counted.spans, "spans kept": kept}


def _send(exporter: SpanExporter, settings: Mapping[str, Any], calls: int) -> int:
    """Makes calls, each with an answer of its own; how many spans that made."""
    counted = Counting(exporter)
    provider = provider_of("storage", counted)
    handler = LogprobsCallbackHandler(tracer_provider=provider, **settings)
    for at in range(calls):
        call(handler, chunks(TOKENS, 5, seed=at))
        handler.flush(300)
    provider.shutdown()
    return counted.spans


if __name__ == "__main__":
    main()
