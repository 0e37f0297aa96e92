"""What is in a store: lists, whole reports, figures over time. Reading writes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from langchain_logprobs.core.model import Outcome, RunTree
from langchain_logprobs.core.report import CallReport, TreeReport, Unavailable
from langchain_logprobs.store.codec import DamagedError, decode
from langchain_logprobs.store.query import ORDERS, Query
from langchain_logprobs.store.rows import used_bytes
from langchain_logprobs.store.schema import StoreError, connect_to_read, default_path, explained

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A call as a list shows it; the columns of the store's table `calls`.

    .. versionadded:: 0.1.0
    """

    seq: int
    run_id: str
    root_run_id: str
    parent_run_id: str | None
    root_name: str | None
    started_ns: int
    ended_ns: int
    model: str | None
    provider: str | None
    node: str | None
    outcome: Outcome
    error: str | None
    unavailable: Unavailable | None
    low: bool
    tokens: int
    low_tokens: int
    confidence: float | None
    lowest_window: float | None
    min_logprob: float | None
    mean_entropy: float | None
    max_entropy: float | None
    min_log_odds: float | None
    surprisal_tail: float | None
    lowest_field: str | None
    lowest_field_confidence: float | None
    text: str


_COLUMNS = ", ".join(of.name for of in fields(RunSummary))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The confidences of one model in one stretch of time: their quartiles, tenth and ninetieth."""

    model: str | None
    start_ns: int
    count: int
    low: int
    quantiles: tuple[float, float, float, float, float]


class StoredRuns:
    """Reads a store, while others may be writing to it.

    Args:
        path: By default what `LANGCHAIN_LOGPROBS_STORE` names, or `langchain_logprobs.db` here.

    Raises:
        StoreError: There is no store, or it cannot be read; the message says why, and the way out.

    .. versionadded:: 0.1.0
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = default_path() if path is None else Path(path)
        connect_to_read(self.path).close()

    def summaries(
        self, query: Query | None = None, *, limit: int | None = None, offset: int = 0
    ) -> list[RunSummary]:
        """The calls asked for, without their tokens."""
        query = query or Query()
        condition, values = query.where()
        found = self._rows(
            f"SELECT {_COLUMNS} FROM calls WHERE {condition} "  # noqa: S608 - values are bound
            f"ORDER BY {ORDERS[query.sort]} LIMIT ? OFFSET ?",
            [*values, -1 if limit is None else limit, offset],
        )
        return [_summary(row) for row in found]

    def count(self, query: Query | None = None) -> int:
        """How many calls there are of those asked for."""
        condition, values = (query or Query()).where()
        [(count,)] = self._rows(f"SELECT count(*) FROM calls WHERE {condition}", values)  # noqa: S608
        return int(count)

    def resolve(self, run_id: str) -> RunSummary:
        """The call with that id, or with the one id that begins so; `last` is the last written.

        Raises:
            StoreError: There is none, or more than one.
        """
        if run_id == "last":
            found = self.summaries(limit=1)
        else:
            rows = self._rows(
                f"SELECT {_COLUMNS} FROM calls WHERE run_id >= ? AND run_id < ? LIMIT 2",  # noqa: S608
                [run_id.lower(), run_id.lower() + "\uffff"],
            )
            found = [_summary(row) for row in rows]
        if not found:
            raise StoreError(
                f"There is no run {run_id} in {self.path}. `langchain-logprobs runs` lists them."
            )
        if len(found) > 1:
            raise StoreError(f"More than one run begins with {run_id}: give more of its id.")
        return found[0]

    def report(self, run_id: object) -> CallReport:
        """The report of a call, equal to what was stored.

        Raises:
            StoreError: There is no such call, or what is stored of it is damaged.
        """
        seq = self.resolve(str(run_id)).seq
        found = self._rows("SELECT body FROM bodies WHERE seq = ?", [seq])
        if not found:
            raise StoreError(f"The run {run_id} was deleted just now, to keep {self.path} small.")
        report: CallReport = self._decoded(found[0][0], CallReport, run_id)
        return report

    def reports(self, query: Query | None = None) -> Iterator[CallReport]:
        """The reports asked for, a page at a time.

        Raises:
            StoreError: What is stored of one is damaged.
        """
        query = query or Query()
        if query.up_to is None:  # what is written meanwhile must not shift the pages
            query = replace(query, up_to=self.last_seq())
        condition, values = query.where()
        statement = (
            f"SELECT run_id, body FROM calls JOIN bodies USING (seq) WHERE {condition} "  # noqa: S608
            f"ORDER BY {ORDERS[query.sort]} LIMIT {_PAGE} OFFSET ?"
        )
        offset = 0
        while page := self._rows(statement, [*values, offset]):
            yield from (self._decoded(body, CallReport, run_id) for run_id, body in page)
            offset += _PAGE

    def tree(self, root_run_id: object) -> TreeReport:
        """The report of a root run, equal to what was stored.

        Raises:
            StoreError: There is no such root run, or what is stored of it is damaged.
        """
        found = self._rows("SELECT body FROM trees WHERE root_run_id = ?", [str(root_run_id)])
        if not found:
            raise StoreError(
                f"There is no root run {root_run_id} in {self.path}: it has not ended, or was a "
                "single call."
            )
        body = self._decoded(found[0][0], dict, root_run_id)
        return self._tree(body)

    def run_tree(self, root_run_id: object) -> RunTree | None:
        """The root run without its calls; `None` if it has not ended, or was a single call.

        Raises:
            StoreError: What is stored of it is damaged.
        """
        found = self._rows("SELECT body FROM trees WHERE root_run_id = ?", [str(root_run_id)])
        if not found:
            return None
        tree: RunTree = self._decoded(found[0][0], dict, root_run_id)["tree"]
        return tree

    def _tree(self, body: dict[str, Any]) -> TreeReport:
        calls = {of: body["embedded"].get(of) or self.report(of) for of in body["calls"]}
        return TreeReport(
            tree=body["tree"],
            calls=tuple(calls.values()),
            confidence=body["confidence"],
            weakest=None if body["weakest"] is None else calls[body["weakest"]],
            omitted=body["omitted"],
        )

    def roots(self, since_ns: int = 0) -> list[str]:
        """The ids of the root runs that ended since then, newest first."""
        statement = "SELECT root_run_id FROM trees WHERE ended_ns >= ? ORDER BY seq DESC"
        return [row[0] for row in self._rows(statement, [since_ns])]

    def models(self) -> list[str]:
        """The models there are."""
        found = self._rows("SELECT DISTINCT model FROM calls WHERE model NOT NULL ORDER BY 1", [])
        return [row[0] for row in found]

    def nodes(self) -> list[str]:
        """The LangGraph nodes there are."""
        found = self._rows("SELECT DISTINCT node FROM calls WHERE node NOT NULL ORDER BY 1", [])
        return [row[0] for row in found]

    def unavailable(self, query: Query | None = None) -> list[tuple[str | None, str | None, int]]:
        """How many calls have no confidence: by model and reason, `None` for those that have."""
        condition, values = (query or Query()).where()
        return self._rows(
            f"SELECT model, unavailable, count(*) FROM calls WHERE {condition} GROUP BY 1, 2",  # noqa: S608
            values,
        )

    def last_seq(self) -> int:
        """The `seq` of what was written last; 0 if there is nothing."""
        [(seq,)] = self._rows("SELECT coalesce(max(seq), 0) FROM calls", [])
        return int(seq)

    def last_tree(self) -> int:
        """The same of root runs."""
        [(seq,)] = self._rows("SELECT coalesce(max(seq), 0) FROM trees", [])
        return int(seq)

    def dropped(self) -> int:
        """Reports that writers had to drop, over all processes."""
        found = self._rows("SELECT value FROM totals WHERE name = 'dropped'", [])
        return int(found[0][0]) if found else 0

    def used_bytes(self) -> int:
        """How much of the file is in use."""
        with explained(self.path), closing(connect_to_read(self.path)) as connection:
            return used_bytes(connection)

    def confidences(self, query: Query | None = None) -> list[tuple[float, int]]:
        """Confidence and tokens of each call that has a confidence."""
        condition, values = (query or Query()).where()
        return self._rows(
            f"SELECT confidence, tokens FROM calls WHERE confidence NOT NULL AND {condition}",  # noqa: S608
            values,
        )

    def over_time(self, query: Query | None = None, *, buckets: int = 48) -> list[Bucket]:
        """How the confidences of each model are distributed, from the first run to the last.

        Args:
            query: Which runs.
            buckets: Stretches of time, all equally long.
        """
        condition, values = (query or Query()).where()
        rows = self._rows(
            "SELECT model, ended_ns, confidence, low FROM calls "  # noqa: S608
            f"WHERE confidence NOT NULL AND {condition} ORDER BY confidence",
            values,
        )
        if not rows:
            return []
        start = min(row[1] for row in rows)
        width = max(1, -(-(max(row[1] for row in rows) + 1 - start) // buckets))
        gathered: dict[tuple[str | None, int], list[tuple[float, bool]]] = {}
        for model, ended_ns, confidence, low in rows:
            key = (model, start + (ended_ns - start) // width * width)
            gathered.setdefault(key, []).append((confidence, bool(low)))
        return [
            Bucket(
                model=model,
                start_ns=at,
                count=len(runs),
                low=sum(low for _, low in runs),
                quantiles=_quantiles([confidence for confidence, _ in runs]),
            )
            for (model, at), runs in sorted(gathered.items(), key=lambda item: item[0][1])
        ]

    def _rows(self, statement: str, values: list[Any]) -> list[Any]:
        with explained(self.path), closing(connect_to_read(self.path)) as connection:
            return connection.execute(statement, values).fetchall()

    def _decoded(self, body: bytes, kind: type[Any], run_id: object) -> Any:
        try:
            value, reason = decode(body), f"not a {kind.__name__}"
        except DamagedError as error:
            value, reason = None, str(error)
        if isinstance(value, kind):
            return value
        raise StoreError(
            f"What {self.path} holds of the run {run_id} is damaged; other runs can still be read. "
            f"({reason})"
        )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which that share of the ordered values lies, between neighbours in line."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _quantiles(ordered: list[float]) -> tuple[float, float, float, float, float]:
    tenth, quarter, half, three, nine = (quantile(ordered, q) for q in (0.1, 0.25, 0.5, 0.75, 0.9))
    return tenth, quarter, half, three, nine


def _summary(row: sqlite3.Row | tuple[Any, ...]) -> RunSummary:
    values = dict(zip((of.name for of in fields(RunSummary)), row, strict=True))
    return RunSummary(**{**values, "low": bool(values["low"])})
