"""A finished call to whoever wants to know of it: processors, sinks, hooks, each behind a guard."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar, runtime_checkable
from uuid import UUID

from opentelemetry.metrics import MeterProvider

from langchain_logprobs.core.model import RunTree, TokenLogprob
from langchain_logprobs.core.report import (
    CallReport,
    Processor,
    Report,
    Sink,
    TreeReport,
    Unavailable,
    through,
)
from langchain_logprobs.core.shapes import Shape
from langchain_logprobs.settings import Settings
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import metrics_of

_LOG = logging.getLogger("langchain_logprobs")
_WAYS_OUT: Mapping[Unavailable, str] = {
    "not_sent": "it was asked for logprobs and none came. Not every model and endpoint has them; "
    "reasoning models, some gateways and some LangChain packages drop them without a word. "
    "with_logprobs(model) asks in its provider's words, mends its package where it can, and says "
    "so where it cannot",
    "dropped_by_langchain": "its LangChain package drops the logprobs on this way of calling. "
    "with_logprobs(model) turns on the patch that keeps them, as "
    "langchain_logprobs.patches.openai_responses.apply() does for OpenAI's Responses API, and "
    "langchain_logprobs.patches.ollama_v3.apply() for Ollama under stream_events(version='v3'). If "
    "the patch is on, the model sent none",
    "unreadable": "what it sent as logprobs has a shape that no reader knows. Pass one in "
    "`shapes=`, or report the payload",
    "choices_interleaved": "LangChain streams its n > 1 answers as one. Use invoke(), or n=1",
    "incomplete": "its answer comes from a cache, where LangChain's v3 protocol has put it with "
    "the logprobs of its last tokens alone. Clear that cache, and keep v3's answers out of it: "
    "cache=False",
}
"""What to tell who asked for logprobs and got none that can be used."""
_Result = TypeVar("_Result")
_MOST_SAID = 1000
"""Different warnings remembered, so as to say each once."""


@runtime_checkable
class CallWatcher(Protocol):
    """What a sink may also have, to be told when calls and root runs begin and end.

    .. versionadded:: 0.1.0
    """

    def run_started(self, run_id: UUID) -> None:
        """A chain, tool or retriever begins, which calls may be inside."""

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        """A call begins, maybe inside another: told in the very context in which it is made."""

    def call_finished(self, run_id: UUID) -> None:
        """A call is done with, whether or not a report of it came."""

    def tree_finished(self, root_run_id: UUID, ended_ns: int) -> None:
        """A root run is done with, whether or not a report of it came."""

    def after_fork(self) -> None:
        """The process is a child now: what is under way belongs to its parent."""


class Delivery:
    """Hands reports on, and keeps every error from the application.

    Args:
        settings: `keep` and `raise_errors` are its own.
        processors: Applied in order; one that gives `None` ends a report's way.
        sinks: Are handed what the processors leave.
        on_report: As in `LogprobsCallbackHandler`.
        on_low_confidence: As in `LogprobsCallbackHandler`.
        meter_provider: Where swallowed errors are counted.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        processors: Iterable[Processor],
        sinks: Iterable[Sink],
        on_report: Callable[[CallReport], object] | None,
        on_low_confidence: Callable[[CallReport], object] | None,
        meter_provider: MeterProvider | None,
    ) -> None:
        self.reports: deque[CallReport] = deque(maxlen=settings.keep)
        self.trees: deque[TreeReport] = deque(maxlen=settings.keep)
        self._raise_errors = settings.raise_errors
        self._process = through(*processors)
        self._sinks = tuple(sinks)
        others: Iterable[object] = self._sinks
        self._watchers = [sink for sink in others if isinstance(sink, CallWatcher)]
        self._on_report = on_report
        self._on_low_confidence = on_low_confidence
        self._meter_provider = meter_provider
        self._said: dict[tuple[object, ...], object] = {}

    def run_started(self, run_id: UUID) -> None:
        """Tells the watchers of a run that begins."""
        for watcher in self._watchers:
            self.guard("sink", watcher.run_started, run_id)

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        """Tells the watchers of a call that begins."""
        for watcher in self._watchers:
            self.guard("sink", watcher.call_started, run_id, inside)

    def call_forgotten(self, run_id: UUID) -> None:
        """Tells the watchers of a call that is done with."""
        for watcher in self._watchers:
            self.guard("sink", watcher.call_finished, run_id)

    def call(self, report: CallReport, *, requested: bool) -> None:
        """Hands on the report of a call."""
        reason = report.unavailable
        if requested and reason is not None and reason in _WAYS_OUT:
            self._say_once(
                ("unavailable", report.call.model, reason),
                "No confidence for model %r (%s): %s.",
                report.call.model,
                reason,
                _WAYS_OUT[reason],
            )
        processed = self._processed(report)
        if isinstance(processed, CallReport):
            self.reports.append(processed)
            self._write(processed)
            if self._on_report is not None:
                self.guard("on_report", self._on_report, processed)
            if self._on_low_confidence is not None and (processed.low or processed.low_fields):
                self.guard("on_low_confidence", self._on_low_confidence, processed)
        self.call_forgotten(report.call.run_id)

    def tree(self, tree: RunTree, report: TreeReport | None) -> None:
        """Hands on the report of a root run; `None` for one that called no model."""
        processed = None if report is None else self._processed(report)
        if isinstance(processed, TreeReport):
            self.trees.append(processed)
            self._write(processed)
        self.tree_forgotten(tree.root_run_id, tree.ended_ns)

    def tree_forgotten(self, root_run_id: UUID, ended_ns: int) -> None:
        """Tells the watchers of a root run that is done with."""
        for watcher in self._watchers:
            self.guard("sink", watcher.tree_finished, root_run_id, ended_ns)

    def flush(self, timeout: float) -> bool:
        """Has every sink that can flush do so, in `timeout` seconds together; whether all did."""
        until = time.monotonic() + timeout
        flushes = [flush for sink in self._sinks if callable(flush := getattr(sink, "flush", None))]
        done = [self.guard("sink", flush, max(0.0, until - time.monotonic())) for flush in flushes]
        return all(done)

    def after_fork(self) -> None:
        """Forgets what is under way."""
        for watcher in self._watchers:
            self.guard("sink", watcher.after_fork)

    def guarded_shape(self, shape: Shape) -> Shape:
        """The reader, but one that knows no payload on which it raises."""

        def read(payload: object) -> tuple[TokenLogprob, ...] | None:
            tokens = shape(payload)
            return None if tokens is None else tuple(tokens)

        return lambda payload: self.guard("shape", read, payload)

    def guard(self, where: str, call: Callable[..., _Result], *args: object) -> _Result | None:
        """What it returns; `None` where it raises, and the error is swallowed."""
        try:
            return call(*args)
        except Exception as error:  # noqa: BLE001 - the guard of all that users hand in
            self._swallow(where, error)
            return None

    def _swallow(self, where: str, error: Exception) -> None:
        """Counts an error, and logs the first of its kind with its traceback.

        Raises:
            Exception: The error itself, where the settings say so.
        """
        self._say_once(
            ("error", where, type(error)),
            "Error in %s, swallowed so that the application is not disturbed; further ones of "
            "this kind are only counted, in the metric %s.",
            where,
            names.ERRORS.name,
            error=error,
        )
        with contextlib.suppress(Exception):  # the metrics may be what failed; the log has it
            metrics_of(self._meter_provider).count_error(where)
        if self._raise_errors:
            raise error

    def _processed(self, report: Report) -> Report | None:
        return self.guard("processor", self._process, report)

    def _write(self, report: Report) -> None:
        for sink in self._sinks:
            self.guard("sink", sink, report)

    def _say_once(
        self, key: tuple[object, ...], text: str, *args: object, error: Exception | None = None
    ) -> None:
        turn = object()
        # setdefault() is atomic: of two threads with the same to say, one says it.
        if len(self._said) < _MOST_SAID and self._said.setdefault(key, turn) is turn:
            _LOG.warning(text, *args, exc_info=error)
