"""What the page is told: what is in the store, as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast, get_args

from langchain_logprobs.core.confidence import (
    floor_of,
    measure,
    sound_logprob,
)
from langchain_logprobs.core.model import Run, RunTree
from langchain_logprobs.core.plain import plain_report, plain_run
from langchain_logprobs.core.reasons import REASONS
from langchain_logprobs.core.report import CallReport, Unavailable
from langchain_logprobs.core.tokens import CENSORED, TokenLogprob
from langchain_logprobs.core.trace import nested
from langchain_logprobs.core.windows import WINDOW, window_means
from langchain_logprobs.store.query import Query, Sort
from langchain_logprobs.store.reader import RunSummary, StoredRuns

PAGE = 200
"""Runs that are sent at once."""
_TREE_CALLS = 10_000
_TREE_LINES = 2_000
_SECOND_NS = 1_000_000_000


class BadQueryError(ValueError):
    """The address asks for something that cannot be."""


def query_of(parameters: Mapping[str, str], now_ns: int) -> Query:
    """The filters in an address.

    Raises:
        BadQueryError: One has a value it cannot have.
    """
    sort = parameters.get("sort") or "newest"
    if sort not in get_args(Sort):
        raise BadQueryError(f"{sort!r} is no order: {', '.join(get_args(Sort))}")
    since = _number(parameters, "since")
    up_to = _number(parameters, "up_to")
    return Query(
        model=parameters.get("model") or None,
        node=parameters.get("node") or None,
        outcome=parameters.get("outcome") or None,
        low=True if parameters.get("low") else None,
        under=_number(parameters, "under"),
        since_ns=None if since is None else now_ns - int(since * _SECOND_NS),
        text=parameters.get("text") or None,
        up_to=None if up_to is None else int(up_to),
        sort=cast("Sort", sort),
    )


def page_of(stored: StoredRuns, query: Query, offset: int) -> dict[str, Any]:
    """One page of the list, and how long the list is."""
    return {
        "runs": [asdict(of) for of in stored.summaries(query, limit=PAGE, offset=offset)],
        "total": stored.count(query),
        "offset": offset,
    }


def choices(stored: StoredRuns) -> dict[str, Any]:
    """What the filters can be set to, and what there is to know of the store."""
    return {
        "path": str(stored.path),
        "models": stored.models(),
        "nodes": stored.nodes(),
        "seq": stored.last_seq(),
        "tree": stored.last_tree(),
        "dropped": stored.dropped(),
    }


def trend(stored: StoredRuns, query: Query) -> list[dict[str, Any]]:
    """How the confidences of each model are distributed over time."""
    return [asdict(of) for of in stored.over_time(query)]


def run_of(stored: StoredRuns, run_id: str) -> dict[str, Any]:
    """All there is of one run: its report, its uncertain windows, the calls around it."""
    summary = stored.resolve(run_id)
    report = stored.report(summary.run_id)
    return {
        "report": plain_report(report),
        "explained": None if report.unavailable is None else _explained(report.unavailable),
        "windows": uncertain_windows(report),
        "trace": trace_of(stored, summary),
    }


def trace_of(stored: StoredRuns, summary: RunSummary) -> dict[str, Any]:
    """The tree of what ran in the same root run, line by line; of one that runs on, its calls."""
    tree = stored.run_tree(summary.root_run_id)
    calls = stored.summaries(Query(root=summary.root_run_id), limit=_TREE_CALLS)
    items: list[Run | RunSummary] = [*(tree.runs if tree else ()), *calls]
    lines = list(nested(items))
    times: list[RunTree | RunSummary] = [*calls, *([tree] if tree else [])]
    return {
        "name": tree.name if tree else summary.root_name,
        # A call that runs alone is its own root, of which nothing more will come.
        "ended": tree is not None or summary.root_run_id == summary.run_id,
        "outcome": tree.outcome if tree else None,
        "error": tree.error if tree else None,
        "started_ns": min(of.started_ns for of in times),
        "ended_ns": max(of.ended_ns for of in times),
        "lines": [{"depth": depth, **_line(of)} for depth, of in lines[:_TREE_LINES]],
        "total": len(lines),
        "omitted": tree.omitted_runs if tree else 0,
    }


def _explained(reason: Unavailable) -> str:
    of = REASONS[reason]
    return f"No confidence: {of.told}. The way out: {of.way_out}."


def _line(of: Run | RunSummary) -> dict[str, Any]:
    return {"kind": "call", **asdict(of)} if isinstance(of, RunSummary) else plain_run(of)


def uncertain_windows(report: CallReport) -> list[list[int]]:
    """Stretches of the headline's tokens, first and last, in which 32 in a row are unsure.

    Unsure as a whole answer is: their geometric mean probability is under `low_response`.
    """
    known = [
        (index, _counted(token, logprob))
        for index, token in enumerate(report.tokens)
        if (logprob := sound_logprob(token.logprob)) is not None
    ]
    if not known:
        return []
    means = window_means([logprob for _, logprob in known])
    size = min(WINDOW, len(known))
    low = [at for at, mean in enumerate(means) if math.exp(mean) < report.low_response]
    return _merged([[known[at][0], known[at + size - 1][0]] for at in low])


def _counted(token: TokenLogprob, logprob: float) -> float:
    """The token's logprob as `Confidence.lowest_window` counts it."""
    return logprob if logprob > CENSORED else floor_of(measure(token).tail_mass)


def _merged(spans: Sequence[list[int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = last
        else:
            merged.append([first, last])
    return merged


def _number(parameters: Mapping[str, str], name: str) -> float | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 2**63:
        raise BadQueryError(f"{name} is {text!r}, but takes a number, at least 0")
    return value
