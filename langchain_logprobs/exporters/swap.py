"""OpenTelemetry's exporters, with something else put in for what they call by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TypeVar

from opentelemetry.sdk.trace.export import SpanExporter

Exporter = TypeVar("Exporter", bound=type[SpanExporter])


def put_in(**globals_: object) -> Callable[[Exporter], Exporter]:
    """What gives a class its inherited methods, in which these names mean something else.

    All that they do beside (transport, headers, retries, metrics) stays OpenTelemetry's, whatever
    its version has of it. Methods that know none of the names are left as they are.
    """

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
