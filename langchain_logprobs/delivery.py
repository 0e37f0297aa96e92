"""A finished call to whoever wants to know of it: processors, sinks, hooks, each behind a guard."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable
from uuid import UUID

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from langchain_logprobs.core.model import RunTree
from langchain_logprobs.core.reasons import REASONS
from langchain_logprobs.core.report import (
    CallReport,
    Processor,
    Report,
    Sink,
    TreeReport,
    through,
)
from langchain_logprobs.core.shapes import Shape
from langchain_logprobs.core.tokens import TokenLogprob
from langchain_logprobs.settings import Settings
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import metrics_of
from langchain_logprobs.telemetry.sink import OpenTelemetrySink
from langchain_logprobs.telemetry.spans import Options

_LOG = logging.getLogger("langchain_logprobs")
_Result = TypeVar("_Result")
_MOST_SAID = 1000
"""Different warnings remembered, so as to say each once."""


@runtime_checkable
class CallWatcher(Protocol):
    """What a sink may also have, to be told when calls and root runs begin and end.

    A sink may have a method `wants(run_id) -> bool` too. It is asked once a call has begun; where
    every sink says no, and no hook, processor or `keep` wants the report, there will be none.

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


def default_sinks(
    settings: Settings,
    tracer_provider: TracerProvider | None,
    meter_provider: MeterProvider | None,
) -> list[Sink]:
    """Where reports go unless somebody says where: OpenTelemetry, and the store asked for.

    Raises:
        StoreError: The `store` asked for cannot be one.
    """
    telemetry = OpenTelemetrySink(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        options=Options(
            token_spans=settings.token_spans,
            max_token_spans=settings.max_token_spans,
            token_arrays=settings.token_arrays,
            capture_content=settings.capture_content,
            metric_attributes=settings.metric_attributes,
            metric_fields=settings.metric_fields,
            max_pending_spans=settings.max_pending_spans,
            openinference=settings.openinference,
        ),
    )
    if settings.store is None:
        return [telemetry]
    from langchain_logprobs.store import store_at  # noqa: PLC0415 - for who asks for one

    return [telemetry, store_at(settings.store)]


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
        processors = tuple(processors)
        self._process = through(*processors)
        self._sinks = tuple(sinks)
        others: Iterable[object] = self._sinks
        self._watchers = [sink for sink in others if isinstance(sink, CallWatcher)]
        self._on_report = on_report
        self._on_low_confidence = on_low_confidence
        self._meter_provider = meter_provider
        self._wants_all = bool(settings.keep or processors or on_report or on_low_confidence)
        # Whoever wraps or derives from that sink is handed the report, and may look at all of it.
        self.needs_candidates = self._wants_all or any(
            not (type(sink) is OpenTelemetrySink and sink.sends_numbers_alone)
            for sink in self._sinks
        )
        self._said: dict[tuple[object, ...], object] = {}

    def run_started(self, run_id: UUID) -> None:
        """Tells the watchers of a run that begins."""
        for watcher in self._watchers:
            self.guard("sink", watcher.run_started, run_id)

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        """Tells the watchers of a call that begins."""
        for watcher in self._watchers:
            self.guard("sink", watcher.call_started, run_id, inside)

    def wants(self, run_id: UUID) -> bool:
        """Whether anybody has a use for the report of a call that has just been started."""
        return self._wants_all or any(self._sink_wants(sink, run_id) for sink in self._sinks)

    def _sink_wants(self, sink: Sink, run_id: UUID) -> bool:
        wants = getattr(sink, "wants", None)
        return not callable(wants) or self.guard("sink", wants, run_id) is not False

    def call(self, report: CallReport, *, requested: bool) -> None:
        """Hands on the report of a call."""
        reason = report.unavailable
        if requested and reason is not None and (known := REASONS[reason]).warns:
            self._say_once(
                ("unavailable", report.call.model, reason),
                "No confidence for model %r (%s): %s. The way out: %s.",
                report.call.model,
                reason,
                known.told,
                known.way_out,
            )
        processed = self._processed(report)
        if isinstance(processed, CallReport):
            self.reports.append(processed)
            self._write(processed)
            if self._on_report is not None:
                self.guard("on_report", self._on_report, processed)
            if self._on_low_confidence is not None and (processed.low or processed.low_fields):
                self.guard("on_low_confidence", self._on_low_confidence, processed)
        self.call_finished(report.call.run_id)

    def call_finished(self, run_id: UUID) -> None:
        """Tells the watchers that a call is done with."""
        for watcher in self._watchers:
            self.guard("sink", watcher.call_finished, run_id)

    def tree(self, tree: RunTree, report: TreeReport | None) -> None:
        """Hands on the report of a root run; `None` for one that called no model."""
        processed = None if report is None else self._processed(report)
        if isinstance(processed, TreeReport):
            self.trees.append(processed)
            self._write(processed)
        self.tree_finished(tree.root_run_id, tree.ended_ns)

    def tree_finished(self, root_run_id: UUID, ended_ns: int) -> None:
        """Tells the watchers that a root run is done with."""
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
        except Exception as error:  # noqa: BLE001 - other people's code: sinks, hooks, readers
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
