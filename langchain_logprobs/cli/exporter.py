"""Whether OpenTelemetry's exporter is configured and answered: it is made, and sends no spans."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from langchain_logprobs.cli.findings import Finding, installed_version

_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Protocol:
    """A way to send OTLP.

    Attributes:
        package: Who can.
        module: Where its exporter is.
        endpoint: Where it sends unless it is told.
        path: What is added to an endpoint that is for all signals.
    """

    package: str
    module: str
    endpoint: str
    path: str = ""


_PROTOCOLS: Mapping[str, _Protocol] = {
    "http/protobuf": _Protocol(
        "opentelemetry-exporter-otlp-proto-http",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "http://localhost:4318",
        "/v1/traces",
    ),
    "grpc": _Protocol(
        "opentelemetry-exporter-otlp-proto-grpc",
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
        "http://localhost:4317",
    ),
}
_NAMED = {
    "otlp_proto_http": "http/protobuf",
    "otlp_proto_grpc": "grpc",
    "otlp_logprobs_http": "http/protobuf",
    "otlp_logprobs_grpc": "grpc",
}
"""Exporters whose name says the protocol, whatever the other variables say."""


def exporter(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether OpenTelemetry is told where to send, can, and is answered."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield Finding("problem", "exporter", "OTEL_SDK_DISABLED=true: nothing is sent", "unset it")
        return
    named = environment.get("OTEL_TRACES_EXPORTER", "")
    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    traces = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if named == "none" or not (named or base or traces):
        yield Finding(
            "note",
            "exporter",
            "the environment names none; the application may configure one in code",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 "
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf opentelemetry-instrument python app.py",
        )
    elif named and "otlp" not in named:
        yield Finding("note", "exporter", f"{named}, which cannot be tried from here")
    else:
        yield from _otlp(environment, named, traces, base)


def _otlp(
    environment: Mapping[str, str], named: str, traces: str | None, base: str | None
) -> Iterator[Finding]:
    given = (
        next((of for name, of in _NAMED.items() if name in named), None)
        or environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    )
    chosen = given or _only_one_installed()
    protocol = _PROTOCOLS.get(chosen)
    if protocol is None:
        known = " or ".join(_PROTOCOLS)
        yield Finding("problem", "exporter", f"{chosen!r} is no OTLP protocol", f"{known}")
        return
    if given is None:
        yield Finding(
            "note",
            "exporter",
            f"OTEL_EXPORTER_OTLP_PROTOCOL is not set: {chosen} is tried; opentelemetry-instrument "
            "takes grpc, an exporter made in code what it is for",
            "set it",
        )
    if installed_version(protocol.package) is None:
        package = protocol.package
        yield Finding(
            "problem", "exporter", f"{package} is not installed", f"pip install {package}"
        )
        return
    url = traces or f"{(base or protocol.endpoint).rstrip('/')}{protocol.path}"
    if protocol.path and urlsplit(url).scheme not in ("http", "https"):
        yield Finding("problem", "exporter", f"{url} is no http(s) URL", "correct the endpoint")
        return
    yield _answering(chosen, protocol, url)


def _only_one_installed() -> str:
    """The protocol whose exporter is there; HTTP where both are, or none."""
    there = [name for name, of in _PROTOCOLS.items() if installed_version(of.package)]
    return there[0] if len(there) == 1 else "http/protobuf"


def _answering(name: str, protocol: _Protocol, url: str) -> Finding:
    """Has the SDK's own exporter send a request without spans, which every receiver takes."""
    with _listening() as said:
        sender: Any = import_module(protocol.module).OTLPSpanExporter(
            endpoint=url, timeout=_SECONDS
        )
        try:
            taken = sender.export([]).name == "SUCCESS"
        finally:
            sender.shutdown()
    if taken:
        return Finding("good", "exporter", f"{url} took a request without spans, over {name}")
    return Finding(
        "problem",
        "exporter",
        f"{url} took no request over {name}: {said[0] if said else 'nothing was said'}",
        "start it, or correct the endpoint, OTEL_EXPORTER_OTLP_PROTOCOL (HTTP is mostly on port "
        "4318, gRPC on 4317) or OTEL_EXPORTER_OTLP_HEADERS",
    )


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What the exporter logs, where it says what went wrong: first the cause, then the result."""
    said: list[str] = []
    logger = logging.getLogger("opentelemetry.exporter")
    propagates, logger.propagate = logger.propagate, False
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(listener)
    try:
        yield said
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
