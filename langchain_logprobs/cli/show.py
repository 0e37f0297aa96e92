"""`show`: one run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from langchain_logprobs.core.reasons import REASONS
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.core.tokens import TokenLogprob
from langchain_logprobs.store.query import Query
from langchain_logprobs.store.reader import RunSummary, StoredRuns

_TREE_CALLS = 10_000
_CHANNELS = {"content": "answer", "refusal": "refusal", "reasoning": "reasoning"}
_NARROW = 60
"""Columns under which the doubtful tokens go without entropy, and candidates have lines."""
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
    for part in parts(stored, found, report, doubtful, out.width):
        out.print(part)
    _explain(out, report)


def parts(
    stored: StoredRuns, found: RunSummary, report: CallReport, doubtful: int, width: int
) -> Iterator[RenderableType]:
    """All that `show` shows of a run, one under the other."""
    yield _heading(report)
    yield render.figures(report)
    yield ""
    low = report.low_token
    yield _answer(report.tokens, low) if report.tokens else Text(render.visible(report.text))
    yield from _beside(report)
    if any(of.tokens for of in report.call.completions):
        yield ""
        yield render.legend(low_token=low)
    if report.tokens:
        yield _doubtful(report, doubtful, width)
    if fields := plain_report(report)["fields"]:
        yield _fields(fields)
    if found.root_run_id != found.run_id:
        if not report.tokens:  # a table ends with an empty line
            yield ""
        yield _tree(stored, found, width)


def _answer(tokens: Sequence[TokenLogprob], low_token: float) -> RenderableType:
    show = render.strip if len(tokens) <= _STRIP_TOKENS else render.heat
    return show(tokens, low_token=low_token)


def _beside(report: CallReport) -> Iterator[RenderableType]:
    """What was said beside the answer: a refusal, the reasoning, further answers."""
    several = len(report.call.completions) > 1
    for index, completion in enumerate(report.call.completions):
        for channel, label in _CHANNELS.items():
            tokens = [of for of in completion.tokens if of.channel == channel]
            if tokens and (index, channel) != (0, "content"):
                yield Text(f"\n{label}{f' {index + 1}' if several else ''}", "bold")
                yield _answer(tokens, report.low_token)


def _heading(report: CallReport) -> Text:
    call = report.call
    model = call.response_model or call.model or "unknown model"
    text = Text(render.visible(model), "bold")
    text.append(f"  {clock(call.ended_ns)}", "not bold dim")
    text.append(f"  {(call.ended_ns - call.started_ns) / 1e9:.2f} s", "not bold dim")
    if call.outcome != "ok":
        text.append(render.visible(f"  {call.outcome} {call.error or ''}".rstrip()), "not bold red")
    return text.append(f"  {call.run_id}", "not bold dim")


def _doubtful(report: CallReport, most: int, width: int) -> Table | str:
    ranked = sorted(
        (of for of in enumerate(report.tokens) if of[1].logprob is not None),
        key=lambda of: render.probability(of[1]) or 0.0,
    )[:most]
    if not ranked:
        return ""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token", justify="right", no_wrap=True)
    table.add_column("least likely", overflow="fold", min_width=len("likely") + 2)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("entropy", justify="right", no_wrap=True)
    table.add_column("or", overflow="fold")
    if width < _NARROW:
        del table.columns[3]
    for index, token in ranked:
        others = render.alternatives(token, 4)
        value = render.probability(token)
        style = render.heat_style(value, low_token=report.low_token)
        entropy = [] if width < _NARROW else [render.number(measure(token).entropy)]
        table.add_row(
            str(index),
            Text(render.quoted(token.text), style),
            render.percent(value),
            *entropy,
            Text(("\n" if width < _NARROW else "  ").join(map(_weighed, others))),
        )
    return table


def _weighed(candidate: Any) -> str:
    share = render.percent(render.probability(candidate))
    return f"{render.quoted(candidate.text)} {share} %"


def _fields(fields: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("field", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("confidence", justify="right", no_wrap=True)
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
        reason = REASONS[report.unavailable]
        out.print(f"Why: {reason.told}. The way out: {reason.way_out}.", markup=False)
        out.print("langchain-logprobs doctor says how often that happens.", style="dim")
