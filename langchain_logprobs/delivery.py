"""A finished call to whoever wants to know of it: processors, sinks, hooks, each behind a guard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable
from uuid import UUID

from opentelemetry.metrics import MeterProvider

from langchain_logprobs.core.model import RunTree
from langchain_logprobs.core.report import (
    CallReport,
    Processor,
    Report,
    Sink,
    TreeReport,
    Unavailable,
    through,
)
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
}
"""What to tell who asked for logprobs and got none that can be used."""
_MOST_SAID = 1000
"""Different warnings remembered, so as to say each once."""


@runtime_checkable
class CallWatcher(Protocol):
    """What a sink may also have, to be told when calls and root runs begin and end.

    .. versionadded:: 0.1.0
    """

    def call_started(self, run_id: UUID) -> None:
        """A call begins: told in the very context in which it is made."""

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
        self._said: set[tuple[object, ...]] = set()

    def call_started(self, run_id: UUID) -> None:
        """Tells the watchers of a call that begins."""
        for watcher in self._watchers:
            self.guard("sink", watcher.call_started, run_id)

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
            if self._on_low_confidence is not None and processed.low:
                self.guard("on_low_confidence", self._on_low_confidence, processed)
        for watcher in self._watchers:
            self.guard("sink", watcher.call_finished, report.call.run_id)

    def tree(self, tree: RunTree, report: TreeReport | None) -> None:
        """Hands on the report of a root run; `None` for one that called no model."""
        processed = None if report is None else self._processed(report)
        if isinstance(processed, TreeReport):
            self.trees.append(processed)
            self._write(processed)
        for watcher in self._watchers:
            self.guard("sink", watcher.tree_finished, tree.root_run_id, tree.ended_ns)

    def flush(self, timeout: float) -> bool:
        """Has every sink that can flush do so; whether all did in time."""
        done = [sink.flush(timeout) for sink in self._sinks if hasattr(sink, "flush")]
        return all(done)

    def after_fork(self) -> None:
        """Forgets what is under way."""
        for watcher in self._watchers:
            watcher.after_fork()

    def guard(self, where: str, call: Callable[..., object], *args: object) -> None:
        """Calls it; what it raises is swallowed."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - the guard of sinks, hooks and watchers
            self.swallow(where, error)

    def swallow(self, where: str, error: Exception) -> None:
        """Counts an error, and logs the first of its kind with its traceback.

        Raises:
            Exception: The error itself, where the settings say so.
        """
        metrics_of(self._meter_provider).count_error(where)
        self._say_once(
            ("error", where, type(error)),
            "Error in %s, swallowed so that the application is not disturbed; further ones of "
            "this kind are only counted, in the metric %s.",
            where,
            names.ERRORS.name,
            error=error,
        )
        if self._raise_errors:
            raise error

    def _processed(self, report: Report) -> Report | None:
        try:
            return self._process(report)
        except Exception as error:  # noqa: BLE001 - processors are the user's, as sinks are
            self.swallow("processor", error)
            return None

    def _write(self, report: Report) -> None:
        for sink in self._sinks:
            self.guard("sink", sink, report)

    def _say_once(
        self, key: tuple[object, ...], text: str, *args: object, error: Exception | None = None
    ) -> None:
        if key not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(key)
            _LOG.warning(text, *args, exc_info=error)
