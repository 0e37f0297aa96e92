"""The trace tree in the terminal: what ran inside a root run, when, and how sure each call was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli import render
from langchain_logprobs.core.model import Run, RunTree
from langchain_logprobs.core.trace import nested
from langchain_logprobs.store.reader import RunSummary

LINES: Final = 300
"""Runs and calls that are shown."""
WIDE: Final = 100
"""Columns from which on times have bars."""
_BAR = 24
_TOOK = len("999 ms")
_NAME = 40


def trace(
    tree: RunTree | None, calls: Sequence[RunSummary], current: str, *, width: int = WIDE
) -> RenderableType:
    """The tree, a line each, in time; of a root run that has not ended, its calls.

    Args:
        tree: The root run; `None` if it has not ended.
        calls: Its model calls.
        current: The id of the call that is marked.
        width: Columns there are; with few, times have no bars.
    """
    items: list[Run | RunSummary] = [*(tree.runs if tree else ()), *calls]
    lines = list(nested(items))
    start, end = _span(tree, [of for _, of in lines])
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right", min_width=_TOOK)
    if width >= WIDE:
        table.add_column(no_wrap=True, width=_BAR)
    columns = len(table.columns)
    root = (*_root(tree, calls), _took(start, end), _bar(start, end, start, end))
    table.add_row(*root[:columns])
    shown = list(islice(lines, LINES))
    for guide, (_, of) in zip(guides([depth for depth, _ in shown]), shown, strict=True):
        if isinstance(of, RunSummary):
            # Where only the calls are known, their nodes tell them apart.
            label, told = _call(of, of.model if tree else of.node or of.model, current)
        else:
            label, told = _run(of)
        name = Text().append(guide, "dim").append_text(label)
        took, bar = _took(of.started_ns, of.ended_ns), _bar(of.started_ns, of.ended_ns, start, end)
        table.add_row(*(name, told, took, bar)[:columns])
    return Group(table, *_left_out(tree, len(lines) - len(shown)))


def guides(depths: Sequence[int]) -> list[str]:
    """The lines that join each item to the one it lies under, for items listed depth first."""
    made: list[str] = []
    below: set[int] = set()  # depths at which another one follows
    for depth in reversed(depths):
        rails = "".join("│  " if level in below else "   " for level in range(depth))
        made.append(rails + ("├─ " if depth in below else "└─ "))
        below = {level for level in below if level < depth} | {depth}
    return made[::-1]


def _root(tree: RunTree | None, calls: Sequence[RunSummary]) -> tuple[Text, Text]:
    name = tree.name if tree else next((of.root_name for of in calls if of.root_name), "run")
    label = Text(render.visible(name[:_NAME]), "bold")
    return label, _outcome(tree.outcome, tree.error) if tree else Text("has not ended yet", "dim")


def _run(of: Run) -> tuple[Text, Text]:
    label = Text().append(render.visible(of.name[:_NAME])).append(f"  {of.kind}", "dim")
    return label, _outcome(of.outcome, of.error)


def _call(of: RunSummary, name: str | None, current: str) -> tuple[Text, Text]:
    label = Text().append("▶ " if of.run_id == current else "● ", "cyan")
    label.append(render.visible((name or "model")[:_NAME]), "bold")
    label.append(f"  {of.run_id[:13]}", "dim")
    told = Text("▼ " if of.low else "")
    if of.confidence is None:
        told.append(f"no confidence: {of.unavailable or of.outcome}", "dim")
    else:
        told.append(
            render.number(of.confidence), render.heat_style(of.confidence, low_token=0)
        ).append(f"  {of.tokens:,} tokens", "dim")
    if of.outcome != "ok":
        told.append("  ").append_text(_outcome(of.outcome, of.error))
    return label, told


def _outcome(outcome: str, error: str | None) -> Text:
    if outcome == "ok":
        return Text()
    return Text(render.visible(f"{outcome} {error or ''}".rstrip()), "red")


def _left_out(tree: RunTree | None, hidden: int) -> Iterator[Text]:
    if hidden:
        yield Text(f"and {hidden:,} more: langchain-logprobs export --trees", "dim")
    if tree and tree.omitted_runs:
        yield Text(
            f"{tree.omitted_runs:,} further runs passed the bounds, and were not kept", "dim"
        )


def _span(tree: RunTree | None, lines: Iterable[Run | RunSummary]) -> tuple[int, int]:
    timed = [*lines, tree] if tree else [*lines]
    return min(of.started_ns for of in timed), max(of.ended_ns for of in timed)


def _took(start: int, end: int) -> Text:
    return Text(render.duration((end - start) / 1e9), "cyan")


def _bar(start: int, end: int, root_start: int, root_end: int) -> Bar:
    total = max(root_end - root_start, 1)
    sliver = total / _BAR / 4  # so that the shortest is seen
    begin = min(max(start - root_start, 0), total - sliver)
    return Bar(
        total, begin, min(max(end - root_start, begin + sliver), total), width=_BAR, color="cyan"
    )
