"""OpenTelemetry's exporters, with another encoder put in."""

from __future__ import annotations

from types import FunctionType
from typing import TypeVar

from opentelemetry.sdk.trace.export import SpanExporter

from langchain_logprobs.exporters.encoding import encode_spans

Exporter = TypeVar("Exporter", bound=type[SpanExporter])
_ENCODER = "encode_spans"
"""What OpenTelemetry's exporters call the function that makes a request of spans."""


def quick(exporter: Exporter) -> Exporter:
    """The exporter class, its inherited methods as they are, but with the encoder of this package.

    All else about it (transport, retries, headers, its own metrics) stays OpenTelemetry's, whatever
    its version has of it. Where its methods know no function of that name, nothing is changed.
    """
    inherited = {name: of for base in exporter.__mro__[:0:-1] for name, of in vars(base).items()}
    for name, of in inherited.items():
        if isinstance(of, FunctionType) and _ENCODER in of.__code__.co_names:
            setattr(exporter, name, _with_encoder(of))
    return exporter


def _with_encoder(method: FunctionType) -> FunctionType:
    """The same function, for which `encode_spans` is the one of this package."""
    module = {**method.__globals__, _ENCODER: encode_spans}
    changed = FunctionType(
        method.__code__, module, method.__name__, method.__defaults__, method.__closure__
    )
    changed.__kwdefaults__ = method.__kwdefaults__
    changed.__doc__ = method.__doc__
    return changed
