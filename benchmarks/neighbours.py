"""The other instrumentations, set up as their own documentation says.

All but Langfuse have LangChain add their handler to every callback manager, for as long as the
process lives: each takes part in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter


def openinference(provider: TracerProvider) -> None:
    """Sets OpenInference up."""
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)


def openllmetry(provider: TracerProvider) -> None:
    """Sets OpenLLMetry up."""
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument(tracer_provider=provider)


def genai(provider: TracerProvider) -> None:
    """Sets OpenTelemetry's own instrumentation for LangChain up."""
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)


def langfuse(
    provider: TracerProvider, exporter: SpanExporter
) -> tuple[BaseCallbackHandler, Callable[[], Any]]:
    """Langfuse's handler, and how its client is flushed.

    The client is given an exporter: its own would send to its own address in the same way.
    """
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(
        public_key="pk-lf-none",
        secret_key="sk-lf-none",
        base_url="http://127.0.0.1:9",
        tracer_provider=provider,
        span_exporter=exporter,
    )
    return CallbackHandler(), client.flush
