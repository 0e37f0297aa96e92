"""Spans by OTLP over gRPC; needs the extra `otlp-grpc`."""

from __future__ import annotations

import logging
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc import exporter, trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from langchain_logprobs.exporters.encoding import encode_spans
from langchain_logprobs.exporters.patience import SAID_ONCE, Patience, Patient, tell
from langchain_logprobs.exporters.swap import put_in

_PASSING = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""Those that OTLP's specification lets a client try again.

`RESOURCE_EXHAUSTED` is left to OpenTelemetry: a batch that is too large for good says that, too.
"""


class _ListeningStub(TraceServiceStub):
    """A stub that tells how each request went."""

    def __init__(self, channel: grpc.Channel) -> None:
        super().__init__(channel)  # type: ignore[no-untyped-call]
        self._send = self.Export
        self.Export = self._told

    def _told(self, *args: Any, **kwargs: Any) -> Any:
        try:
            response = self._send(*args, **kwargs)
        except grpc.RpcError as error:
            code = error.code()
            tell(code.name, is_passing=code in _PASSING)
            raise
        tell()
        return response


@put_in(encode_spans=encode_spans, TraceServiceStub=_ListeningStub)
class _Quick(trace_exporter.OTLPSpanExporter):
    """With the encoder of this package."""


class OTLPSpanExporter(Patient, _Quick):
    """OpenTelemetry's exporter of this name, faster with token spans, and more patient.

    It takes the same arguments and the same `OTEL_EXPORTER_OTLP_*` variables, and sends the same
    messages. `OTEL_TRACES_EXPORTER=otlp_logprobs_grpc` puts it in the place of `otlp_proto_grpc`.

    Args:
        args: As OpenTelemetry's.
        patience: Seconds for which a batch is tried again that nobody takes; 0 leaves that to
            OpenTelemetry. `LANGCHAIN_LOGPROBS_OTLP_PATIENCE`, or 120, if not given.
        kwargs: As OpenTelemetry's.

    .. versionadded:: 0.1.0
    """

    def __init__(self, *args: Any, patience: float | None = None, **kwargs: Any) -> None:
        """Opens no connection.

        Raises:
            SettingsError: The patience is no number of seconds.
        """
        self._patience = Patience(self, patience)
        super().__init__(*args, **kwargs)
        self._patience.watch(self)
        logging.getLogger(exporter.__name__).addFilter(SAID_ONCE)
