"""Spans by OTLP over HTTP; needs the extra `otlp`."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http import trace_exporter

from langchain_logprobs.exporters.swap import quick


@quick
class OTLPSpanExporter(trace_exporter.OTLPSpanExporter):
    """OpenTelemetry's exporter of this name, which encodes token spans in a tenth of the time.

    It takes the same arguments and the same `OTEL_EXPORTER_OTLP_*` variables, and sends the same
    messages. `OTEL_TRACES_EXPORTER=otlp_logprobs_http` puts it in the place of `otlp_proto_http`.

    .. versionadded:: 0.1.0
    """
