"""The OpenTelemetry sink: reports to the LLM span, token spans, the chain's root span, metrics."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from uuid import UUID
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, TracerProvider

from langchain_logprobs.core.model import ModelCall
from langchain_logprobs.core.report import CallReport, Report, TreeReport
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.linking import Link, open_link, watch
from langchain_logprobs.telemetry.metrics import Metrics, metrics_of
from langchain_logprobs.telemetry.spans import (
    Attributes,
    Options,
    TokenSpan,
    call_attributes,
    model_attributes,
    token_attributes,
    token_spans,
    tree_attributes,
)
from langchain_logprobs.telemetry.worker import SHARED, Job, Worker, flush_at_exit

_LOG = logging.getLogger("langchain_logprobs")

SLICE = 64
"""Token spans between two rests of the worker."""
BURST = 512
"""Token spans between two flushes: a batch. The queue behind holds 2,048 and then drops."""


class OpenTelemetrySink:
    """Writes reports to OpenTelemetry.

    Aggregates go on the LLM span: the one another instrumentation made for the call, or else one of
    our own. Tokens become its children, started and ended by the worker after the call. Metrics are
    recorded whether or not a span is sampled.

    Args:
        tracer_provider: The global one if not given, looked up at each call.
        meter_provider: The global one if not given, looked up at each call.
        options: What becomes spans.
        worker: Who emits the token spans.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        options: Options | None = None,
        worker: Worker = SHARED,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._options = options or Options()
        self._worker = worker
        self._links: dict[UUID, Link] = {}
        self._roots: dict[UUID, trace.Span] = {}
        self._lock = threading.Lock()

    @property
    def metrics(self) -> Metrics:
        """The instruments it records to."""
        return metrics_of(self._meter_provider)

    def call_started(self, run_id: UUID) -> None:
        """Notes where a call's spans will belong: called where and when the call starts."""
        if watch(self._provider) | watch(trace.get_tracer_provider()):
            flush_at_exit()
        self._links[run_id] = open_link()

    def call_finished(self, run_id: UUID) -> None:
        """Forgets a call, reported or not."""
        link = self._links.pop(run_id, None)
        if link is not None:
            link.closed = True
            link.span = None  # whatever context still holds the link need not hold the span

    def tree_finished(self, root_run_id: UUID, ended_ns: int) -> None:
        """Ends a root run's span, reported or not."""
        root = self._roots.pop(root_run_id, None)
        if root is not None:
            root.end(ended_ns)

    def after_fork(self) -> None:
        """Forgets what is under way: in a child process, that is the parent's."""
        self._lock = threading.Lock()
        self._links.clear()
        self._roots.clear()

    def flush(self, timeout: float) -> bool:
        """Waits until the token spans are sent, `timeout` seconds at most; whether they are."""
        sent = self._worker.flush(timeout)
        flush = getattr(self._provider, "force_flush", None)
        return sent and (flush is None or bool(flush(int(timeout * 1000))))

    def __call__(self, report: Report) -> None:
        """Writes a report."""
        if isinstance(report, CallReport):
            self._write_call(report)
        else:
            self._write_tree(report)

    @property
    def _provider(self) -> TracerProvider:
        return self._tracer_provider or trace.get_tracer_provider()

    def _write_call(self, report: CallReport) -> None:
        link = self._links.get(report.call.run_id) or Link(Context(), None)
        link.closed = True
        spans, omitted = token_spans(report, self._options)
        attributes = call_attributes(report, omitted, self._options)
        if link.span is None:
            span = self._own_span(report.call, attributes, link.context)
        else:
            span = link.span
            if span.is_recording():
                span.set_attributes(attributes)
        context = trace.set_span_in_context(span, Context())
        self.metrics.record_call(report, context, self._options.metric_attributes)
        self.metrics.count_token_spans("omitted", omitted)
        self._submit(spans, span.get_span_context(), report.low_token)

    def _own_span(self, call: ModelCall, attributes: Attributes, context: Context) -> trace.Span:
        if not trace.get_current_span(context).get_span_context().is_valid:
            context = self._under_root(call, context)
        span = self._tracer.start_span(
            f"{call.operation} {call.model}" if call.model else call.operation,
            context=context,
            kind=SpanKind.CLIENT,
            attributes={**model_attributes(call), **attributes},
            start_time=call.started_ns,
        )
        if call.outcome == "error":
            span.set_status(Status(StatusCode.ERROR, call.error))
        span.end(max(call.started_ns, call.ended_ns))
        return span

    def _under_root(self, call: ModelCall, context: Context) -> Context:
        """The context of the root run's span, which its first call to end makes."""
        if call.root_name is None:
            return context
        with self._lock:  # calls of one run may end in several threads at once
            root = self._roots.get(call.root_run_id)
            if root is None:
                root = self._root_span(call, call.root_name, context)
                self._roots[call.root_run_id] = root
        return trace.set_span_in_context(root, context)

    def _root_span(self, call: ModelCall, name: str, context: Context) -> trace.Span:
        return self._tracer.start_span(
            f"{names.WORKFLOW_OPERATION} {name}",
            context=context,
            attributes={
                names.OPERATION: names.WORKFLOW_OPERATION,
                names.WORKFLOW_NAME: name,
                names.RUN_ID: str(call.root_run_id),
            },
            start_time=call.root_started_ns,
        )

    def _write_tree(self, report: TreeReport) -> None:
        root = self._roots.pop(report.tree.root_run_id, None)
        if root is None:
            self.metrics.record_tree(report, Context())
            return
        root.set_attributes(tree_attributes(report))
        if report.tree.outcome == "error":
            root.set_status(Status(StatusCode.ERROR, report.tree.error))
        root.end(report.tree.ended_ns)
        self.metrics.record_tree(report, trace.set_span_in_context(root, Context()))

    @property
    def _tracer(self) -> Tracer:
        return self._provider.get_tracer(names.SCOPE, _version())

    def _submit(self, spans: list[TokenSpan], parent: trace.SpanContext, low_token: float) -> None:
        metrics, provider = self.metrics, self._provider
        if not parent.trace_flags.sampled:
            metrics.count_token_spans("unsampled", len(spans))
            return
        emission = _Emission(self._tracer, provider, parent, low_token, self._options, metrics)
        job = Job(
            left=len(spans),
            slices=emission.slices(iter(spans)),
            lost=lambda count: metrics.count_token_spans("lost", count),
            failed=partial(_failed, metrics),
        )
        if spans and not self._worker.submit(job, limit=self._options.max_pending_spans):
            metrics.count_token_spans("lost", len(spans))


@dataclass(frozen=True, slots=True)
class _Emission:
    """The token spans of one call, on their way out."""

    tracer: Tracer
    provider: TracerProvider
    parent: trace.SpanContext
    low_token: float
    options: Options
    metrics: Metrics

    def slices(self, spans: Iterator[TokenSpan]) -> Iterator[int]:
        """Starts and ends the spans, a slice at a time; the number of each slice."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(self.parent), Context())
        pace = _pace_of(self.provider)
        while batch := list(islice(spans, SLICE)):
            for span in batch:
                self.tracer.start_span(
                    names.TOKEN_SPAN,
                    context=context,
                    attributes=token_attributes(span, self.low_token, self.options),
                    start_time=span.start_ns,
                ).end(span.end_ns)
            self.metrics.count_token_spans("emitted", len(batch))
            pace.advance(len(batch), self.provider)
            yield len(batch)


@dataclass(slots=True)
class _Pace:
    """Keeps token spans from filling the provider's queue, where they would evict others."""

    burst: int
    since: int = 0

    def advance(self, count: int, provider: object) -> None:
        """Counts spans; flushes the provider once they make a burst."""
        self.since += count
        if self.since + SLICE > self.burst:
            self.since = 0
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush()


_PACES: WeakKeyDictionary[object, _Pace] = WeakKeyDictionary()


def _pace_of(provider: object) -> _Pace:
    return _PACES.setdefault(provider, _Pace(_burst(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, ""))))


def _burst(queue_size: str) -> int:
    """How many spans to hand over between two flushes: at most a quarter of the queue."""
    return min(BURST, int(queue_size) // 4) if queue_size.strip().isdigit() else BURST


@cache
def _version() -> str:
    return version("langchain-logprobs")


def _failed(metrics: Metrics, error: Exception) -> None:
    metrics.count_error("token_spans")
    if metrics.first_failure():
        _LOG.warning("Token spans could not be emitted.", exc_info=error)
