"""A report as HTML that stands alone, for notebooks: no script, nothing from outside, any text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import Final

from langchain_logprobs.core.confidence import identity, measure
from langchain_logprobs.core.heat import DARK, DARK_INK, LIGHT, LIGHT_INK, band, ramp, safe
from langchain_logprobs.core.model import ModelCall, Run, RunTree
from langchain_logprobs.core.report import CallReport, TreeReport
from langchain_logprobs.core.text import pieces
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.core.trace import nested

MOST_TOKENS: Final = 3_000
"""Tokens of an answer that are shown: a notebook keeps its output in the file."""
MOST_CALLS: Final = 100
"""Calls that a list shows: the last ones."""
MOST_LINES: Final = 300
"""Runs and calls of a tree that are shown."""
_CHANNELS: Final = {"content": "answer", "refusal": "refusal", "reasoning": "reasoning"}
_DEEPEST = 30
_DOUBTFUL = 6
_ALTERNATIVES = 5

_BANDS = "".join(f".lclp .h{n}{{background:var(--h{n});color:var(--i{n})}}" for n in range(9))
_DARK = "{--ink:#e6e6e6;--dim:#a0a0a0;--line:#444;--bar:#41576b;" + ramp(DARK, DARK_INK) + "}"
STYLE: Final = (
    ".lclp{--ink:#1a1a1a;--dim:#5f5f5f;--line:#d0d0d0;--bar:#9fb4c7;"
    + ramp(LIGHT, LIGHT_INK)
    + "color:var(--ink);font:14px/1.5 system-ui,sans-serif;max-width:60em}"
    + "@media (prefers-color-scheme:dark){.lclp"
    + _DARK
    + "}"
    + "[data-jp-theme-light=false] .lclp,.vscode-dark .lclp"
    + _DARK
    + "[data-jp-theme-light=true] .lclp,.vscode-light .lclp{--ink:#1a1a1a;--dim:#5f5f5f;"
    + "--line:#d0d0d0;--bar:#9fb4c7;"
    + ramp(LIGHT, LIGHT_INK)
    + "}"
    + _BANDS
    + ".lclp .heat{font:14px/1.9 ui-monospace,monospace;white-space:pre-wrap;"
    "overflow-wrap:anywhere;max-height:30em;overflow:auto;margin:.6em 0}"
    ".lclp .heat span{border-radius:2px}"
    ".lclp .low{text-decoration:underline 2px var(--ink)}"
    ".lclp .none{text-decoration:underline dotted}"
    ".lclp .dim{color:var(--dim)}"
    ".lclp b{font-size:1.15em}"
    # Jupyter has rules of its own for tables and code, and zebra stripes; these are stronger.
    ".lclp.lclp.lclp table{border-collapse:collapse;font:inherit;color:inherit;margin:.4em 0;"
    "table-layout:auto}"
    ".lclp.lclp.lclp tr{background:none}"
    ".lclp.lclp.lclp :is(td,th){border-top:1px solid var(--line);padding:.15em .8em .15em 0;"
    "text-align:left;vertical-align:top;background:none;color:inherit}"
    ".lclp.lclp.lclp th{white-space:nowrap}"
    ".lclp.lclp.lclp td.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".lclp.lclp.lclp code{font-family:ui-monospace,monospace;white-space:pre-wrap;background:none;"
    "color:inherit;padding:0}"
    ".lclp .track{display:inline-block;width:7em;height:.7em;border-radius:3px;overflow:hidden;"
    "box-shadow:inset 0 0 0 1px var(--line)}.lclp .fill{display:block;height:100%;"
    "border-right:2px solid var(--dim)}"
    ".lclp .sure{background:var(--bar)}"
    ".lclp summary{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;cursor:pointer}"
    ".lclp .key span{padding:0 .45em}"
    ".lclp .tree{border-left:2px solid var(--line);margin:.4em 0}"
)


def call_html(report: CallReport) -> str:
    """One call: its confidence, the answer as a heat map, the doubtful tokens and fields."""
    return _page([*_call(report)])


def calls_html(reports: Sequence[CallReport]) -> str:
    """Several calls, one a row, the answer of each to be unfolded."""
    shown = reports[-MOST_CALLS:]
    left_out = len(reports) - len(shown)
    parts = [f"<div><b>{len(reports)}</b> calls kept</div>"]
    if left_out:
        parts.append(f'<div class="dim">The last {len(shown)} are shown.</div>')
    for report in shown:
        parts += [
            "<details><summary>",
            _headline(report),
            "</summary>",
            *_call(report),
            "</details>",
        ]
    return _page(parts)


def tree_html(report: TreeReport) -> str:
    """What ran inside a root run, in time; how sure each model call was, to be unfolded."""
    tree = report.tree
    calls = [
        _Called(of, of.call.run_id, of.call.parent_run_id, of.call.started_ns)
        for of in report.calls
    ]
    items: list[Run | _Called] = [*tree.runs, *calls]
    lines = list(nested(items))
    parts = [f"<div><b>{_text(tree.name)}</b> {_ended(tree)}</div>", '<div class="tree">']
    for depth, of in lines[:MOST_LINES]:
        parts.append(f'<div style="margin-left:{min(depth + 1, _DEEPEST) * 1.2:.1f}em">')
        if isinstance(of, Run):
            parts.append(f'{_text(of.name)} <span class="dim">{of.kind}</span> {_ended(of)}')
        else:
            parts += [
                "<details><summary>",
                _called(of.report),
                "</summary>",
                *_call(of.report),
                "</details>",
            ]
        parts.append("</div>")
    parts.append("</div>")
    hidden = len(lines) - len(lines[:MOST_LINES]) + tree.omitted_runs + report.omitted
    if hidden:
        parts.append(f'<div class="dim">and {hidden:,} more runs and calls</div>')
    return _page(parts)


@dataclass(frozen=True, slots=True)
class _Called:
    """A call's place in a tree."""

    report: CallReport
    run_id: object
    parent_run_id: object
    started_ns: int


def _called(report: CallReport) -> str:
    model = report.call.response_model or report.call.model or "model"
    return f"{_headline(report)} · {_text(model)} {_ended(report.call)}"


def _ended(of: Run | RunTree | ModelCall) -> str:
    """How long it took, and how it ended if not well."""
    seconds = max(of.ended_ns - of.started_ns, 0) / 1e9
    took = f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    took = "&lt;1 ms" if 0 < seconds < 0.0005 else took  # noqa: PLR2004
    told = "" if of.outcome == "ok" else f" ✗ {of.outcome} {_text(of.error or '')}"
    return f'<span class="dim">{took}</span>{told}'


def _page(parts: Iterable[str]) -> str:
    return f'<div class="lclp"><style>{STYLE}</style>{"".join(parts)}</div>'


def _call(report: CallReport) -> Iterator[str]:
    yield f"<div>{_figures(report)}</div>"
    if report.tokens:
        yield _heat(report.tokens, report.low_token)
    elif report.text:
        yield f'<div class="heat" dir="auto">{_text(report.text)}</div>'
    yield from _beside(report)
    if any(of.tokens for of in report.call.completions):
        yield _key(report)
    if report.tokens:
        yield _doubtful(report)
    yield _fields(report)


def _beside(report: CallReport) -> Iterator[str]:
    """What was said beside the answer: a refusal, the reasoning, further answers."""
    several = len(report.call.completions) > 1
    for index, completion in enumerate(report.call.completions):
        for channel, label in _CHANNELS.items():
            tokens = tuple(of for of in completion.tokens if of.channel == channel)
            if tokens and (index, channel) != (0, "content"):
                yield f'<div class="dim">{label}{f" {index + 1}" if several else ""}</div>'
                yield _heat(tokens, report.low_token)


def _headline(report: CallReport) -> str:
    return f"{_sure(report)} · {_text(' '.join(report.text.split())[:100]) or '<i>no text</i>'}"


def _sure(report: CallReport) -> str:
    value = report.confidence.confidence
    if value is None:
        return f"<b>?</b> no confidence: {_text(report.unavailable or 'unknown')}"
    mark = "▼ unsure" if report.low else "▲ sure"
    step = band(value)
    fill = f'<span class="fill {"sure" if step is None else f"h{step}"}" style="width:{value:.1%}">'
    return f'<span class="track">{fill}</span></span> <b>{value:.2f}</b> {mark}'


def _figures(report: CallReport) -> str:
    of, call = report.confidence, report.call
    figures = {
        "model": call.response_model or call.model,
        "tokens": f"{of.count:,}" if of.count else None,
        "low": f"{of.low} under {report.low_token:.0%}" if of.confidence is not None else None,
        "lowest window": _number(of.lowest_window),
        "mean entropy": _number(of.mean_entropy, " nat"),
        "log odds, lowest": _number(of.min_log_odds),
        "outcome": None if call.outcome == "ok" else call.outcome,
    }
    told = " · ".join(f"{name} {_text(value)}" for name, value in figures.items() if value)
    return f'{_sure(report)}<br><span class="dim">{told}</span>'


def _heat(tokens: Sequence[TokenLogprob], low_token: float) -> str:
    return f'<div class="heat" dir="auto">{"".join(_tokens(tokens, low_token))}</div>'


def _tokens(tokens: Sequence[TokenLogprob], low_token: float) -> Iterator[str]:
    shown = tokens[:MOST_TOKENS]
    for token, text in zip(shown, pieces(shown), strict=True):
        yield _token(token, text, low_token)
    if len(tokens) > MOST_TOKENS:
        yield f'<span class="dim"> … and {len(tokens) - MOST_TOKENS:,} more tokens</span>'


def _token(token: TokenLogprob, text: str, low_token: float) -> str:
    value = _probability(token)
    step = band(value)
    classes = [f"h{step}"] * (step is not None)
    classes += ["low"] * (value is not None and value < low_token) + ["none"] * (value is None)
    others = "".join(
        f"\n{_percent(_probability(of)):>6}  {safe(of.text)}" for of in _alternatives(token)
    )
    title = escape(f"{_percent(value):>6}  {safe(token.text)}{others}").replace("\n", "&#10;")
    marked = f' class="{" ".join(classes)}"' if classes else ""
    return f'<span{marked} title="{title}">{_text(text)}</span>'


def _key(report: CallReport) -> str:
    steps = "".join(f'<span class="h{n}">{10 * n}</span>' for n in range(9))
    return (
        f'<div class="key dim">probability, %: {steps}<span>90 and up</span> '
        f'<span class="low">under {report.low_token:.0%}</span>'
        '<span class="none">no number</span></div>'
    )


def _doubtful(report: CallReport) -> str:
    ranked = sorted(enumerate(report.tokens), key=lambda of: _odds(of[1]))
    rows = [
        f'<tr><td class="n">{index}</td><td>{_quoted(token.text)}</td>'
        f'<td class="n">{_percent(_probability(token))}</td>'
        f"<td>{_listed(_alternatives(token))}</td></tr>"
        for index, token in islice(ranked, _DOUBTFUL)
        if token.logprob is not None
    ]
    if not rows:
        return ""
    head = "<tr><th>token</th><th>least certain</th><th>probability</th><th>or</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _listed(candidates: Iterable[Candidate]) -> str:
    return " · ".join(f"{_quoted(of.text)}&nbsp;{_percent(_probability(of))}" for of in candidates)


def _fields(report: CallReport) -> str:
    leaves = (of for of in report.every_field if of.leaf)
    rows = [
        f"<tr><td><code>{_text(leaf.path)}</code></td><td><code>{_text(repr(leaf.value)[:200])}"
        f'</code></td><td class="n">{_number(leaf.confidence.confidence) or "-"}</td></tr>'
        for leaf in islice(leaves, MOST_CALLS)
    ]
    if not rows:
        return ""
    return f"<table><tr><th>field</th><th>value</th><th>confidence</th></tr>{''.join(rows)}</table>"


def _alternatives(token: TokenLogprob) -> tuple[Candidate, ...]:
    chosen = identity(token)
    return tuple(of for of in token.candidates if identity(of) != chosen)[:_ALTERNATIVES]


def _probability(token: TokenLogprob | Candidate) -> float | None:
    return None if token.logprob is None else math.exp(min(token.logprob, 0.0))


def _odds(token: TokenLogprob) -> float:
    odds = measure(token).log_odds
    return math.inf if odds is None else odds


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:.2f}{unit}"


def _quoted(text: str) -> str:
    return f"<code>“{escape(safe(text).replace(chr(10), ''))}”</code>"


def _text(text: str) -> str:
    return escape(safe(text))
