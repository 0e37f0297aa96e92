"""A context in which every call is captured, for who wants the numbers and no telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.tracers.context import register_configure_hook
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from langchain_logprobs.handler import LogprobsCallbackHandler


@contextmanager
def get_logprobs_callback(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    **arguments: Any,
) -> Iterator[LogprobsCallbackHandler]:
    """Captures every model call made inside, without handing a callback to any of them.

    The handler it yields keeps the reports: `.reports`, `.trees`, `.last`. It sends nothing to
    OpenTelemetry unless it is given a provider or sinks, so that calls which another handler
    already reports there do not count twice. Contexts may be nested: each sees what runs inside.

    Args:
        tracer_provider: Also send spans there.
        meter_provider: Also send metrics there.
        arguments: As for `LogprobsCallbackHandler`; `keep` is 10,000 here.

    Raises:
        SettingsError: A setting has a value it cannot have.

    .. versionadded:: 0.1.0
    """
    if tracer_provider is None and meter_provider is None:
        arguments.setdefault("sinks", ())
    arguments.setdefault("keep", 10_000)
    handler = LogprobsCallbackHandler(
        tracer_provider=tracer_provider, meter_provider=meter_provider, **arguments
    )
    variable = _free_variable()
    token = variable.set(handler)
    try:
        yield handler
    finally:
        variable.reset(token)
        handler.close()


_VARIABLES: list[ContextVar[LogprobsCallbackHandler | None]] = []
"""LangChain never forgets a variable it was told of, so they are told once each and used again."""


def _free_variable() -> ContextVar[LogprobsCallbackHandler | None]:
    """A context variable that LangChain looks into, and that no context around this one uses."""
    for variable in _VARIABLES:
        if variable.get() is None:
            return variable
    variable = ContextVar[LogprobsCallbackHandler | None](
        f"langchain_logprobs_callback_{len(_VARIABLES)}", default=None
    )
    register_configure_hook(variable, inheritable=True)
    _VARIABLES.append(variable)
    return variable
