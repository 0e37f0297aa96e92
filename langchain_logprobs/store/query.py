"""Which runs to read, and in which order. Imports little: the command line's help needs no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Sort = Literal["newest", "oldest", "least", "most", "longest", "slowest"]
"""In which order: by end, by confidence (runs without any last), by tokens, by duration."""

ORDERS: Final[Mapping[Sort, str]] = {
    "newest": "seq DESC",
    "oldest": "seq",
    "least": "confidence IS NULL, confidence, seq",
    "most": "confidence DESC, seq",
    "longest": "tokens DESC, seq",
    "slowest": "ended_ns - started_ns DESC, seq",
}
"""The same in SQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which runs, and in which order.

    Attributes:
        model: Those of this model.
        node: Those of this LangGraph node.
        outcome: Those that ended so.
        low: Those that were unsure (`True`), or those that were not.
        under: Those with a confidence under this.
        since_ns: Those that ended at this time or later.
        until_ns: Those that ended before this time.
        text: Those whose answer holds this near its beginning, whatever the case.
        root: Those under this root run.
        up_to: Those written no later than this `seq`.
        sort: The order.

    .. versionadded:: 0.1.0
    """

    model: str | None = None
    node: str | None = None
    outcome: str | None = None
    low: bool | None = None
    under: float | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    text: str | None = None
    root: str | None = None
    up_to: int | None = None
    sort: Sort = "newest"

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its arguments."""
        conditions = {
            "model = ?": self.model,
            "node = ?": self.node,
            "outcome = ?": self.outcome,
            "low = ?": self.low,
            "confidence < ?": self.under,
            "ended_ns >= ?": self.since_ns,
            "ended_ns < ?": self.until_ns,
            "instr(lower(text), lower(?)) > 0": self.text or None,
            "root_run_id = ?": self.root,
            "seq <= ?": self.up_to,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        return " AND ".join(given) or "1", [_bindable(value) for value in given.values()]


def _bindable(value: object) -> object:
    """The value as SQLite takes it: no half characters, no number of more than 64 bits."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case int():
            return max(-(2**63), min(value, 2**63 - 1))
    return value
