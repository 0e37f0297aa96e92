"""What the doctor finds, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli.render import message

Verdict = Literal["good", "note", "problem"]
_MARKS: Mapping[Verdict, tuple[str, str]] = {
    "good": ("✓", "green"),
    "note": ("•", "cyan"),
    "problem": ("✗", "bold red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    subject: str
    told: str
    way_out: str = ""


def table(findings: Iterable[Finding]) -> Table:
    """The findings, one under the other."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, style="bold")
    made.add_column(ratio=1)
    for of in findings:
        mark, style = _MARKS[of.verdict]
        told = Text(message(of.told))
        if of.way_out:
            told.append(f"\n→ {message(of.way_out)}", "cyan")
        made.add_row(Text(mark, style), of.subject, told)
    return made


def installed_version(package: str) -> str | None:
    """The version of a package; `None` if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
