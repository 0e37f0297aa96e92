"""`compare`: were the runs of A surer than those of B, and could that be chance?"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli.options import Failure, console, when_ns
from langchain_logprobs.cli.render import number, visible
from langchain_logprobs.store.query import Query
from langchain_logprobs.store.reader import StoredRuns, quantile

_ALPHA = 0.05
_FEWEST_RUNS = 2
_EXACT_RUNS = 100
"""Up to here the p-value is by permutation: exact, or of 9,999 of them where there are more."""
_BINS = 10
_WIDTH = 30
_PER_CENT = len(" 100%")
_STYLES = ("cyan", "magenta")
_LENGTHS_DIFFER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The runs of one side, in figures."""

    name: str
    runs: int
    median: float
    quartiles: tuple[float, float]
    low_share: float
    median_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the sides differ.

    Attributes:
        superiority: How likely a run of A is surer than one of B, ties counted half: 0.5 is no
            difference.
        p_value: How likely so large a difference is if the runs came from one source (Mann-Whitney
            U, two-sided); `None` without SciPy, or where a side is a single run.
        least_p_value: The smallest that so few runs can give, whatever they say.
    """

    superiority: float
    p_value: float | None
    least_p_value: float


def compare_runs(
    store: Path | None,
    names: tuple[str, str],
    *,
    since: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Prints the two sides beside each other, and whether they differ."""
    stored = StoredRuns(store)
    since_ns = when_ns(since)
    sides = [_runs(stored, name, since_ns, model) for name in names]
    a, b = ([confidence for confidence, _ in runs] for runs in sides)
    described = [_side(name, runs) for name, runs in zip(names, sides, strict=True)]
    difference = differ(a, b)
    if as_json:
        typer.echo(json.dumps({"sides": [*map(asdict, described)], **asdict(difference)}))
        return
    out = console()
    out.print(_figures(described))
    out.print(_histograms(names, (a, b), out.width))
    for line in verdict(described, difference):
        out.print(line, markup=False)


def differ(a: Sequence[float], b: Sequence[float]) -> Difference:
    """How two samples differ, by ranks: no assumption on how either is distributed."""
    ordered = sorted(b)
    wins = sum(bisect_left(ordered, x) + bisect_right(ordered, x) for x in a) / 2
    return Difference(
        superiority=wins / (len(a) * len(b)),
        p_value=_p_value(a, b) if min(len(a), len(b)) >= _FEWEST_RUNS else None,
        least_p_value=min(1.0, 2 / math.comb(len(a) + len(b), len(a))),
    )


def verdict(sides: Sequence[Side], difference: Difference) -> list[str]:
    """What it comes to, in sentences, with what it does not say."""
    a, b = sides
    share = difference.superiority
    lines = [f"A run of {a.name} is surer than one of {b.name} in {share:.0%} of the pairs."]
    p_value = difference.p_value
    if min(a.runs, b.runs) < _FEWEST_RUNS:
        lines.append("Too few to tell: one run says nothing of how far apart runs are by chance.")
    elif p_value is None:
        lines.append('Whether that is chance: pip install "langchain-logprobs[analysis]"')
    elif difference.least_p_value > _ALPHA:
        lines.append(
            f"Too few to tell: {a.runs} and {b.runs} runs cannot give a p-value under "
            f"{difference.least_p_value:.2g}, whatever they say. 4 and 4 are the least that can."
        )
    else:
        told = "unlikely to be chance" if p_value < _ALPHA else "may well be chance"
        lines.append(f"Mann-Whitney U, two-sided: p = {p_value:.2g}; {told}.")
    shorter, longer = sorted((a.median_tokens, b.median_tokens))
    if longer > _LENGTHS_DIFFER * max(shorter, 1):
        lines.append(
            "The answers differ in length, and length alone moves confidence: compare like with "
            "like."
        )
    lines.append("It takes runs as independent, and says nothing of whether they were right.")
    return lines


def _p_value(a: Sequence[float], b: Sequence[float]) -> float | None:
    try:
        from scipy import stats  # noqa: PLC0415 - half a second, and an extra
    except ModuleNotFoundError:
        return None
    if len(a) + len(b) > _EXACT_RUNS:
        return float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)
    permutations = stats.PermutationMethod(n_resamples=9_999, rng=0)
    return float(stats.mannwhitneyu(a, b, method=permutations).pvalue)


def _runs(
    stored: StoredRuns, name: str, since_ns: int | None, model: str | None
) -> list[tuple[float, int]]:
    """Confidence and length of the runs that one argument names."""
    runs = stored.confidences(_query(name, since_ns, model))
    if not runs:
        raise Failure(
            f"No runs with a confidence for {name!r} in {stored.path}. Models there: "
            f"{', '.join(stored.models()) or 'none'}. Nodes: {', '.join(stored.nodes()) or 'none'}."
        )
    return runs


def _query(name: str, since_ns: int | None, model: str | None) -> Query:
    if name.startswith("node:"):
        return Query(node=name.removeprefix("node:"), since_ns=since_ns, model=model)
    start, is_period, end = name.partition("..")
    if is_period:
        return Query(since_ns=when_ns(start or None), until_ns=when_ns(end or None), model=model)
    return Query(model=name, since_ns=since_ns)


def _side(name: str, runs: Sequence[tuple[float, int]]) -> Side:
    ordered = sorted(confidence for confidence, _ in runs)
    lengths = sorted(float(tokens) for _, tokens in runs)
    return Side(
        name=name,
        runs=len(runs),
        median=quantile(ordered, 0.5),
        quartiles=(quantile(ordered, 0.25), quantile(ordered, 0.75)),
        low_share=sum(value < 0.7 for value in ordered) / len(ordered),  # noqa: PLR2004
        median_tokens=quantile(lengths, 0.5),
    )


def _figures(sides: Sequence[Side]) -> Table:
    """A column for each side, under its name: whatever is cut, the names are not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for of, style in zip(sides, _STYLES, strict=True):
        table.add_column(Text(visible(of.name), style), justify="right", overflow="fold")
    rows = {
        "runs": [f"{of.runs:,}" for of in sides],
        "median confidence": [number(of.median) for of in sides],
        "middle half": [" - ".join(map(number, of.quartiles)) for of in sides],
        "under 0.70": [f"{of.low_share:.0%}" for of in sides],
        "median tokens": [f"{of.median_tokens:g}" for of in sides],
    }
    for heading, values in rows.items():
        table.add_row(heading, *values)
    return table


def _histograms(names: Sequence[str], samples: Sequence[Sequence[float]], width: int) -> Table:
    """The share of each side's runs by confidence, bars side by side."""
    table = Table(box=None, pad_edge=False)
    table.add_column("confidence", no_wrap=True, min_width=len("confidence"))
    longest = max(4, min(_WIDTH, (width - len("confidence")) // 2 - _PER_CENT - 2))
    for name, style in zip(names, _STYLES, strict=True):
        heading = Text(visible(name), style)
        table.add_column(heading, width=longest + _PER_CENT, overflow="fold")
    shares = [_shares(sample) for sample in samples]
    most = max(max(of) for of in shares)
    for index in range(_BINS):
        bars = [
            Text("█" * round(longest * of[index] / most), style).append(
                f" {of[index]:.0%}" if of[index] else "", "dim"
            )
            for of, style in zip(shares, _STYLES, strict=True)
        ]
        table.add_row(f"{index / _BINS:.1f} - {(index + 1) / _BINS:.1f}", *bars)
    return table


def _shares(sample: Sequence[float]) -> list[float]:
    bins = [min(int(value * _BINS), _BINS - 1) for value in sample]
    return [bins.count(index) / len(sample) for index in range(_BINS)]
