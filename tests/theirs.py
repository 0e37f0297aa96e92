"""Another instrumentation's handler, as simple as they get."""

from __future__ import annotations

from typing import Any

from conftest import Observed
from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry import trace


class Theirs(BaseCallbackHandler):
    """Makes a span for every chain and every call of a model."""

    run_inline = True

    def __init__(self, observed: Observed, scope: str, **attributes: str) -> None:
        self._tracer = observed.tracer_provider.get_tracer(scope)
        self._attributes = attributes
        self._spans: dict[Any, trace.Span] = {}

    def on_chain_start(self, *_: Any, run_id: Any, parent_run_id: Any = None, **__: Any) -> None:
        self._start("their chain", run_id, parent_run_id)

    def on_chat_model_start(
        self, *_: Any, run_id: Any, parent_run_id: Any = None, **__: Any
    ) -> None:
        self._start("their llm", run_id, parent_run_id).set_attributes(self._attributes)

    def on_chain_end(self, *_: Any, run_id: Any, **__: Any) -> None:
        self._spans.pop(run_id).end()

    def on_llm_end(self, *_: Any, run_id: Any, **__: Any) -> None:
        self._spans.pop(run_id).end()

    def _start(self, name: str, run_id: Any, parent_run_id: Any) -> trace.Span:
        parent = self._spans.get(parent_run_id)
        context = None if parent is None else trace.set_span_in_context(parent)
        self._spans[run_id] = self._tracer.start_span(name, context)
        return self._spans[run_id]
