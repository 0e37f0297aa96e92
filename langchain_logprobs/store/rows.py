"""Reports as rows: statements for one connection, none of which opens or ends a transaction."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from langchain_logprobs.core.report import CallReport, Report, TreeReport
from langchain_logprobs.store.codec import encode
from langchain_logprobs.store.schema import MEASURES

EXCERPT = 240
"""Characters of an answer that a list shows."""
_COLUMNS = (
    "run_id",
    "root_run_id",
    "parent_run_id",
    "root_name",
    "started_ns",
    "ended_ns",
    "model",
    "provider",
    "node",
    "outcome",
    "error",
    "unavailable",
    "low",
    "tokens",
    "low_tokens",
    "lowest_field",
    "lowest_field_confidence",
    "text",
    *MEASURES,
)
_INSERT_CALL = (
    f"INSERT OR REPLACE INTO calls ({', '.join(_COLUMNS)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)

Row = tuple[Any, ...]


def weight(report: Report) -> int:
    """How much room a report takes while it waits. A tree's calls are held anyway."""
    if isinstance(report, TreeReport):
        return 1 + len(report.calls) + len(report.tree.runs)
    return 1 + sum(len(completion.tokens) for completion in report.call.completions)


def call_row(report: CallReport) -> Row:
    """What of a call can be listed, sorted and searched."""
    call, confidence = report.call, report.confidence
    lowest = report.lowest_field
    return (
        str(call.run_id),
        str(call.root_run_id),
        None if call.parent_run_id is None else str(call.parent_run_id),
        _text(call.root_name),
        call.started_ns,
        call.ended_ns,
        _text(call.response_model or call.model),
        _text(call.provider),
        _text(call.metadata.get("langgraph_node")),
        call.outcome,
        _text(call.error),
        report.unavailable,
        report.low,
        confidence.count,
        confidence.low,
        None if lowest is None else _text(lowest.path),
        None if lowest is None else lowest.confidence.confidence,
        _text(report.text[:EXCERPT]) or "",
        *(getattr(confidence, name) for name in MEASURES),
    )


def insert_call(connection: sqlite3.Connection, row: Row, body: bytes) -> None:
    """Writes a call; one with the same id is replaced."""
    seq = connection.execute(_INSERT_CALL, row).lastrowid
    connection.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (seq, body))


def tree_row(report: TreeReport, embedded: Iterable[CallReport]) -> Row:
    """A root run: its calls by id, and those in full that are not stored as they are in it.

    Args:
        report: The root run.
        embedded: Those of its calls that a processor changed on their way to the store.
    """
    tree, weakest = report.tree, report.weakest
    body = {
        "tree": tree,
        "calls": [str(of.call.run_id) for of in report.calls],
        "embedded": {str(of.call.run_id): of for of in embedded},
        "confidence": report.confidence,
        "weakest": None if weakest is None else str(weakest.call.run_id),
        "omitted": report.omitted,
    }
    return (
        str(tree.root_run_id),
        _text(tree.name) or "",
        tree.started_ns,
        tree.ended_ns,
        tree.outcome,
        len(report.calls),
        report.confidence.confidence,
        body["weakest"],
        encode(body),
        len(tree.runs) + tree.omitted_runs,
    )


def insert_tree(connection: sqlite3.Connection, row: Row) -> None:
    """Writes a root run; one with the same id is replaced."""
    connection.execute(
        "INSERT OR REPLACE INTO trees (root_run_id, name, started_ns, ended_ns, outcome, calls, "
        "confidence, weakest, body, runs) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def count_dropped(connection: sqlite3.Connection, dropped: int) -> None:
    """Adds to the number of reports that were not written, over all processes."""
    connection.execute(
        "INSERT INTO totals VALUES ('dropped', ?) "
        "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (dropped,),
    )


def prune_by_age(connection: sqlite3.Connection, seconds: float) -> None:
    """Deletes what ended longer ago than that: root runs with all their calls, or not at all."""
    _delete_before(connection, time.time_ns() - int(seconds * 1e9))


def prune_by_size(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Deletes the oldest runs if the file holds more than that, down to nine tenths of it."""
    used = used_bytes(connection)
    if used <= max_bytes:
        return
    (count,) = connection.execute("SELECT count(*) FROM calls").fetchone()
    # As if all were equally large: where they are not, the next time comes closer.
    too_many = math.ceil(count * (1 - 0.9 * max_bytes / used))
    ended = connection.execute(
        "SELECT ended_ns FROM calls ORDER BY ended_ns LIMIT 1 OFFSET ?", (too_many,)
    ).fetchone()
    _delete_before(connection, 2**63 - 1 if ended is None else ended[0])


def used_bytes(connection: sqlite3.Connection) -> int:
    """How much of the file is in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _delete_before(connection: sqlite3.Connection, ended_ns: int) -> None:
    connection.execute(
        "DELETE FROM calls WHERE ended_ns < ?1 AND NOT EXISTS (SELECT 1 FROM trees "
        "WHERE trees.root_run_id = calls.root_run_id AND trees.ended_ns >= ?1)",
        (ended_ns,),
    )
    connection.execute("DELETE FROM trees WHERE ended_ns < ?", (ended_ns,))


def _text(value: object) -> str | None:
    """Text as SQLite takes it: half characters, which JSON may hold, are replaced."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode()
