"""Feedback on LangSmith's runs, through its own client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from opentelemetry.trace import SpanContext

from langchain_logprobs.core.model import ModelCall
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.emitters import NAME, Emitter, label


def langsmith_feedback(client: Any = None, *, session_id: UUID | str | None = None) -> Emitter:
    """An emitter of one feedback a call, on the run that LangSmith traces: their ids are the same.

    LangSmith's client sends it in its background batches, with the runs.

    Args:
        client: A `langsmith.Client`; one is made from the environment if not given.
        session_id: The tracing project's id (`client.read_project(project_name=...).id`). LangSmith
            is about to want it with all feedback, and warns where it is missing.

    .. versionadded:: 0.1.0
    """
    made: list[Any] = [] if client is None else [client]

    def emit(report: CallReport, span: SpanContext | None) -> None:
        del span
        if not made:
            made.append(_client())
        made[0].create_feedback(
            run_id=report.call.run_id,
            # Only with the trace's id does it go into the background instead of blocking.
            trace_id=_trace_of(report.call),
            session_id=session_id,
            start_time=datetime.fromtimestamp(report.call.started_ns / 1e9, UTC),
            key=NAME,
            score=report.confidence.confidence,
            value=label(report),
            feedback_id=uuid5(NAMESPACE_OID, f"{report.call.run_id}-{NAME}"),
        )

    return emit


def _trace_of(call: ModelCall) -> UUID:
    """The trace that LangSmith has the call's run in."""
    from langsmith import get_current_run_tree  # noqa: PLC0415 - as below

    # It may begin outside of LangChain, in a `@traceable` function, or in a chain around the model
    # that our handler was not given to. At the end of a call, the run around it is still current.
    around = get_current_run_tree()
    return call.root_run_id if around is None else around.trace_id


def _client() -> Any:
    from langsmith import Client  # noqa: PLC0415 - takes a while, and may be set up later

    return Client()
