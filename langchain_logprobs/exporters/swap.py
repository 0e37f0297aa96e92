"""OpenTelemetry's exporters, with something else put in for what they call by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TypeVar

from opentelemetry.sdk.trace.export import SpanExporter

from langchain_logprobs.exporters.encoding import encode_spans

Exporter = TypeVar("Exporter", bound=type[SpanExporter])


def quick(exporter: Exporter) -> Exporter:
    """The exporter class, its inherited methods as they are, but with the encoder of this package.

    All else about it (transport, headers, its own retries and metrics) stays OpenTelemetry's,
    whatever its version has of it. Where its methods know no function of that name, nothing is
    changed.
    """
    return put_in(encode_spans=encode_spans)(exporter)


def put_in(**globals_: object) -> Callable[[Exporter], Exporter]:
    """What gives a class its inherited methods, in which these names mean something else."""

    def changed(exporter: Exporter) -> Exporter:
        inherited = {
            name: of for base in exporter.__mro__[:0:-1] for name, of in vars(base).items()
        }
        for name, of in inherited.items():
            if isinstance(of, FunctionType) and globals_.keys() & set(of.__code__.co_names):
                setattr(exporter, name, _with(of, globals_))
        return exporter

    return changed


def _with(method: FunctionType, globals_: Mapping[str, object]) -> FunctionType:
    """The same function, with other globals."""
    module = {**method.__globals__, **globals_}
    changed = FunctionType(
        method.__code__, module, method.__name__, method.__defaults__, method.__closure__
    )
    changed.__kwdefaults__ = method.__kwdefaults__
    changed.__doc__ = method.__doc__
    return changed
