"""`runs`: the list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli.options import clock, console, when_ns
from langchain_logprobs.cli.render import heat_style, number, visible
from langchain_logprobs.store.query import Query, Sort
from langchain_logprobs.store.reader import RunSummary, StoredRuns

_ID = len("01a205ba-79c7")
_CLOCK = len("2026-11-23 00:07:20")
_CONFIDENCE = len("confidence")
_MODEL = 24
_GAPS = len("tokens") + 17
_ANSWER = 24
"""What the answers need beside the other columns; with less, a run has two lines."""


def query(
    *,
    model: str | None = None,
    node: str | None = None,
    since: str | None = None,
    outcome: str | None = None,
    under: float | None = None,
    text: str | None = None,
    low: bool | None = None,
    sort: Sort = "newest",
) -> Query:
    """What the options ask for.

    Raises:
        Failure: An option has a value it cannot have.
    """
    return Query(
        model=model,
        node=node,
        since_ns=when_ns(since),
        outcome=outcome,
        under=under,
        text=text,
        low=low,
        sort=sort,
    )


def list_runs(store: Path | None, asked: Query, limit: int, *, as_json: bool) -> None:
    """Prints the runs, as a table or one JSON object a line."""
    stored = StoredRuns(store)
    found = stored.summaries(asked, limit=limit)
    if as_json:
        for summary in found:
            typer.echo(json.dumps(asdict(summary)))
        return
    out = console()
    if found:
        out.print(_listed(found, out.width))
    total = stored.count(asked)
    out.print(f"{len(found):,} of {total:,} runs in {stored.path}", style="dim", markup=False)
    if total > len(found):
        out.print("More: --limit, or langchain-logprobs view", style="dim")
    if not total and not stored.count():
        out.print(
            "An application with a Store() fills it; langchain-logprobs demo, too.", style="dim"
        )
    if dropped := stored.dropped():
        out.print(f"{dropped:,} reports were dropped: writing could not keep up.", style="yellow")


def _listed(found: list[RunSummary], width: int) -> RenderableType:
    """A table, or where that would be too wide for the answers, two lines a run."""
    enough = _telling_apart([of.run_id for of in found])
    model = min(_MODEL, max(cell_len(visible(of.model or "")) for of in found))
    rest = width - enough - _CLOCK - model - _CONFIDENCE - _GAPS
    if rest < _ANSWER:
        return Group(*(line for of in found for line in _two_lines(of, enough, width)))
    return _table(found, enough, model, rest)


def _table(found: list[RunSummary], enough: int, model: int, rest: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", no_wrap=True, min_width=enough)
    table.add_column("ended", no_wrap=True, min_width=_CLOCK)
    table.add_column("model", no_wrap=True, min_width=model)
    table.add_column("confidence", justify="right", no_wrap=True, min_width=_CONFIDENCE)
    table.add_column("tokens", justify="right", no_wrap=True, min_width=6)
    table.add_column("answer", no_wrap=True)
    for of in found:  # of all columns, only the last may be cut
        table.add_row(
            of.run_id[:enough],
            clock(of.ended_ns),
            _cut(Text(visible(of.model or "-")), _MODEL),
            _confidence(of),
            f"{of.tokens:,}",
            _cut(_answer(of), rest),
        )
    return table


def _two_lines(of: RunSummary, enough: int, width: int) -> Iterator[Text]:
    """What a run is found by, and as much beside it as there is room for; then its answer."""
    line = _confidence(of, width=_CONFIDENCE).append("  ").append(of.run_id[:enough])
    for part in (visible(of.model or "-"), clock(of.ended_ns), f"{of.tokens:,} tokens"):
        if line.cell_len + 2 + cell_len(part) <= width:
            line.append(f"  {part}", "dim")
    yield _cut(line, width)
    yield _cut(Text(" " * (_CONFIDENCE + 2)).append_text(_answer(of)), width)


def _answer(of: RunSummary) -> Text:
    """How it ended, if not well, and how the answer begins."""
    text = Text() if of.outcome == "ok" else Text(f"{of.outcome} ", "red")
    return text.append(visible(of.text.strip()))


def _telling_apart(run_ids: list[str]) -> int:
    """How much of the ids to show: calls of one millisecond begin with the same 13 characters."""
    every = set(run_ids)
    return next(
        (size for size in range(_ID, 36) if len({of[:size] for of in every}) == len(every)), 36
    )


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text


def _confidence(of: RunSummary, *, width: int = 0) -> Text:
    if of.confidence is None:
        text = Text(of.unavailable or of.outcome, "dim")
    else:
        mark = "▼ " if of.low else ""
        text = Text(mark).append(number(of.confidence), heat_style(of.confidence, low_token=0))
    return Text(" " * (width - text.cell_len)).append_text(text)
