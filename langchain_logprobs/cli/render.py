"""Reports as something to look at in a terminal.

Pure functions from values to rich renderables: whoever prints them chooses the console. Probability
is never shown by colour alone: tokens have a bar and a number under them, and low ones are
underlined, so that all of it survives `NO_COLOR`, a pipe and any kind of colour vision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from langchain_logprobs.core.confidence import identity, measure
from langchain_logprobs.core.heat import LIGHT as HEAT
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.core.tokens import Candidate, TokenLogprob

if TYPE_CHECKING:
    pass

_LIGHT_TEXT_UP_TO = 3  # the first three are dark: white text has the better contrast there
BARS = "▁▂▃▄▅▆▇█"
"""Eighths of a line, from the lowest."""
_UNDER = (Style(), Style(dim=True))
GAP = (0, 1, 0, 0)
"""Padding between columns."""
_MARKS = str.maketrans({"\n": "↵", "\r": "␍", "\t": "⇥"})
_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them
_ALTERNATIVES = 3


def probability(token: TokenLogprob | Candidate) -> float | None:
    """How likely the token was; `None` if its logprob is missing."""
    return None if token.logprob is None else math.exp(min(token.logprob, 0.0))


def visible(text: str) -> str:
    """The text with its line breaks, tabs and unprintable characters made visible."""
    marked = text.translate(_MARKS)
    return "".join(c if c.isprintable() or c in _JOINERS else "�" for c in marked)


def message(text: str) -> str:
    """The text with its line breaks as they are: names in it may hold what moves a terminal."""
    return "\n".join(map(visible, text.split("\n")))


def quoted(text: str) -> str:
    """A token's text in quotation marks, so that the spaces around it are seen."""
    return f"“{visible(text)}”"


def percent(value: float | None) -> str:
    """A probability in per cent, without the sign; `?` if there is none."""
    return "?" if value is None else f"{100 * value:.0f}"


def number(value: float | None, form: str = ".2f") -> str:
    """A measure in the given form; a dash where it is undefined."""
    return "-" if value is None else format(value, form)


def duration(seconds: float) -> str:
    """So long, in seconds or milliseconds."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return "<1 ms" if 0 < seconds < 0.0005 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004


def heat_style(value: float | None, *, low_token: float = 0.5) -> Style:
    """The style of a token with this probability: background by tenths, underlined if it is low."""
    if value is None:
        return Style(dim=True)
    band = min(int(value * 10), len(HEAT))
    underline = value < low_token or None
    if band == len(HEAT):
        return Style(underline=underline)
    text = "#ffffff" if band < _LIGHT_TEXT_UP_TO else "#000000"
    return Style(color=text, bgcolor=HEAT[band], underline=underline)


def heat(tokens: Iterable[TokenLogprob], *, low_token: float = 0.5) -> Text:
    """The tokens as running text, each on the colour of its probability: for long answers."""
    text = Text()
    for token in tokens:
        text.append(visible(token.text), heat_style(probability(token), low_token=low_token))
    return text


@dataclass(frozen=True, slots=True)
class Strip:
    """The tokens side by side, each with a bar and its probability in per cent under it.

    It wraps at the console's width. See `strip`.
    """

    tokens: tuple[TokenLogprob, ...]
    low_token: float = 0.5

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for row in _rows([_cell(token) for token in self.tokens], options.max_width):
            yield from (self._line(row, line) for line in range(3))

    def _line(self, row: Sequence[_Cell], line: int) -> Text:
        text = Text(no_wrap=True, overflow="ignore")
        for index, cell in enumerate(row):
            style = heat_style(cell.probability, low_token=self.low_token)
            joint = cell.joint if line == 0 and index else " "
            text.append(joint, "dim" if joint == "│" else "")
            text.append(cell.lines[line], style if line == 0 else _UNDER[line - 1])
            text.append(" " * (cell.width - cell_len(cell.lines[line])))
        text.rstrip()
        return text


@dataclass(frozen=True, slots=True)
class _Cell:
    """A token's place in a strip: its text, bar and number, one above the other."""

    lines: tuple[str, str, str]
    probability: float | None
    joint: str
    width: int


def strip(tokens: Iterable[TokenLogprob], *, low_token: float = 0.5) -> Strip:
    """The tokens with bars and numbers under them: for short answers, where each token matters."""
    return Strip(tuple(tokens), low_token)


def legend(*, low_token: float = 0.5, low_response: float = 0.7) -> Text:
    """What the colours, bars, underlines and verdicts mean."""
    text = Text("Probability in per cent: ")
    for band in range(10):
        value = (band + 0.5) / 10
        text.append(f"{_bar(value)}{band * 10}", heat_style(value, low_token=low_token))
        text.append(" ")
    text.append(f"and up.\nUnderlined: under {low_token:.0%}. Confidence: the geometric mean. ")
    return text.append("▼ unsure", "yellow").append(f": under {low_response:.2f}.")


# Figures


def figures(report: CallReport) -> Text:
    """The figures of one call, in a line."""
    of = report.confidence
    if of.confidence is None:
        return Text(f"no confidence: {report.unavailable or report.call.outcome}", "italic")
    text = Text("confidence ").append(number(of.confidence), "bold")
    text.append(f" · least log odds {number(of.min_log_odds, '+.1f')}")
    return text.append(f" · entropy {number(of.mean_entropy)} nat")


def doubt(report: CallReport) -> Text:
    """The token that the model was least certain of, and what it might have said instead."""
    found = least_certain(report.tokens)
    if found is None:
        return Text("no token has a probability", "italic")
    others = ", ".join(map(_sure, alternatives(found)))
    return Text(f"least sure {_sure(found)}").append(f", or {others}" if others else "", "dim")


def reports_table(
    reports: Sequence[CallReport], beside: Mapping[str, Sequence[RenderableType]] | None = None
) -> Table:
    """The figures of several calls, one a row.

    Args:
        reports: The calls.
        beside: Further columns, by their heading: one entry for each report.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=GAP)
    table.add_column("answer", ratio=1)
    table.add_column("confidence", justify="right")
    table.add_column("least sure")
    table.add_column("log odds", justify="right")
    table.add_column("entropy", justify="right")
    table.add_column("verdict", no_wrap=True)
    for heading in beside or {}:
        table.add_column(heading, no_wrap=True)
    for index, report in enumerate(reports):
        table.add_row(*_figures(report), *(column[index] for column in (beside or {}).values()))
    return table


def verdict(report: CallReport) -> Text:
    """Whether the answer is sure enough, in words and in a colour."""
    if report.confidence.confidence is None:
        return Text.assemble((f"? {report.unavailable or 'unknown'}", "dim"))
    return Text.assemble(("▼ unsure", "yellow") if report.low else ("▲ sure", "green"))


def least_certain(tokens: Iterable[TokenLogprob]) -> TokenLogprob | None:
    """The token with the lowest odds against everything else; `None` if none has a logprob."""
    known = [token for token in tokens if token.logprob is not None]
    return min(known, key=_odds, default=None)


def alternatives(token: TokenLogprob, most: int = _ALTERNATIVES) -> tuple[Candidate, ...]:
    """What else was likeliest at the token's position."""
    chosen = identity(token)
    return tuple(other for other in token.candidates if identity(other) != chosen)[:most]


# Spans


def _cell(token: TokenLogprob) -> _Cell:
    value, text = probability(token), visible(token.text)
    body, digits = text.lstrip(" ") or "␣", percent(value)
    # A token that starts with a space needs no other sign that it is one of its own.
    joint = " " if text.startswith(" ") and text.strip() else "│"
    bar = _bar(value) * cell_len(body)
    return _Cell((body, bar, digits), value, joint, max(cell_len(body), len(digits)))


def _rows(cells: Sequence[_Cell], width: int) -> Iterator[list[_Cell]]:
    row: list[_Cell] = []
    used = 0
    for cell in cells:
        if row and used + cell.width + 1 > width:
            yield row
            row, used = [], 0
        row.append(cell)
        used += cell.width + 1
    if row:
        yield row


def _bar(value: float | None) -> str:
    return "·" if value is None else BARS[min(int(value * len(BARS)), len(BARS) - 1)]


def _odds(token: TokenLogprob) -> float:
    odds = measure(token).log_odds
    return math.inf if odds is None else odds


def _sure(token: TokenLogprob | Candidate) -> str:
    return f"{quoted(token.text)} {percent(probability(token))}%"


def _figures(report: CallReport) -> Iterator[RenderableType]:
    confidence, found = report.confidence, least_certain(report.tokens)
    yield Text(visible(report.text.strip()))  # plain strings may be markup
    yield Text().append(number(confidence.confidence), heat_of(confidence.confidence))
    yield Text(_sure(found) if found else "-")
    yield number(confidence.min_log_odds, "+.1f")
    yield number(confidence.mean_entropy)
    yield verdict(report)


def heat_of(value: float | None) -> Style:
    """A colour without the underline that marks a low token."""
    return heat_style(value, low_token=0.0)
