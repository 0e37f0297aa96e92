"""LangChain's callbacks in, reports out: the handler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NoReturn, Self, Unpack
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from langchain_logprobs.ahead import AHEAD
from langchain_logprobs.core.capture import Capture, Ended, Event, OpenCall
from langchain_logprobs.core.model import Outcome, RunKind
from langchain_logprobs.core.places import event_tokens
from langchain_logprobs.core.report import (
    CallReport,
    Processor,
    Sink,
    TreeReport,
    tree_report,
)
from langchain_logprobs.core.shapes import SHAPES, Shape
from langchain_logprobs.core.start import open_call, parent_of, run_kind, run_name, run_uuid
from langchain_logprobs.core.tokens import TokenLogprob
from langchain_logprobs.delivery import Delivery, default_sinks
from langchain_logprobs.emitters import Emitter, as_sinks
from langchain_logprobs.losses import losses
from langchain_logprobs.outcome import error_kind, outcome_of
from langchain_logprobs.overlooked import have_others_told
from langchain_logprobs.reporting import Reporting
from langchain_logprobs.settings import (
    Settings,
    SettingsArguments,
    checked_labels,
    checked_thresholds,
)
from langchain_logprobs.telemetry.worker import SHARED, flush_at_exit

_FOREVER_NS = 2**63
_CHUNKS_WITHOUT_TOKENS = 64
"""Room for them beside `max_tokens`: a role, the finish, the usage, parts of tool calls."""


class LogprobsCallbackHandler(BaseCallbackHandler):
    """Captures token log probabilities of every model call, and reports how sure the model was.

    One handler serves any number of calls at once, sync and async, on a model, chain, agent or
    graph: `config={"callbacks": [LogprobsCallbackHandler()]}`. It raises nothing into them.

    Args:
        tracer_provider: Where spans go; OpenTelemetry's global provider if not given.
        meter_provider: Where metrics go; OpenTelemetry's global provider if not given.
        processors: Applied to every report, in order, before any sink or hook sees it.
        sinks: Where reports go instead of OpenTelemetry; include an `OpenTelemetrySink` to have
            both. A sink may also have the methods of `CallWatcher`.
        emitters: Also say the confidence of each call in another back end's words; see `Emitter`.
        shapes: Payload readers to try before the package's own.
        on_report: Is handed the `CallReport` of every call.
        on_low_confidence: Is handed the `CallReport` of calls whose confidence is under
            `low_response`, or one of whose JSON values is under its threshold.
        on_token: Is handed every token as it arrives, with the id of its call. It runs on the
            stream's thread.
        labels: Labels whose probability to report, by path or field name: a sequence of strings, an
            `Enum`, a `Literal`, `bool`. Those in the schema an answer was asked to fill are found
            without being named here.
        thresholds: The confidence under which a JSON value counts as low, by path or field name:
            `{"$.total": 0.9, "$.items[*].price": 0.8}`.
        clock: Nanoseconds since the epoch; for tests.
        settings: See `Settings`. What is not given comes from the environment.

    Raises:
        SettingsError: A setting has a value it cannot have.
        StoreError: The `store` asked for cannot be one.

    .. versionadded:: 0.1.0
    """

    # A handler that is not inline costs async code a hop to another thread for every token.
    run_inline = True

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        processors: Iterable[Processor] = (),
        sinks: Iterable[Sink] | None = None,
        emitters: Iterable[Emitter] = (),
        shapes: Iterable[Shape] = (),
        on_report: Callable[[CallReport], object] | None = None,
        on_low_confidence: Callable[[CallReport], object] | None = None,
        on_token: Callable[[TokenLogprob, UUID], object] | None = None,
        labels: Mapping[str, object] | None = None,
        thresholds: Mapping[str, float] | None = None,
        clock: Callable[[], int] = time.time_ns,
        **settings: Unpack[SettingsArguments],
    ) -> None:
        super().__init__()
        self.settings = Settings.from_environment(**settings)
        self.raise_error = self.settings.raise_errors
        if sinks is None:
            sinks = default_sinks(self.settings, tracer_provider, meter_provider)
        sinks = list(sinks)
        self._delivery = Delivery(
            self.settings,
            processors=processors,
            sinks=[*sinks, *as_sinks(emitters, sinks)],
            on_report=on_report,
            on_low_confidence=on_low_confidence,
            meter_provider=meter_provider,
        )
        self._capture = Capture(
            max_open_calls=self.settings.max_open_calls, max_tokens=self.settings.max_tokens
        )
        self._events = self._capture.events
        self._max_events = self.settings.max_tokens + _CHUNKS_WITHOUT_TOKENS
        self._shapes = (*map(self._delivery.guarded_shape, shapes), *SHAPES)
        self._on_token = on_token
        self._clock = clock
        self._reporting = Reporting(
            settings=self.settings,
            delivery=self._delivery,
            shapes=self._shapes,
            labels=checked_labels(labels or {}),
            thresholds=checked_thresholds(thresholds or {}),
            clock=clock,
        )
        self._is_looked_after = False
        self._reads_ahead = self._shapes[0] is SHAPES[0]  # others are run where the call is made

    # What it gathered

    @property
    def reports(self) -> tuple[CallReport, ...]:
        """The last `keep` call reports, oldest first."""
        return tuple(self._delivery.reports)

    @property
    def trees(self) -> tuple[TreeReport, ...]:
        """The last `keep` tree reports, oldest first."""
        return tuple(self._delivery.trees)

    @property
    def last(self) -> CallReport | None:
        """The last call report; `None` if there is none, or none is kept."""
        reports = self.reports
        return reports[-1] if reports else None

    def open_calls(self) -> tuple[OpenCall, ...]:
        """The calls under way, oldest first."""
        return self._capture.open_calls()

    def is_idle(self) -> bool:
        """Whether nothing is under way: no run is held in memory."""
        return not len(self._capture)

    def __copy__(self) -> Self:
        return self  # what holds it may be copied, such as a model: it hears of both

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A handler belongs to its process: make one where it is to listen.")

    def _repr_html_(self) -> str:
        """The reports it keeps, one a row: what a notebook shows."""
        from langchain_logprobs.core.html import calls_html  # noqa: PLC0415 - only notebooks need it

        return calls_html(self.reports)

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until what is under way is sent, `timeout` seconds at most; whether it is."""
        return self._delivery.flush(timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Reports the calls still open as abandoned, then flushes; whether everything is sent."""
        self.at_exit()
        return self.flush(timeout)

    # What the worker asks of it

    @property
    def tick_seconds(self) -> float:
        """How often to look for calls that have gone silent."""
        return self.settings.idle_timeout / 4

    def tick(self) -> None:
        """Reports what has gone silent for `idle_timeout` as abandoned."""
        self._guard(self._expire, self._clock() - int(self.settings.idle_timeout * 1e9))

    def at_exit(self) -> None:
        """Reports the calls still open: nothing is going to end them."""
        self._guard(self._expire, _FOREVER_NS)

    def after_fork(self) -> None:
        """Forgets what is under way: in a child process, that is the parent's."""
        self._is_looked_after = False
        self._capture.clear()
        self._delivery.after_fork()

    # LangChain's callbacks

    def on_llm_new_token(
        self,
        token: object,
        *,
        chunk: Any = None,
        run_id: UUID,
        parent_run_id: UUID | None = None,  # noqa: ARG002 - named, it costs less than in `kwargs`
        tags: list[str] | None = None,  # noqa: ARG002 - the same
        logprobs: object = None,
        log_probs: object = None,
        **kwargs: Any,  # noqa: ARG002 - not even deleted: this is run for every token
    ) -> None:
        """Notes what it is handed, by reference; reads nothing and decides nothing."""
        try:
            events = self._events.get(run_id.int)
        except AttributeError:  # an application may give its run a string for an id
            run_id = run_uuid(run_id)
            events = self._events.get(run_id.int)
        if events is None:  # late, the call was reported already; or nobody wants its tokens
            return
        event = (self._clock(), token, chunk, log_probs if logprobs is None else logprobs)
        if len(events) < self._max_events:
            events.append(event)
        else:
            self._guard(self._pass_over, run_id, event)
        if self._on_token is not None:
            self._guard(self._tell_tokens, self._on_token, run_id, event)

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: object, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Opens a call."""
        del messages
        self._guard(self._start_call, "chat", serialized, run_id, kwargs)

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: object, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Opens a call."""
        del prompts
        self._guard(have_others_told)
        self._guard(self._start_call, "text_completion", serialized, run_id, kwargs)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Reports a call."""
        del kwargs
        self._guard(self._end_call, run_id, None, response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Reports a call that did not come to its end, with what arrived of it."""
        self._guard(self._end_call, run_id, error, kwargs.get("response"))

    def on_chain_start(
        self, serialized: dict[str, Any], inputs: object, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Notes a run that calls may be inside."""
        del inputs
        self._guard(self._start_run, "chain", serialized, run_id, kwargs)

    def on_tool_start(
        self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Notes a run that calls may be inside."""
        del input_str
        self._guard(self._start_run, "tool", serialized, run_id, kwargs)

    def on_retriever_start(
        self, serialized: dict[str, Any], query: str, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Notes a run that calls may be inside."""
        del query
        self._guard(self._start_run, "retriever", serialized, run_id, kwargs)

    def on_chain_end(self, outputs: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del outputs, kwargs
        self._guard(self._end_run, run_id, None)

    def on_tool_end(self, output: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del output, kwargs
        self._guard(self._end_run, run_id, None)

    def on_retriever_end(self, documents: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del documents, kwargs
        self._guard(self._end_run, run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del kwargs
        self._guard(self._end_run, run_id, error)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del kwargs
        self._guard(self._end_run, run_id, error)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Closes a run, and the calls in it that nothing has ended."""
        del kwargs
        self._guard(self._end_run, run_id, error)

    # What they come to

    def _guard(self, method: Callable[..., None], *args: object) -> None:
        self._delivery.guard("handler", method, *args)

    def _start_call(
        self,
        operation: Literal["chat", "text_completion"],
        serialized: Mapping[str, Any] | None,
        run_id: UUID,
        told: Mapping[str, Any],
    ) -> None:
        if not self._is_looked_after:
            SHARED.look_after(self)
            flush_at_exit()
            self._is_looked_after = True
        run_id = run_uuid(run_id)
        call = open_call(operation, serialized or {}, run_id, told, self._clock())
        call.lost = losses(told)
        self._keep(self._reporting.of(self._capture.start_call(call), "abandoned"))
        self._delivery.call_started(run_id, call.inside)
        if self._on_token is not None or self._delivery.wants(run_id):
            self._capture.listen(run_id)
            if self._reads_ahead:
                needed = self._reporting.needs_candidates(call)
                AHEAD.call_started(call, with_candidates=needed)
        else:
            call.wanted = False
        if self._capture.call(run_id) is None:  # another thread has just ended the run around it
            self._delivery.call_finished(run_id)

    def _pass_over(self, run_id: UUID, event: Event) -> None:
        call = self._capture.call(run_id)
        if call is not None:
            call.overflow += len(event_tokens(event, self._shapes))

    def _tell_tokens(
        self, told: Callable[[TokenLogprob, UUID], object], run_id: UUID, event: Event
    ) -> None:
        for read in event_tokens(event, self._shapes):
            self._delivery.guard("on_token", told, read, run_id)

    def _end_call(self, run_id: UUID, error: BaseException | None, response: Any) -> None:
        call = self._capture.end_call(run_uuid(run_id))
        if call is not None:
            self._keep(self._reporting.of([call], outcome_of(error), error, response))
            AHEAD.call_ended(call)

    def _keep(self, reports: Iterable[CallReport]) -> None:
        """Has their tree know of reports."""
        for report in reports:
            call = report.call
            if not self._capture.add_report(report) and call.root_name is not None:
                # Another thread has ended the tree meanwhile; its span would never end.
                self._delivery.tree_finished(call.root_run_id, call.ended_ns)

    def _start_run(
        self,
        told_as: RunKind,
        serialized: Mapping[str, Any] | None,
        run_id: UUID,
        told: Mapping[str, Any],
    ) -> None:
        run_id, parent = run_uuid(run_id), parent_of(told)
        name, kind = run_name(serialized or {}, told), run_kind(told_as, told)
        self._capture.start_run(run_id, parent, name, self._clock(), kind)
        self._delivery.run_started(run_id)

    def _end_run(self, run_id: UUID, error: BaseException | None) -> None:
        outcome, kind = outcome_of(error), error_kind(error)
        ended = self._capture.end_run(run_uuid(run_id), outcome, kind, self._clock())
        # A chain's stream that is left early ends well, and tells the model's run only afterwards.
        self._close(ended, "cancelled" if outcome == "ok" else outcome, error)

    def _expire(self, before_ns: int) -> None:
        for ended in self._capture.expire(before_ns, self._clock()):
            self._close(ended, "abandoned")

    def _close(self, ended: Ended, outcome: Outcome, error: BaseException | None = None) -> None:
        reports = self._reporting.of(ended.calls, outcome, error)
        if ended.tree is None:
            self._keep(reports)
            return
        calls = [*ended.reports, *reports]
        low_token = self.settings.low_token
        tree = tree_report(ended.tree, calls, low_token=low_token, omitted=ended.omitted)
        self._delivery.tree(ended.tree, tree if calls else None)
