"""What one call sends, by setting: spans, bytes as encoded, and bytes on the wire.

The real OTLP exporters send to a receiver in a process of its own, compressed by gzip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.outputs import ChatGenerationChunk
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from benchmarks.contestants import provider_of
from benchmarks.payloads import chunks
from benchmarks.processes import asked
from benchmarks.rounds import progress
from langchain_logprobs import LogprobsCallbackHandler

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "all, no arrays": {"token_arrays": False},
    "all, content": {"capture_content": True},
    "low": {"token_spans": "low"},
    "low, no arrays": {"token_spans": "low", "token_arrays": False},
    "none": {"token_spans": "none"},
    "none, content": {"token_spans": "none", "capture_content": True},
    "none, no arrays": {"token_spans": "none", "token_arrays": False},
}
"""What a user may set, and what it is called here."""


def rows(
    address: str, tokens: int, candidates: Sequence[int], settings: Sequence[str] = tuple(SETTINGS)
) -> list[dict[str, object]]:
    """What a call of so many tokens sends."""
    told: list[dict[str, object]] = []
    for of in candidates:
        stream = chunks(tokens, of)
        for name in settings:
            progress(f"bytes sent: {name}, {of} candidates")
            told.append({"candidates": of, "who": name, **_sent(address, stream, name)})
    told.append({"candidates": "-", "who": "metrics, each export", **_metrics(address)})
    progress("")
    return told


def _sent(address: str, stream: Sequence[ChatGenerationChunk], name: str) -> dict[str, object]:
    exporter = OTLPSpanExporter(f"{address}/v1/traces", compression=Compression.Gzip)
    provider = provider_of(name, exporter)
    handler = LogprobsCallbackHandler(tracer_provider=provider, **SETTINGS[name])
    call(handler, stream)
    handler.flush()
    provider.shutdown()
    return _received(address, name)


def _metrics(address: str) -> dict[str, object]:
    """What one export of the metrics takes, however many calls there were."""
    exporter = OTLPMetricExporter(f"{address}/v1/metrics", compression=Compression.Gzip)
    meters = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)],
        resource=Resource.create({"service.name": "metrics"}),
    )
    handler = LogprobsCallbackHandler(
        tracer_provider=provider_of("metrics", None), meter_provider=meters, token_spans="none"
    )
    for _ in range(10):
        call(handler, chunks(100, 5))
    meters.shutdown()
    return _received(address, "metrics")


def call(handler: BaseCallbackHandler, stream: Sequence[ChatGenerationChunk]) -> None:
    """One call, as LangChain makes it."""
    (run,) = CallbackManager.configure([handler]).on_chat_model_start(
        {}, [[]], invocation_params={"logprobs": True, "model_name": "benchmark"}
    )
    for chunk in stream:
        run.on_llm_new_token(chunk.text, chunk=chunk)
    run.on_llm_end(None)  # type: ignore[arg-type]


def _received(address: str, name: str) -> dict[str, object]:
    counts = asked(f"{address}/reset")[name]
    spans = sum(count for of, count in counts.items() if of.startswith("span "))
    return {
        "spans": spans,
        "requests": counts["requests"],
        "bytes": counts["bytes"],
        "bytes, gzip": counts["wire bytes"],
    }
