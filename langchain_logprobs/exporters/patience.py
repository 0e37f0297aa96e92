"""Batches that a receiver could not take are tried again, until it can.

OpenTelemetry's exporters give a batch up after 7 to 10 seconds, which is less than a collector
takes to restart. `Patience` goes on trying in the one place where nobody waits for it: a batch
processor's own thread. How a request went is told by whoever sent it, by `tell()`.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langchain_logprobs.settings import SettingsError
from langchain_logprobs.telemetry.exporting import processor_of
from langchain_logprobs.telemetry.metrics import count_unsent

PATIENCE = "LANGCHAIN_LOGPROBS_OTLP_PATIENCE"
"""The environment variable."""
DEFAULT = 120.0
"""Seconds."""
FIRST_WAIT = 1.0
"""Seconds between the first two tries; each further wait is twice as long."""
LONGEST_WAIT = 5.0
"""Seconds: so long after it is back a receiver may be left alone."""
JITTER = 0.2
"""Of a wait: processes that lost the same receiver shall not all return at once."""
LOOK = 0.05
"""Seconds between two looks at whether it is time to leave: processors tell nobody."""

_LOG = logging.getLogger("langchain_logprobs")
_EVENTS = ("_shutdown_event", "_shutdown_in_progress")
"""What OpenTelemetry's exporters, by version, let their own waits be ended by."""
_OURS = "langchain-logprobs"
"""How the names of our own threads begin."""

Spans = Sequence[ReadableSpan]
Export = Callable[[Spans], SpanExportResult]


@dataclass(slots=True)
class _Batch:
    """What is known of the batch that this thread exports.

    Attributes:
        is_quiet: Whether OpenTelemetry has said that it fails.
        failure: Why the last request failed.
        is_passing: Whether it might not have, later.
        begun: When it was first tried.
    """

    is_quiet: bool
    failure: str = ""
    is_passing: bool = False
    begun: float = field(default_factory=time.monotonic)


_BATCH: ContextVar[_Batch | None] = ContextVar("langchain_logprobs_batch", default=None)


def tell(failure: str = "", *, is_passing: bool = False) -> None:
    """Tells how the last request went, to the thread that sent it.

    Args:
        failure: Why it failed, if it did.
        is_passing: Whether the same request may succeed later.
    """
    batch = _BATCH.get()
    if batch is not None:
        batch.failure, batch.is_passing = failure, is_passing


class _SaidOnce(logging.Filter):
    """Lets nothing through about tries after a batch's first, or while an outage lasts."""

    def filter(self, _: logging.LogRecord) -> bool:
        batch = _BATCH.get()
        return batch is None or not batch.is_quiet


SAID_ONCE = _SaidOnce()
"""For the loggers of OpenTelemetry's exporters."""


class Leaving:
    """An event, as far as exporters use one: set also once the processor in front shuts down.

    It takes no lock, so that a child process cannot inherit one that is held.
    """

    def __init__(self, exporter: object) -> None:
        self._exporter = exporter
        self._is_set = False
        self._processor: object | None = None
        self._hurried = 0

    def set(self) -> None:
        """Ends all waits, for good."""
        self._is_set = True

    def hurry(self) -> None:
        """Ends `rest()`, once."""
        self._hurried += 1

    def is_set(self) -> bool:
        """Whether it is time to leave."""
        return self._is_set or getattr(self._processor, "_shutdown", False) is True

    def wait(self, seconds: float) -> bool:
        """Waits so long, or until it is time to leave; whether it is."""
        return self._wait(seconds, lambda: False)

    def rest(self, seconds: float) -> None:
        """The same, but somebody may be in a hurry."""
        hurried = self._hurried
        self._wait(seconds, lambda: self._hurried != hurried)

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while not self.is_set() and not is_over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(LOOK, left))
        return self.is_set()

    def may_wait(self) -> bool:
        """Whether nobody waits for this thread, and the end of its work can be seen."""
        current = threading.current_thread()
        served = processor_of(current)
        if served is None and current.name.startswith(_OURS):
            served = self._processor or _processor_before(self._exporter)
        self._processor = served or self._processor
        return served is not None


class Patience:
    """Tries batches again that failed for a reason that passes.

    Args:
        exporter: Whose batches.
        seconds: How long, from the first failure of each; the environment's, if not given.

    Raises:
        SettingsError: That is no number of seconds.
    """

    def __init__(self, exporter: object, seconds: float | None) -> None:
        self._seconds = _checked(seconds)
        self._down_since: float | None = None
        self._lost = 0
        self.leaving = Leaving(exporter)

    def watch(self, *holders: object) -> None:
        """Has the waits of OpenTelemetry's exporter itself end when it is time to leave.

        If they cannot be ended (before 1.35), all is left to it: a shutdown must not hang.
        """
        events = [
            (holder, name)
            for holder in holders
            for name in _EVENTS
            if isinstance(getattr(holder, name, None), threading.Event)
        ]
        for holder, name in events:
            setattr(holder, name, self.leaving)
        if not events:
            self._seconds = 0.0

    def export(self, export: Export, spans: Spans) -> SpanExportResult:
        """Exports a batch, if need be over and over, and counts the token spans that this loses.

        Threads that somebody waits for (a `SimpleSpanProcessor`, a `force_flush()`) get what
        OpenTelemetry does.
        """
        result = SpanExportResult.FAILURE
        try:
            result = self._patiently(export, spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                count_unsent(spans)
        return result

    def _patiently(self, export: Export, spans: Spans) -> SpanExportResult:
        if not self._seconds or not self.leaving.may_wait():
            return export(spans)
        batch = _Batch(is_quiet=self._down_since is not None)
        token = _BATCH.set(batch)
        try:
            return self._exported(export, spans, batch)
        finally:
            _BATCH.reset(token)

    def _exported(self, export: Export, spans: Spans, batch: _Batch) -> SpanExportResult:
        until, wait = math.inf, FIRST_WAIT
        while True:
            result = _tried(export, spans, batch)
            if result is SpanExportResult.SUCCESS:
                self._up()
                return result
            if not batch.is_passing:
                self._refused(len(spans), batch)
                return result
            self._down(batch)
            until = min(until, time.monotonic() + self._seconds)
            if self.leaving.is_set() or (left := until - time.monotonic()) <= 0:
                self._give_up(len(spans), batch)
                return result
            jittered = wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
            self.leaving.rest(min(jittered, left))
            wait = min(2 * wait, LONGEST_WAIT)

    def _down(self, batch: _Batch) -> None:
        batch.is_quiet = True
        if self._down_since is None:
            self._down_since = batch.begun
            _LOG.warning(
                "Spans cannot be sent at present (%s). Each batch is tried again for %g s; "
                "the next line about it comes when they can, or are lost.",
                batch.failure,
                self._seconds,
            )

    def _up(self) -> None:
        if self._down_since is not None:
            seconds = time.monotonic() - self._down_since
            _LOG.warning("Spans are sent again after %.0f s; %d were lost.", seconds, self._lost)
        self._down_since, self._lost = None, 0

    def _refused(self, spans: int, batch: _Batch) -> None:
        if batch.is_quiet:  # otherwise OpenTelemetry has said so
            self._give_up(spans, batch)

    def _give_up(self, spans: int, batch: _Batch) -> None:
        if not self._lost:
            _LOG.error(
                "%d spans could not be sent (%s), and are lost. Further ones will only be counted.",
                spans,
                batch.failure,
            )
        self._lost += spans

    def end(self) -> None:
        """Waits no longer, from now on, and says what was lost."""
        self.leaving.set()
        if self._lost:
            _LOG.error("%d spans in all could not be sent, and are lost.", self._lost)
            self._lost = 0


class Patient(SpanExporter):
    """What an exporter of OpenTelemetry's does once it has patience, whatever it sends by."""

    _patience: Patience

    def export(self, spans: Spans) -> SpanExportResult:
        """Sends them; in a batch processor's own thread, for as long as patience lasts."""
        return self._patience.export(super().export, spans)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Has the batch that waits, if there is one, tried again now."""
        self._patience.leaving.hurry()
        return super().force_flush(timeout_millis)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Ends it, and any wait."""
        self._patience.end()
        super().shutdown(*args, **kwargs)


def _tried(export: Export, spans: Spans, batch: _Batch) -> SpanExportResult:
    """One try of OpenTelemetry's, with its own retries.

    Raises:
        OSError: The request failed, for good; older versions raise that.
    """
    batch.failure, batch.is_passing = "", False
    try:
        return export(spans)
    except OSError:
        if batch.is_passing:
            return SpanExportResult.FAILURE
        raise


def _processor_before(exporter: object) -> object | None:
    """The batch processor that hands its batches to this exporter."""
    found = filter(None, map(processor_of, threading.enumerate()))
    return next((of for of in found if getattr(of, "_exporter", None) is exporter), None)


def _checked(seconds: float | None) -> float:
    text = os.environ.get(PATIENCE, "").strip()
    takes = "takes a number of seconds, at least 0 (which leaves all to OpenTelemetry)."
    if seconds is None and text:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            raise SettingsError(f"The environment's {PATIENCE} is {text!r}, but {takes}")
    seconds = DEFAULT if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise SettingsError(f"patience is {seconds!r}, but {takes}")
    if not 0 <= seconds < math.inf:
        raise SettingsError(f"patience is {seconds!r}, but {takes}")
    return seconds
