"""The OpenTelemetry sink: reports to the LLM span, token spans, the chain's root span, metrics."""

from __future__ import annotations

import logging
import threading
import time
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, TracerProvider

from langchain_logprobs.core.model import ModelCall
from langchain_logprobs.core.report import CallReport, Report, TreeReport
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.arrays import apart, set_arrays, set_attributes
from langchain_logprobs.telemetry.aside import Aside
from langchain_logprobs.telemetry.closing import Kept, closers
from langchain_logprobs.telemetry.emission import Emission
from langchain_logprobs.telemetry.linking import Link, open_link, watch
from langchain_logprobs.telemetry.metrics import Metrics, metrics_of, sendable
from langchain_logprobs.telemetry.sampling import records_metrics, sampled_out
from langchain_logprobs.telemetry.spans import (
    Attributes,
    Options,
    call_attributes,
    model_attributes,
    openinference_attributes,
    tree_attributes,
)
from langchain_logprobs.telemetry.tokens import count_token_spans
from langchain_logprobs.telemetry.worker import SHARED, Job, Worker, flush_at_exit

_LOG = logging.getLogger("langchain_logprobs")


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
        self._written: dict[UUID, trace.SpanContext] = {}
        self._lock = threading.Lock()

    def span_of(self, run_id: UUID) -> trace.SpanContext | None:
        """Where the LLM span of a call is whose report is just being handed on."""
        return self._written.get(run_id)

    @property
    def sends_numbers_alone(self) -> bool:
        """Whether nothing of the text of tokens and alternatives is sent."""
        return not self._options.capture_content

    @property
    def metrics(self) -> Metrics:
        """The instruments it records to."""
        return metrics_of(self._meter_provider)

    def run_started(self, run_id: UUID) -> None:
        """Watches spans from now on: a call inside may get its span before we hear of it."""
        del run_id
        self._watch()

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        """Notes where a call's spans will belong: called where and when the call starts."""
        outer = None if inside is None else self._links.get(inside)
        link = open_link(run_id, outer, early=self._watch())
        self._links[run_id] = link
        # Theirs came first: when we hear the answer it will have ended, and its trace with it.
        if link.claimed and link.span is not None and closers(self._provider):
            link.summary = self._summary(link.span, None)

    def wants(self, run_id: UUID) -> bool:
        """Whether anything of a call that has just been started will be sent.

        Nothing will be where no metrics are recorded, and the call's spans are sampled out with
        the span around them.
        """
        link = self._links.get(run_id)
        if link is None or records_metrics(self._meter_provider):
            return True
        providers = (self._provider, trace.get_tracer_provider())
        return not all(sampled_out(link, provider) for provider in providers)

    def call_finished(self, run_id: UUID) -> None:
        """Forgets a call, reported or not."""
        self._written.pop(run_id, None)
        link = self._links.pop(run_id, None)
        if link is not None:
            link.closed = True
            link.span = None  # whatever context still holds the link need not hold the span
            if link.summary is not None:  # no report of the call was handed on
                link.summary.end()

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
        self._written.clear()

    def flush(self, timeout: float) -> bool:
        """Waits until the token spans are sent, `timeout` seconds at most; whether they are."""
        with self._worker.hurried():
            return self._flush(timeout)

    def _flush(self, timeout: float) -> bool:
        until = time.monotonic() + timeout
        sent = self._worker.flush(timeout, id(self._provider))
        flush = getattr(self._provider, "force_flush", None)
        if flush is None:
            return sent
        left = max(0.0, until - time.monotonic())
        # It goes on for as long as anybody starts spans, whatever it is told.
        flushed = Aside(partial(flush, int(left * 1000))).result(left)
        return sent and bool(flushed)

    def __call__(self, report: Report) -> None:
        """Writes a report."""
        if isinstance(report, CallReport):
            self._write_call(report)
        else:
            self._write_tree(report)

    def _watch(self) -> bool:
        """Sees to it that spans are watched; whether they were not, up to now."""
        new = watch(self._provider) | watch(trace.get_tracer_provider())
        if new:
            flush_at_exit()
        return new

    @property
    def _provider(self) -> TracerProvider:
        return self._tracer_provider or trace.get_tracer_provider()

    def _write_call(self, report: CallReport) -> None:
        link = self._links.get(report.call.run_id) or Link(Context())
        link.closed = True
        count, omitted = count_token_spans(report, self._options)
        attributes = call_attributes(report, omitted, self._options)
        span, kept = self._written_spans(report, attributes, link, is_followed=count > 0)
        self._written[report.call.run_id] = span.get_span_context()
        context = trace.set_span_in_context(span, Context())
        self.metrics.record_call(
            report,
            context,
            metric_attributes=self._options.metric_attributes,
            metric_fields=self._options.metric_fields,
        )
        self.metrics.count_token_spans("omitted", omitted)
        self._submit(report, count, span.get_span_context(), kept)

    def _written_spans(
        self, report: CallReport, attributes: Attributes, link: Link, *, is_followed: bool
    ) -> tuple[trace.Span, Kept]:
        """The LLM span with all there is to say, and what must stay open until the tokens follow.

        What an LLM span that has ended can no longer be told is said under it.
        """
        call, own = report.call, None
        if link.span is None:
            own = self._own_span(report, attributes, link.context)
        span = own or link.span or trace.INVALID_SPAN
        wanted = closers(self._provider) if is_followed else []
        is_sampled = span.get_span_context().trace_flags.sampled
        summary, link.summary = link.summary, None
        if summary is None and is_sampled and (wanted or not span.is_recording()):
            summary = self._summary(span, call.started_ns)
        for told in (link.span, summary):
            if told is not None and told.is_recording():
                set_attributes(told, attributes)
        ended_ns = max(call.started_ns, call.ended_ns)
        if own is not None:
            own.end(ended_ns)
        kept = Kept(summary, ended_ns, wanted)
        if not wanted:
            kept.release()
        return span, kept

    def _summary(self, parent: trace.Span, start_ns: int | None = None) -> trace.Span:
        return self._tracer.start_span(
            names.SUMMARY_SPAN,
            context=trace.set_span_in_context(parent, Context()),
            start_time=start_ns,
        )

    def _own_span(self, report: CallReport, attributes: Attributes, context: Context) -> trace.Span:
        call = report.call
        if not trace.get_current_span(context).get_span_context().is_valid:
            context = self._under_root(call, context)
        arrays, others = apart(attributes)
        span = self._tracer.start_span(
            sendable(f"{call.operation} {call.model}") if call.model else call.operation,
            context=context,
            kind=SpanKind.CLIENT,
            attributes={
                **model_attributes(call),
                **others,
                **openinference_attributes("LLM", report.text, self._options),
            },
            start_time=call.started_ns,
        )
        set_arrays(span, arrays)
        if call.outcome == "error":
            span.set_status(Status(StatusCode.ERROR, call.error))
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
            sendable(f"{names.WORKFLOW_OPERATION} {name}"),
            context=context,
            attributes={
                names.OPERATION: names.WORKFLOW_OPERATION,
                names.WORKFLOW_NAME: sendable(name),
                names.RUN_ID: str(call.root_run_id),
                **openinference_attributes("CHAIN", None, self._options),
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

    def _submit(
        self, report: CallReport, count: int, parent: trace.SpanContext, kept: Kept
    ) -> None:
        metrics, provider = self.metrics, self._provider
        if not count:
            return
        if not parent.trace_flags.sampled:
            metrics.count_token_spans("unsampled", count)
            return
        emission = Emission(
            report=report,
            options=self._options,
            tracer=self._tracer,
            provider=provider,
            parent=parent,
            metrics=metrics,
            kept=kept,
        )
        job = Job(
            left=count,
            slices=emission.slices(),
            lost=partial(_lose, metrics, kept),
            failed=partial(_failed, metrics),
            lane=id(provider),
        )
        if not self._worker.submit(job, limit=self._options.max_pending_spans):
            _lose(metrics, kept, count)


@cache
def _version() -> str | None:
    try:
        return version("langchain-logprobs")
    except PackageNotFoundError:  # run from a folder, or frozen into an executable
        return None


def _lose(metrics: Metrics, kept: Kept, count: int) -> None:
    metrics.count_token_spans("lost", count)
    if metrics.is_first("lost"):
        _LOG.warning(
            "%d token spans were lost, and further ones will only be counted, in the metric %s: "
            "they come faster than the exporter takes them, or it fails. token_spans='low' makes "
            "fewer.",
            count,
            names.TOKEN_SPANS.name,
        )
    kept.release()  # last, for it may raise


def _failed(metrics: Metrics, error: Exception) -> None:
    metrics.count_error("token_spans")
    if metrics.is_first("failed"):
        _LOG.warning("Token spans could not be emitted.", exc_info=error)
