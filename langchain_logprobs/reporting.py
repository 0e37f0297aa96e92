"""A call that has ended, to its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_logprobs.core.capture import OpenCall
from langchain_logprobs.core.finish import finish_guarded
from langchain_logprobs.core.model import Outcome, tokens_of
from langchain_logprobs.core.report import CallReport, call_report
from langchain_logprobs.core.shapes import Shape
from langchain_logprobs.core.tokens import settle
from langchain_logprobs.delivery import Delivery
from langchain_logprobs.outcome import error_kind
from langchain_logprobs.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporting:
    """Makes the reports of calls, and hands them on.

    Attributes:
        settings: What counts as low, and how many tokens are kept.
        delivery: Where reports go.
        shapes: Payload readers, tried in order.
        labels: As in `LogprobsCallbackHandler`, checked.
        thresholds: As in `LogprobsCallbackHandler`, checked.
        clock: Nanoseconds since the epoch.
    """

    settings: Settings
    delivery: Delivery
    shapes: tuple[Shape, ...]
    labels: Mapping[str, object]
    thresholds: Mapping[str, float]
    clock: Callable[[], int]

    def needs_candidates(self, call: OpenCall) -> bool:
        """Whether anybody may ask for more of its candidates than their numbers."""
        return self.delivery.needs_candidates or bool(self.labels or call.schemas)

    def of(
        self,
        calls: Iterable[OpenCall],
        outcome: Outcome,
        error: BaseException | None = None,
        response: Any = None,
    ) -> list[CallReport]:
        """The reports of those calls that anybody wants to know of, handed on."""
        reports = []
        for call in calls:
            report = None
            if call.wanted:  # each guarded apart: one that cannot be made takes no other with it
                ended = (call, outcome, error, response)
                report = self.delivery.guard("handler", self._report, *ended)
            if report is None:
                self.delivery.call_finished(call.run_id)
            else:
                self.delivery.call(report, requested=call.requested)
                reports.append(report)
        return reports

    def _report(
        self, call: OpenCall, outcome: Outcome, error: BaseException | None, response: Any
    ) -> CallReport:
        finished, unavailable = finish_guarded(
            call,
            self.delivery.guard,
            outcome=outcome,
            ended_ns=self.clock(),
            error=error_kind(error),
            response=response,
            shapes=self.shapes,
            max_tokens=self.settings.max_tokens,
        )
        report = call_report(
            finished,
            low_token=self.settings.low_token,
            low_response=self.settings.low_response,
            unavailable=unavailable,
            labels=self.labels,
            thresholds=self.thresholds,
            schemas=call.schemas,
        )
        for completion in finished.completions:
            settle(tokens_of(completion), with_candidates=self.delivery.needs_candidates)
        return report
