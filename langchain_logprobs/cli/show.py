"""`show`: one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli import render
from langchain_logprobs.cli.options import clock, console
from langchain_logprobs.cli.trace import trace
from langchain_logprobs.core.confidence import measure
from langchain_logprobs.core.plain import plain_report
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.store.query import Query
from langchain_logprobs.store.reader import RunSummary, StoredRuns

_TREE_CALLS = 10_000
_STRIP_TOKENS = 60
"""Up to here every token has a bar and a number under it; longer answers are running text."""


def show_run(store: Path | None, run: str, doubtful: int, *, as_json: bool) -> None:
    """Prints a run."""
    stored = StoredRuns(store)
    found = stored.resolve(run)
    report = stored.report(found.run_id)
    if as_json:
        typer.echo(json.dumps(plain_report(report)))
        return
    out = console()
    for part in _parts(stored, found, report, doubtful, out.width):
        out.print(part)
    _explain(out, report)


def _parts(
    stored: StoredRuns, found: RunSummary, report: CallReport, doubtful: int, width: int
) -> Iterator[RenderableType]:
    yield _heading(report)
    yield render.figures(report)
    yield ""
    low = report.low_token
    if not report.tokens:
        yield Text(render.visible(report.text))
    elif len(report.tokens) <= _STRIP_TOKENS:
        yield render.strip(report.tokens, low_token=low)
    else:
        yield render.heat(report.tokens, low_token=low)
    if report.tokens:
        yield ""
        yield render.legend(low_token=low)
        yield _doubtful(report, doubtful)
    if fields := plain_report(report)["fields"]:
        yield _fields(fields)
    if found.root_run_id != found.run_id:
        if not report.tokens:  # a table ends with an empty line
            yield ""
        yield _tree(stored, found, width)


def _heading(report: CallReport) -> Text:
    call = report.call
    model = call.response_model or call.model or "unknown model"
    text = Text(render.visible(model), "bold")
    text.append(f"  {clock(call.ended_ns)}", "not bold dim")
    text.append(f"  {(call.ended_ns - call.started_ns) / 1e9:.2f} s", "not bold dim")
    if call.outcome != "ok":
        text.append(f"  {call.outcome} {call.error or ''}".rstrip(), "not bold red")
    return text.append(f"  {call.run_id}", "not bold dim")


def _doubtful(report: CallReport, most: int) -> Table | str:
    ranked = sorted(
        (of for of in enumerate(report.tokens) if of[1].logprob is not None),
        key=lambda of: render.probability(of[1]) or 0.0,
    )[:most]
    if not ranked:
        return ""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token", justify="right")
    table.add_column("least likely")
    table.add_column("%", justify="right")
    table.add_column("entropy", justify="right")
    table.add_column("or")
    for index, token in ranked:
        others = render.alternatives(token, 4)
        value = render.probability(token)
        table.add_row(
            str(index),
            Text(render.quoted(token.text), render.heat_style(value, low_token=report.low_token)),
            render.percent(value),
            render.number(measure(token).entropy),
            Text("  ".join(_weighed(of) for of in others)),
        )
    return table


def _weighed(candidate: Any) -> str:
    share = render.percent(render.probability(candidate))
    return f"{render.quoted(candidate.text)} {share} %"


def _fields(fields: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value")
    table.add_column("confidence", justify="right")
    for of in fields:
        if of["leaf"]:
            value = of["confidence"]
            table.add_row(
                Text(render.visible(of["path"])),
                Text(render.visible(json.dumps(of["value"], ensure_ascii=False))),
                Text(render.number(value), render.heat_style(value, low_token=0)),
            )
    return table


def _tree(stored: StoredRuns, found: RunSummary, width: int) -> RenderableType:
    """What ran inside the root run, the calls among it."""
    calls = stored.summaries(Query(root=found.root_run_id), limit=_TREE_CALLS)
    return trace(stored.run_tree(found.root_run_id), calls, found.run_id, width=width)


def _explain(out: Console, report: CallReport) -> None:
    if report.unavailable is not None:
        out.print("langchain-logprobs doctor says what to do about it.", style="dim")
