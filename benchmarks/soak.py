"""A million tokens over 10,000 calls in one process: does memory stay flat?

    python -m benchmarks.soak --calls 10000 --tokens 100

It fails if memory grew by more than a twentieth after the first tenth of the calls.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
from pathlib import Path

from langchain_core.callbacks import CallbackManager
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.contestants import Discarding
from benchmarks.payloads import chunks
from benchmarks.rounds import RESULTS, Table, progress, write
from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry.worker import SHARED

MOST_GROWTH = 1.05


def main() -> None:
    """Runs the calls, and fails if memory grew after the first tenth of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=100, help="a call")
    parser.add_argument("--json", type=Path, default=RESULTS / "soak.json")
    options = parser.parse_args()
    rows = soaked(options.calls, options.tokens)
    table = Table(f"{options.calls} calls of {options.tokens} tokens", rows)
    table.print()
    write(options.json, [table])
    first, last = (float(str(rows[at]["resident MiB"])) for at in (0, -1))
    if last > first * MOST_GROWTH:
        sys.exit(f"Memory grew from {first} to {last} MiB.")


def soaked(calls: int, tokens: int) -> list[dict[str, object]]:
    """The memory after each tenth of the calls."""
    exporter, provider = Discarding(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    meters = MeterProvider([InMemoryMetricReader()])
    stream = chunks(tokens, 5)
    rows: list[dict[str, object]] = []
    for tenth in range(10):
        for call in range(calls // 10):
            if not call % 50:
                progress(f"{tenth * calls // 10 + call} of {calls} calls")
            # A handler for every call, as web applications make them.
            handler = LogprobsCallbackHandler(tracer_provider=provider, meter_provider=meters)
            (run,) = CallbackManager.configure([handler]).on_chat_model_start({}, [[]])
            for chunk in stream:
                run.on_llm_new_token(chunk.text, chunk=chunk)
            run.on_llm_end(None)  # type: ignore[arg-type]
            if call % 50 == 49:
                SHARED.flush(60)
        SHARED.flush(60)
        gc.collect()
        rows.append(
            {
                "calls": (tenth + 1) * calls // 10,
                "spans": exporter.spans,
                "resident MiB": round(_resident() / 2**20, 1),
                "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1),
            }
        )
    progress("")
    return rows


def compared(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows, the last of them with how many times the memory of the first it has."""
    first, last = (float(str(rows[at]["resident MiB"])) for at in (0, -1))
    named = [{"who": f"{row['calls']} calls", **row} for row in rows[:-1]]
    return [*named, {"who": "last", **rows[-1], "x first": round(last / first, 3)}]


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
