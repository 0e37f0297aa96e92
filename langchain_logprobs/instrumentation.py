"""One handler for the whole process: every model call is captured, and no code hands a callback on.

LangChain itself looks for handlers in context variables that it was told of; a variable whose
default is a handler gives that handler to every run, in every thread and task. Nothing is patched.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import Any

from langchain_core.tracers.context import register_configure_hook
from opentelemetry.trace import get_tracer_provider

from langchain_logprobs.handler import LogprobsCallbackHandler
from langchain_logprobs.telemetry.linking import watch
from langchain_logprobs.telemetry.worker import flush_at_exit

_LOG = logging.getLogger("langchain_logprobs")


def instrument(**arguments: Any) -> LogprobsCallbackHandler:
    """The handler that from now on hears of every model call in this process.

    Call it once at start-up, before or after OpenTelemetry and other instrumentations are set up.
    Calls that are also handed this very handler are reported once. A second call changes nothing
    and gives the same handler, until `uninstrument()`.

    Args:
        arguments: As for `LogprobsCallbackHandler`; what is not given comes from the environment.

    Raises:
        SettingsError: A setting has a value it cannot have.

    .. versionadded:: 0.1.0
    """
    with _INSTALLED.lock:
        if _INSTALLED.handler is None:
            _INSTALLED.handler = _install(_ProcessHandler(**arguments))
            _watch(arguments.get("tracer_provider"))
        elif arguments:
            _LOG.warning(
                "Already instrumented: these arguments change nothing: %s. "
                "Call uninstrument() first.",
                ", ".join(arguments),
            )
        return _INSTALLED.handler


def uninstrument(timeout: float = 30.0) -> bool:
    """Stops what `instrument()` began; whether everything is sent within `timeout` seconds.

    Calls under way are reported as abandoned. The handler hears nothing any more, not even of calls
    that it is handed to: LangChain has no way to take a handler back, so it is switched off.

    .. versionadded:: 0.1.0
    """
    with _INSTALLED.lock:
        handler, _INSTALLED.handler = _INSTALLED.handler, None
    if handler is None:
        return True
    handler.is_off = True
    handler.run_inline = False  # an inline handler that hears nothing may yet keep others from it
    return handler.close(timeout)


class _ProcessHandler(LogprobsCallbackHandler):
    """A handler that LangChain keeps for good: it cannot be taken away, so it can be turned off."""

    is_off = False

    @property
    def ignore_llm(self) -> bool:
        """Whether LangChain is to pass it over: asked before every callback."""
        return self.is_off

    @property
    def ignore_chat_model(self) -> bool:
        """As `ignore_llm`, for the start of chat models."""
        return self.is_off

    @property
    def ignore_chain(self) -> bool:
        """As `ignore_llm`, for chains."""
        return self.is_off

    @property
    def ignore_agent(self) -> bool:
        """As `ignore_llm`, for tools."""
        return self.is_off

    @property
    def ignore_retriever(self) -> bool:
        """As `ignore_llm`, for retrievers."""
        return self.is_off


class _Installed:
    """The handler that hears of everything, if there is one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handler: _ProcessHandler | None = None


_INSTALLED = _Installed()


def _install(handler: _ProcessHandler) -> _ProcessHandler:
    variable = ContextVar[LogprobsCallbackHandler | None](
        "langchain_logprobs_instrument", default=handler
    )
    register_configure_hook(variable, inheritable=True)
    return handler


def _watch(provider: object) -> None:
    # Other instrumentations' handlers may come first, so their spans are watched from now on. Of a
    # provider that is set up later the first call sees to that.
    if watch(provider or get_tracer_provider()):
        flush_at_exit()
