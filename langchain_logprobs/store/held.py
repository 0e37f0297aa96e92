"""Calls that are written while their root run goes on, which is then written without them."""

from __future__ import annotations

from uuid import UUID

from langchain_logprobs.core.report import CallReport, TreeReport
from langchain_logprobs.store.rows import weight


class Held:
    """The calls, the oldest given up for new ones: it costs no more than that it is written again.

    A root run may never be handed over: a processor drops it, or the queue is full when it ends.

    Args:
        most: How much they may weigh together, by `rows.weight`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: dict[UUID, CallReport] = {}
        self._weight = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._calls)

    def __contains__(self, report: CallReport) -> bool:
        """Whether the call was written, just as it is here."""
        written = self._calls.get(report.call.run_id)
        return written is report or written == report

    def hold(self, report: CallReport) -> None:
        """Notes a call that is written, if it is in a root run."""
        if report.call.root_run_id == report.call.run_id:
            return
        self._let_go(report.call.run_id)
        self._calls[report.call.run_id] = report
        self._weight += weight(report)
        while self._weight > self._most:
            self._let_go(next(iter(self._calls)))

    def let_go(self, ended: TreeReport) -> None:
        """Forgets the calls of a root run."""
        for report in ended.calls:
            self._let_go(report.call.run_id)

    def _let_go(self, run_id: UUID) -> None:
        report = self._calls.pop(run_id, None)
        if report is not None:
            self._weight -= weight(report)
