"""Interleaved rounds, and what comes of them: medians, spreads, a table, JSON."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

Figures = Mapping[str, float]
"""What one measurement found, by name."""

_BEGUN = time.monotonic()
_LOOKS: list[float] = []
"""How long the same few hundred microseconds of work have taken, each time somebody looked."""
RESULTS = Path(__file__).parent / "results"
"""Where results go unless told otherwise; git leaves it out."""
_PACKAGES = (
    "langchain-core",
    "langchain-openai",
    "opentelemetry-sdk",
    "langchain-logprobs",
    "openinference-instrumentation-langchain",
    "opentelemetry-instrumentation-langchain",
    "opentelemetry-instrumentation-genai-langchain",
    "langfuse",
)


@dataclass(frozen=True, slots=True)
class Median:
    """The middle of several measurements, and half of the distance between their quartiles."""

    median: float
    spread: float

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.median:.2f} ±{self.spread:.2f}"


@dataclass(slots=True)
class Table:
    """Rows of results under one heading."""

    title: str
    rows: list[dict[str, object]] = field(default_factory=list)
    heading: str = ""
    """Of the column whose values stand above the rows that have them; none if empty."""

    def print(self) -> None:
        """Shows it in the terminal, for each heading a column for every key of its rows."""
        print(f"\n{self.title}")
        for heading, rows in groupby(self.rows, lambda row: row.get(self.heading, "")):
            if heading:
                print(f"\n{heading}")
            _print([{key: row[key] for key in row if key != self.heading} for row in rows])


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_shown(row.get(of)) for of in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        first, *rest = zip(line, widths, strict=True)
        print(first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest), sep="  ")


def interleaved(
    contestants: Mapping[str, Callable[[], Figures]],
    *,
    rounds: int,
    label: str,
    seconds: float = 40.0,
) -> dict[str, dict[str, Median]]:
    """The medians of every contestant, each measured once a round, in an order drawn anew.

    The first round only warms up. What else the machine does hits all alike. After so many seconds
    no further round begins, once there was one that counts.
    """
    until = time.monotonic() + seconds
    found: dict[str, list[Figures]] = {name: [] for name in contestants}
    draw = random.Random(0)
    for at in range(rounds + 1):
        if at > 1 and time.monotonic() > until:
            break
        progress(f"{label}: round {at} of {rounds}")
        for name in draw.sample(sorted(contestants), len(contestants)):
            _look()
            figures = contestants[name]()
            if at:
                found[name].append(figures)
    progress("")
    return {name: _medians(of) for name, of in found.items()}


def _look() -> None:
    """Has the machine do a fixed amount of work: how fast it is, others who share it permitting."""
    known = {"a": 1}
    start = time.thread_time()
    for _ in range(10_000):
        known["a"]
    _LOOKS.append(time.thread_time() - start)


def speed() -> float | None:
    """What the same work took at its fastest, over what it took in the median."""
    return min(_LOOKS) / statistics.median(_LOOKS) if _LOOKS else None


def progress(text: str) -> None:
    """Shows what is under way, on one line that the next overwrites."""
    text = text and f"{(time.monotonic() - _BEGUN) / 60:4.1f} min  {text}"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def ratio(one: Mapping[str, Median], other: Mapping[str, Median], figure: str) -> float | None:
    """How many times the other's figure the one's is."""
    return one[figure].median / other[figure].median if other[figure].median else None


def added(
    one: Mapping[str, Median], other: Mapping[str, Median], nothing: Mapping[str, Median], of: str
) -> float | None:
    """How many times what the other adds to nothing the one adds to it."""
    more = other[of].median - nothing[of].median
    return (one[of].median - nothing[of].median) / more if more > 0 else None


def write(path: Path, tables: Iterable[Table], **more: object) -> None:
    """Writes the tables as JSON, with what they were measured on, and whatever else is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        # Without the folders of this machine.
        "command": " ".join(
            Path(of).name if of.startswith("/") else of for of in sys.orig_argv[1:]
        ),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "packages": {name: of for name in _PACKAGES if (of := _version(name))},
        "load": os.getloadavg()[0],
        "speed": speed(),
        "tables": [asdict(table) for table in tables],
        **more,
    }
    path.write_text(json.dumps(told, indent=1, default=asdict) + "\n")
    print(f"\nWritten to {path}")


def _medians(measured: Sequence[Figures]) -> dict[str, Median]:
    return {name: _median([figures[name] for figures in measured]) for name in measured[0]}


def _median(values: Sequence[float]) -> Median:
    if len(values) < 2:
        return Median(values[0], 0.0)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Median(statistics.median(values), (high - low) / 2)


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.2f}"
        case _:
            return str(value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
