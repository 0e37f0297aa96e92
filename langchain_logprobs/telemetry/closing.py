"""Back ends that close a trace when its root span ends, and what keeps one open for late spans.

Token spans follow a call from a thread of their own, and MLflow's own store leaves out whatever
starts in a trace that it has written. It waits, though, as long as a span of the trace is open
(since 3.14): so one span of a call is, until its tokens are out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter

from langchain_logprobs.telemetry.pace import processors

_CLOSERS = frozenset({("mlflow", "BaseMlflowSpanProcessor")})
"""Package and base class of the span processors whose traces close with their roots."""


class Closer(Protocol):
    """A span processor whose traces close with their roots."""

    span_exporter: SpanExporter

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Hands what it has been given to its back end."""


def closers(provider: object) -> list[Closer]:
    """The span processors of a provider that close a trace with its root."""
    active = getattr(provider, "_active_span_processor", None)
    if active is None:
        return []
    return [one for one in processors(active) if _closes(one)]  # type: ignore[misc]


def _closes(processor: object) -> bool:
    kinds = type(processor).__mro__
    return any((of.__module__.split(".")[0], of.__name__) in _CLOSERS for of in kinds)


@dataclass(frozen=True, slots=True)
class Kept:
    """A span that stays open until the token spans beside it are out.

    Attributes:
        span: The span; `None` where nothing has to be kept open.
        end_ns: When it ends, as far as anybody is told.
        closers: Whom it keeps from closing the trace.
    """

    span: trace.Span | None = None
    end_ns: int = 0
    closers: Sequence[Closer] = ()

    def release(self) -> None:
        """Ends it, once; what was started before has then reached the back end."""
        span = self.span
        if span is None or not span.is_recording():
            return
        with ExitStack() as afterwards:  # all of it, the last named first, whatever raises before
            afterwards.callback(self._flush)
            afterwards.callback(span.end, self.end_ns)
            afterwards.callback(self._export_ahead, span)
            self._flush()

    def _export_ahead(self, span: trace.Span) -> None:
        """Has it on record before it ends.

        Between its end and its turn in a queue, any other span's turn closes the trace, without it;
        and MLflow shows no trace of which it counted a span that it does not have.
        """
        if isinstance(span, ReadableSpan):
            for one in self.closers:
                one.span_exporter.export([span])

    def _flush(self) -> None:
        for one in self.closers:
            one.force_flush()


NOTHING = Kept()
"""Where nothing has to be kept open."""
