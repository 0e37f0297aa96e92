"""What is lost on the way: token spans at full speed, and the application's own beside them.

    python -m benchmarks.delivery --tokens 100000 --milliseconds 100

Everything goes through the default `BatchSpanProcessor` into an exporter that takes that long a
batch. The application starts a span of its own every 10 ms meanwhile.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from langchain_core.callbacks import CallbackManager
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.contestants import SpanInCallback
from benchmarks.payloads import chunks
from benchmarks.rounds import RESULTS, Table, progress, write
from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry.worker import SHARED

WHO = ("ours", "span in callback")


class Slow(SpanExporter):
    """An exporter that takes its time, and counts spans by name."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.names: Counter[str] = Counter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Waits, then counts."""
        time.sleep(self.seconds)
        self.names.update(span.name for span in spans)
        return SpanExportResult.SUCCESS


class Application:
    """Starts a span of its own every 10 ms, in a thread of its own."""

    def __init__(self, provider: TracerProvider) -> None:
        self.started = 0
        self._tracer = provider.get_tracer("application")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Waits until it has stopped."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(0.01):
            self._tracer.start_span("work").end()
            self.started += 1


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=100, help="they share the tokens")
    parser.add_argument("--milliseconds", type=float, default=100.0, help="of a batch's export")
    parser.add_argument("--json", type=Path, default=RESULTS / "delivery.json")
    options = parser.parse_args()
    rows = [
        delivered(who, options.tokens, options.calls, options.milliseconds / 1e3) for who in WHO
    ]
    title = f"{options.tokens} tokens at full speed, {options.milliseconds:.0f} ms a batch"
    table = Table(title, rows)
    table.print()
    write(options.json, [table])


def delivered(who: str, tokens: int, calls: int, seconds: float) -> dict[str, object]:
    """What arrives of it, and how long that takes."""
    exporter, provider = Slow(seconds), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    ours = LogprobsCallbackHandler(
        tracer_provider=provider, max_token_spans=None, max_pending_spans=max(tokens, 100_000)
    )
    handler = ours if who == "ours" else SpanInCallback(provider)
    stream = chunks(tokens // calls, 5)
    application = Application(provider)
    started = time.monotonic()
    for call in range(calls):
        progress(f"{who}: call {call + 1} of {calls}")
        (run,) = CallbackManager.configure([handler]).on_chat_model_start({}, [[]])
        for chunk in stream:
            run.on_llm_new_token(chunk.text, chunk=chunk)
        run.on_llm_end(None)  # type: ignore[arg-type]
    streamed = time.monotonic()
    progress(f"{who}: waiting for the exporter")
    SHARED.flush(600)
    sent_in = time.monotonic() - started
    application.stop()
    provider.shutdown()
    progress("")
    sent = calls * len(stream)
    return {
        "who": who,
        "token spans": sent,
        "lost": sent - exporter.names["token"],
        "application's spans": application.started,
        "evicted": application.started - exporter.names["work"],
        "streamed in s": round(streamed - started, 2),
        "handed over in s": round(sent_in, 2),
    }


if __name__ == "__main__":
    main()
