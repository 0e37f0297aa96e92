"""Writes the figures into `docs/performance.md`: every table of it comes from what was measured.

make figures                # measures everything, then this
python -m benchmarks.page   # only the page, from benchmarks/measured/*.json
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import EVERYBODY, OURS
from benchmarks.goals import Part, goals, number

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
MEASURED = HERE / "measured"
_BLOCK = re.compile(r"(<!-- figures: ([a-z ]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
_MAIN = [who for who in EVERYBODY if who not in {"ours, no arrays", "ours, content"}]
_SETTINGS = [who for who in EVERYBODY if who.startswith(OURS)]
_BASE = "1000 tokens, 5 candidates"

Parts = Mapping[str, Part]


def main() -> None:
    """Writes the page."""
    PAGE.write_text(rendered(PAGE.read_text(), measured()))
    print(f"Written: {PAGE}")


def measured(folder: Path = MEASURED) -> dict[str, Any]:
    """What was measured, by the name of its file."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def rendered(page: str, told: Mapping[str, Any]) -> str:
    """The page with these figures."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_block(found[2], told)}\n\n{found[3]}", page)


def _block(name: str, told: Mapping[str, Any]) -> str:
    """A table; of what was not measured, that it was not."""
    try:
        return BLOCKS[name](told)
    except LookupError:
        return "Not measured."


def _parts(told: Mapping[str, Any]) -> dict[str, list[dict[str, object]]]:
    """The rows of the benchmark's one table, by the part they are of."""
    parts: dict[str, list[dict[str, object]]] = {}
    for row in told["bench"]["tables"][0]["rows"]:
        parts.setdefault(row["part"], []).append(row)
    return parts


def _rows(told: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The rows of another benchmark's table."""
    rows: list[dict[str, Any]] = told[name]["tables"][0]["rows"]
    return rows


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_shown, line))} |" for line in lines)


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case float() if abs(value) < 10:
            return f"{value:.2f}"
        case float() if abs(value) < 100:
            return f"{value:.1f}"
        case float() | int():
            return f"{value:,.0f}"
        case _:
            return str(value)


def _pivot(
    parts: Parts, who: Iterable[str], columns: Mapping[str, tuple[str, str]], head: str
) -> str:
    """A row for each of them, a column for each figure of a part."""
    rows = [
        [f"`{name}`" if name in _SETTINGS and name != OURS else name]
        + [number(parts.get(part, ()), name, figure) for part, figure in columns.values()]
        for name in who
    ]
    return _markdown(
        [head, *columns], [row for row in rows if any(of is not None for of in row[1:])]
    )


def _measured_on(told: Mapping[str, Any]) -> str:
    of = told["bench"]
    packages = ", ".join(f"{name} {version}" for name, version in of["packages"].items())
    quick = " (`--quick`: a few rounds, so only roughly)" if of["quick"] else ""
    measured = (
        f"Measured {of['when'][:10]}{quick} with Python {of['python']} on {of['cores']} cores "
        f"(load at the end: {of['load']:.1f}); {packages}."
    )
    if (speed := of.get("speed")) is None:
        return measured
    return (
        f"{measured} Between measurements the same work took {1 / speed:.1f} times as long, in "
        f"the median, as at its fastest: times, as against ratios, can be had shorter."
    )


def _goals(told: Mapping[str, Any]) -> str:
    rows = [
        [of.what, of.most, of.found, "yes" if of.reached else "**no**"]
        for of in goals(_parts(told))
    ]
    return _markdown(["goal", "at most", "measured", "reached"], rows)


def _stream(told: Mapping[str, Any]) -> str:
    columns = {
        f"{mode}: {title}": (f"dispatch, {mode}, {_BASE}", figure)
        for mode in ("sync", "async")
        for title, figure in {
            "us a token": "stream us",
            "x empty": "x empty",
            "time that goes by, us": "wall us",
        }.items()
    }
    columns["async, patched: us a token"] = (
        f"dispatch, async, {_BASE}, langchain_dispatch",
        "stream us",
    )
    return _pivot(_parts(told), _MAIN, columns, "CPU time of the stream's thread")


def _end(told: Mapping[str, Any]) -> str:
    parts = _parts(told)
    columns = {
        "end of the call, one a ms: ms": (f"paced, sync, {_BASE}", "end ms"),
        "in async code": (f"paced, async, {_BASE}", "end ms"),
        "at full speed": (f"dispatch, sync, {_BASE}", "end ms"),
        "that in async code": (f"dispatch, async, {_BASE}", "end ms"),
        "whole process, us a token": (f"dispatch, sync, {_BASE}", "process us"),
        "the same with OTLP export": (f"dispatch, sync, {_BASE}, OTLP", "process us"),
        "this in async code": (f"dispatch, async, {_BASE}, OTLP", "process us"),
        "bytes kept a token": ("memory, 1000 tokens, 5 candidates", "bytes kept a token"),
        "at the peak": ("memory, 1000 tokens, 5 candidates", "bytes a token at the peak"),
    }
    return _pivot(parts, EVERYBODY, columns, "1,000 tokens")


def _sizes(told: Mapping[str, Any]) -> str:
    parts, rows = _parts(told), []
    for tokens, candidates in (100, 5), (1000, 0), (1000, 5), (1000, 20), (4000, 5), (16000, 5):
        sync, asynchronous = (
            parts.get(f"dispatch, {mode}, {tokens} tokens, {candidates} candidates", ())
            for mode in ("sync", "async")
        )
        end = number(sync, OURS, "end ms")
        paced = parts.get(f"paced, sync, {tokens} tokens, {candidates} candidates", ())
        rows.append(
            [
                f"{tokens:,} tokens of {candidates} candidates",
                number(sync, OURS, "stream us"),
                number(asynchronous, OURS, "stream us"),
                number(paced, OURS, "end ms"),
                end,
                None if end is None else end * 1e3 / tokens,
                number(sync, OURS, "process us"),
            ]
        )
    head = ["ours, by size", "stream, sync, us a token", "stream, async, us a token"]
    head += ["end of the call, paced, ms", "at full speed, ms", "of that, us a token"]
    head += ["whole process, us a token"]
    return _markdown(head, [row for row in rows if any(of is not None for of in row[1:])])


def _whole(told: Mapping[str, Any]) -> str:
    parts = _parts(told)
    names = [name for name in parts if name.startswith("whole calls")]
    who = [name for name in EVERYBODY if any(number(parts[of], name, "wall us") for of in names)]
    rows = [
        [name.removeprefix("whole calls, "), *(number(parts[name], of, "process us") for of in who)]
        for name in names
    ]
    return _markdown(["whole process, us a token", *who], rows)


def _lateness(told: Mapping[str, Any]) -> str:
    columns = {
        f"{title}: {figure}": (f"lateness, {title}", figure)
        for title in ("no exporter", "OTLP exporter")
        for figure in ("median", "p99")
    }
    return _pivot(_parts(told), EVERYBODY, columns, "ms late")


def _plain(part: str) -> Callable[[Mapping[str, Any]], str]:
    """The rows of a part as they are."""

    def table(told: Mapping[str, Any]) -> str:
        measured = _parts(told)[part]
        rows = [{key: of for key, of in row.items() if key != "part"} for row in measured]
        head = list(dict.fromkeys(key for row in rows for key in row))
        return _markdown(
            ["" if key == "who" else key for key in head],
            [[_value(row.get(key)) for key in head] for row in rows],
        )

    return table


def _value(of: object) -> object:
    return of["median"] if isinstance(of, dict) else of


def _sent(told: Mapping[str, Any]) -> str:
    rows = _parts(told)["sent, 1000 tokens"]
    counts = (0, 5, 20)
    by_name = {(row["candidates"], row["who"]): row for row in rows}
    names = dict.fromkeys(str(row["who"]) for row in rows if row["candidates"] in counts)
    lines: list[list[object]] = [
        [
            f"`{name}`" if name != "default" else "default: all",
            *(by_name[of, name]["spans"] for of in counts[1:2]),
            *(f"{_shown(by_name[of, name]['bytes, gzip'])}" for of in counts),
            by_name[5, name]["bytes"],
        ]
        for name in names
    ]
    (metrics,) = (row for row in rows if row["candidates"] == "-")
    lines.append(
        ["metrics, each export", 0, *["-"] * 1, metrics["bytes, gzip"], "-", metrics["bytes"]]
    )
    head = ["a call of 1,000 tokens", "spans", "bytes, gzip: 0 candidates", "5", "20"]
    return _markdown([*head, "uncompressed: 5"], lines)


def _outage(told: Mapping[str, Any]) -> str:
    rows = _rows(told, "outage")
    head = ["", *(key for key in rows[0] if key != "who")]
    return _markdown(head, [[row["who"], *(row[key] for key in head[1:])] for row in rows])


def _storage(told: Mapping[str, Any]) -> str:
    rows = _rows(told, "storage")
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    settings = list(dict.fromkeys(row["who"] for row in rows))
    stored = {(row["backend"], row["who"]): row for row in rows}
    lines = [
        [
            f"`{name}`" if name != "default" else "default: all",
            stored[backends[0], name]["spans a call"],
            *(stored[of, name]["bytes a call"] for of in backends),
        ]
        for name in settings
    ]
    head = ["bytes stored by a call of 1,000 tokens", "spans"]
    table = _markdown([*head, *backends], lines)
    speed = stored.get(("Phoenix", "default"))
    if speed is None:
        return table
    return f"{table}\n\nPhoenix took {speed['spans stored a second']} spans a second meanwhile."


def _in_one_trace(told: Mapping[str, Any]) -> str:
    tables = told["storage"]["tables"]
    rows = tables[1]["rows"]
    head = ["one trace in Tempo", "calls of 1,000 tokens", "spans sent", "spans kept"]
    return _markdown(
        head,
        [[f"`{of['who']}`", of["calls"], of["spans sent"], of["spans kept"]] for of in rows],
    )


def _merging(told: Mapping[str, Any]) -> str:
    rows = _rows(told, "merging")
    return _markdown(
        ["tokens", *(f"{key}, us a token" for key in list(rows[0])[1:-1]), "times"],
        [[_value(of) for of in row.values()] for row in rows],
    )


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "measured on": _measured_on,
    "goals": _goals,
    "stream": _stream,
    "end": _end,
    "sizes": _sizes,
    "whole": _whole,
    "lateness": _lateness,
    "sent": _sent,
    "delivery": _plain("delivery"),
    "soak": _plain("soak"),
    "imports": _plain("import"),
    "outage": _outage,
    "storage": _storage,
    "one trace": _in_one_trace,
    "merging": _merging,
}


if __name__ == "__main__":
    main()
