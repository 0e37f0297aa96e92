"""ClickHouse, inside of Python, with the table that the OpenTelemetry collector's exporter makes.

The columns, codecs and indexes are those of `clickhouseexporter` (collector-contrib) without full
text search; attributes become strings as the collector makes them, arrays as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

_ATTRIBUTES = "Map(LowCardinality(String), String)"
_COLUMNS = {
    "Timestamp": "DateTime64(9) CODEC(Delta(8), ZSTD(1))",
    "TraceId": "String CODEC(ZSTD(1))",
    "SpanId": "String CODEC(ZSTD(1))",
    "ParentSpanId": "String CODEC(ZSTD(1))",
    "TraceState": "String CODEC(ZSTD(1))",
    "SpanName": "LowCardinality(String) CODEC(ZSTD(1))",
    "SpanKind": "LowCardinality(String) CODEC(ZSTD(1))",
    "ServiceName": "LowCardinality(String) CODEC(ZSTD(1))",
    "ResourceAttributes": f"{_ATTRIBUTES} CODEC(ZSTD(1))",
    "ScopeName": "String CODEC(ZSTD(1))",
    "ScopeVersion": "String CODEC(ZSTD(1))",
    "SpanAttributes": f"{_ATTRIBUTES} CODEC(ZSTD(1))",
    "Duration": "UInt64 CODEC(T64, ZSTD(1))",
    "StatusCode": "LowCardinality(String) CODEC(ZSTD(1))",
    "StatusMessage": "String CODEC(ZSTD(1))",
    "Events": f"Nested (Timestamp DateTime64(9), Name LowCardinality(String), "
    f"Attributes {_ATTRIBUTES}) CODEC(ZSTD(1))",
    "Links": f"Nested (TraceId String, SpanId String, TraceState String, "
    f"Attributes {_ATTRIBUTES}) CODEC(ZSTD(1))",
}
_INDEXES = (
    "idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1",
    "idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
    "idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
    "idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
    "idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1",
    "idx_duration Duration TYPE minmax GRANULARITY 1",
    "idx_lower_span_name lower(SpanName) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8",
)
_TABLE = f"""
CREATE TABLE otel_traces (
  {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())},
  {", ".join(f"INDEX {index}" for index in _INDEXES)}
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
PRIMARY KEY (ServiceName, SpanName, toDateTime(Timestamp))
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1
"""
_STORED = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'otel_traces'"


@contextmanager
def storing(folder: Path) -> Iterator[tuple[InMemorySpanExporter, Callable[[int, int], int]]]:
    """Where spans go, and how many bytes they take: once they are in one part, as they end up."""
    from chdb.session import Session

    exporter, session = InMemorySpanExporter(), Session(str(folder / "clickhouse"))
    session.query("CREATE DATABASE bench ENGINE = Atomic")
    session.query("USE bench")
    session.query(_TABLE)

    def stored(spans: int, calls: int) -> int:
        del spans, calls
        file = folder / "spans.jsonl"
        file.write_text("\n".join(map(_row, exporter.get_finished_spans())))
        columns = ", ".join(name for name in _COLUMNS if name not in {"Events", "Links"})
        if exporter.get_finished_spans():
            session.query(
                f"INSERT INTO otel_traces ({columns}) "
                f"SELECT {columns} FROM file('{file}', JSONEachRow)"
            )
            session.query("OPTIMIZE TABLE otel_traces FINAL")
        exporter.clear()
        return int(str(session.query(_STORED, "TSV")).strip() or 0)

    try:
        yield exporter, stored
    finally:
        session.close()


def _row(span: ReadableSpan) -> str:
    scope = span.instrumentation_scope
    return json.dumps(
        {
            "Timestamp": (span.start_time or 0) / 1e9,
            "TraceId": format_trace_id(span.context.trace_id),
            "SpanId": format_span_id(span.context.span_id),
            "ParentSpanId": format_span_id(span.parent.span_id) if span.parent else "",
            "TraceState": "",
            "SpanName": span.name,
            "SpanKind": span.kind.name.capitalize(),
            "ServiceName": span.resource.attributes["service.name"],
            "ResourceAttributes": _strings(span.resource.attributes),
            "ScopeName": scope.name if scope else "",
            "ScopeVersion": (scope.version if scope else "") or "",
            "SpanAttributes": _strings(span.attributes or {}),
            "Duration": (span.end_time or 0) - (span.start_time or 0),
            "StatusCode": span.status.status_code.name.capitalize(),
            "StatusMessage": span.status.description or "",
        }
    )


def _strings(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {name: _string(value) for name, value in attributes.items()}


def _string(value: object) -> str:
    match value:
        case str():
            return value
        case bool() | Sequence():
            return json.dumps(
                value if isinstance(value, bool) else list(value), separators=(",", ":")
            )
        case _:
            return str(value)
