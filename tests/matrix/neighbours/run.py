"""Lives beside each other instrumentation for real, and says whether that goes well.

`make neighbours` installs each in an environment of its own (cached outside of this repository),
runs `program.py` there without us, with our handler passed explicitly, and with `instrument()`,
compares the spans, prints the table and writes it into `docs/neighbours.md`. Some ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "neighbours.md"
sys.path.insert(0, str(ROOT / "tests"))

from openai_server import serving  # noqa: E402

MODES = ("explicit", "instrument")
_GIVEN = {"explicit": "`config`", "instrument": "`instrument()`"}
TIMEOUT = 600
OURS = "langchain_logprobs"
Span = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """An instrumentation to live beside.

    Attributes:
        title: What to call it.
        packages: What to install.
        is_llm: Whether a span of its is that of a model call.
        spans_a_call: How many such spans it makes a call.
    """

    title: str
    packages: tuple[str, ...]
    is_llm: Callable[[Span], bool]
    spans_a_call: int = 1


def _attribute(name: str, value: str) -> Callable[[Span], bool]:
    return lambda span: span["attributes"].get(name) == value


def _scope_and_name(scope: str, pattern: str) -> Callable[[Span], bool]:
    return lambda span: span["scope"].startswith(scope) and bool(re.match(pattern, span["name"]))


SUBJECTS = {
    "genai": Subject(
        "OpenTelemetry genai-langchain",
        ("opentelemetry-instrumentation-genai-langchain>=1.3b0", "langchain"),
        _scope_and_name("opentelemetry.", "chat "),
    ),
    "openinference": Subject(
        "OpenInference",
        ("openinference-instrumentation-langchain>=0.1.80",),
        _attribute("openinference.span.kind", "LLM"),
    ),
    "openllmetry": Subject(
        "OpenLLMetry",
        ("opentelemetry-instrumentation-langchain>=0.62.4",),
        _scope_and_name("opentelemetry.instrumentation.langchain", r".*\.chat$"),
    ),
    "langfuse": Subject(
        "Langfuse",
        ("langfuse>=5.0", "langchain"),
        _attribute("langfuse.observation.type", "generation"),
    ),
    "openlit": Subject(
        "OpenLIT",
        ("openlit>=1.45", "langchain"),
        _scope_and_name("openlit", "chat "),
    ),
    "mlflow": Subject(
        "MLflow",
        ("mlflow>=3.17",),
        _attribute("mlflow.spanType", '"CHAT_MODEL"'),
    ),
    "logfire": Subject(
        "Logfire",
        ("logfire>=5.2",),
        _scope_and_name("logfire", "Chat Completion"),
    ),
    "httpx": Subject(
        "HTTPX instrumentation alone",
        # From 3 on, OpenAI's client calls by httpx2, which this instrumentation does not see.
        ("opentelemetry-instrumentation-httpx>=0.66b0", "openai<3"),
        lambda span: span["scope"] == OURS and span["name"].startswith("chat "),
    ),
}


@dataclass(slots=True)
class Cell:
    """What was seen in one way of calling, and what is wrong with it."""

    calls: int = 0
    tokens: int = 0
    aggregates: int = 0
    summaries: int = 0
    wrong: list[str] = field(default_factory=list)


# Environments


def environment(name: str) -> Path:
    """The Python of a subject's environment, which is made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "langchain_logprobs" / "neighbours" / name
    python = folder / "bin" / "python"
    packages = ["-e", str(ROOT), "langchain-openai", "langgraph", *SUBJECTS[name].packages]
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != "\n".join(packages):
        venv.create(folder, clear=True, with_pip=shutil.which("uv") is None)
        uv = ["uv", "pip", "install", "-q", "--python", str(python)]
        pip = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*(uv if shutil.which("uv") else pip), *packages], check=True)
        done.write_text("\n".join(packages))
    return python


def spans_by_cell(python: Path, name: str, mode: str, base_url: str) -> dict[str, Any]:
    """What the program prints: the spans of each cell, and what else it says at its end."""
    variables = {key: of for key, of in os.environ.items() if not key.startswith("OTEL_")}
    variables["PYTHONHASHSEED"] = "0"
    ran = subprocess.run(
        [str(python), str(HERE / "program.py"), name, mode, base_url],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=variables,
    )
    if ran.returncode:
        raise SystemExit(f"{name} {mode} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {of["cell"]: of["spans"] for of in lines if "cell" in of} | {
        "delivered": next(of["delivered"] for of in lines if "delivered" in of)
    }


# Judging


def judge(subject: Subject, spans: Sequence[Span], without: Sequence[Span]) -> Cell:
    """One way of calling: every law that does not hold is named."""
    cell = Cell()
    by_id = {span["id"]: span for span in spans}
    llm = [span for span in spans if subject.is_llm(span)]
    children: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        if span["scope"] == OURS and span["name"] == "token":
            cell.tokens += 1
            parent = by_id.get(span["parent"])
            if parent is None or not subject.is_llm(parent):
                cell.wrong.append(f"token under {parent and parent['name']!r}")
            else:
                children[parent["id"]].append(span)
    cell.calls = len(llm) // subject.spans_a_call
    cell.wrong += _mixed(llm, children, by_id)
    cell.aggregates = sum(f"{OURS}.outcome" in span["attributes"] for span in llm)
    summaries = [span for span in spans if span["scope"] == OURS and span["name"] == "logprobs"]
    cell.summaries = len(summaries)
    cell.wrong += [
        f"summary under {by_id[of['parent']]['name']!r}"
        for of in summaries
        if not subject.is_llm(by_id[of["parent"]])
    ]
    if cell.aggregates + cell.summaries != cell.calls:
        cell.wrong.append(f"confidence {cell.aggregates} + {cell.summaries} times")
    cell.wrong += _doubled(subject, spans)
    if not essence(without):
        cell.wrong.append("it made no spans itself")
    if (ours := essence(spans)) != (theirs := essence(without)):
        lost, new = theirs - ours, ours - theirs
        cell.wrong.append(f"their output changed: {list(lost)[:1]} -> {list(new)[:1]}")
    return cell


def _mixed(
    llm: Sequence[Span], children: Mapping[str, list[Span]], by_id: Mapping[str, Span]
) -> Iterator[str]:
    """Answers say `1`, `:`, ` a0`, ` b`, where 1 is the question of the request around them."""
    for span in llm:
        tokens = sorted(
            children.get(span["id"], []),
            key=lambda of: of["attributes"][f"{OURS}.token.index"],
        )
        said = [of["attributes"][f"{OURS}.token.text"] for of in tokens]
        if not said:
            continue
        if said[1:] != [":", " a0", " b"][: len(said) - 1]:
            yield f"tokens of several calls under one span: {said}"
        requests = [
            of["name"] for of in _ancestors(span, by_id) if of["name"].startswith("request")
        ]
        if requests and not said[0].startswith(requests[0].split()[-1]):
            yield f"{said[0]!r} in {requests[0]!r}"


def _ancestors(span: Span, by_id: Mapping[str, Span]) -> Iterator[Span]:
    while (span := by_id.get(span["parent"])) is not None:  # type: ignore[assignment]
        yield span


def _doubled(subject: Subject, spans: Sequence[Span]) -> Iterator[str]:
    """Our own LLM and root spans, where there is another's."""
    for span in spans:
        ours = span["scope"] == OURS and "gen_ai.operation.name" in span["attributes"]
        if ours and not subject.is_llm(span) and subject.title in WITH_LLM_SPANS:
            yield f"our own {span['name']!r}"


WITH_LLM_SPANS = {of.title for name, of in SUBJECTS.items() if name != "httpx"}

_CHANGING = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"  # run ids
    r"|\b(?:tr-)?[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"  # trace and span ids
    r"|took \d+\.\d\ds"
    r"|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)?"  # times
    r"|\b\d{10,19}(?:\.\d+)?\b|\b\d+\.\d{4,}(?:e-\d+)?\b|0x[0-9a-f]+|\b\d\.\d+e-\d+\b"
)


_UNORDERED = (r"[\"right\", \"left\"]", r"[\"left\", \"right\"]")  # as they happened to end


def essence(spans: Sequence[Span]) -> Counter[str]:
    """Their spans, without what is another at every run: ids and times."""
    return Counter(
        _CHANGING.sub("*", json.dumps(_theirs(span, spans), sort_keys=True)).replace(*_UNORDERED)
        for span in spans
        if span["scope"] != OURS
    )


def _theirs(span: Span, spans: Sequence[Span]) -> dict[str, Any]:
    parent = next((of["name"] for of in spans if of["id"] == span["parent"]), None)
    attributes = {
        name: value for name, value in span["attributes"].items() if not name.startswith(OURS)
    }
    kept = {key: span[key] for key in ("name", "kind", "scope", "status", "events", "ended")}
    return {**kept, "parent": parent, "attributes": attributes}


# The table


_HEAD = (
    "| beside | handler given by | calls | token spans, all under their call's LLM span "
    "| confidence on it | beneath it | our own LLM span | their output |"
)


def table(rows: Sequence[tuple[str, str, Mapping[str, Cell]]]) -> str:
    """The table as Markdown."""
    lines = [
        _HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, mode, cells in rows:
        calls = sum(of.calls for of in cells.values())
        wrong = [text for of in cells.values() for text in of.wrong]
        lines.append(
            f"| {title} | {mode} | {calls} | {_tokens(cells, wrong)} | "
            f"{sum(of.aggregates for of in cells.values())} | "
            f"{sum(of.summaries for of in cells.values())} | "
            f"{sum('our own' in of for of in wrong) or 'none'} | "
            f"{'changed' if any('output' in of for of in wrong) else 'the same'} |"
        )
    return "\n".join(lines)


def _tokens(cells: Mapping[str, Cell], wrong: Sequence[str]) -> str:
    astray = sum("token" in of or " in " in of for of in wrong)
    return f"{sum(of.tokens for of in cells.values())}" + (f", {astray} not" if astray else "")


def _say_what_is_wrong(name: str, mode: str, cells: Mapping[str, Cell]) -> int:
    wrong = [(cell, text) for cell, of in cells.items() for text in of.wrong]
    for cell, text in wrong[:20]:
        print(f"{name} {mode} {cell}: {text}")
    return len(wrong)


def _write(text: str) -> None:
    """Puts the table between the marks on the page."""
    page = PAGE.read_text()
    begin, end = "<!-- table -->\n", "<!-- /table -->"
    before, rest = page.split(begin)
    PAGE.write_text(f"{before}{begin}\n{text}\n\n{end}{rest.split(end)[1]}")


def main() -> int:
    """Runs what is asked for; 0 if every cell of it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SUBJECTS), help="only these")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    asked = parser.parse_args()
    failed = 0
    rows: list[tuple[str, str, Mapping[str, Cell]]] = []
    with serving() as served:
        for name in asked.names:
            python = environment(name)
            without = spans_by_cell(python, name, "without", served.base_url)
            for mode in MODES:
                seen = spans_by_cell(python, name, mode, served.base_url)
                delivered = seen.pop("delivered")
                cells = {
                    cell: judge(SUBJECTS[name], spans, without[cell])
                    for cell, spans in seen.items()
                }
                rows.append((SUBJECTS[name].title, _GIVEN[mode], cells))
                failed += _say_what_is_wrong(name, mode, cells)
                if delivered is not None:
                    print(f"{name:14} {mode:10} {delivered} token spans reached its own backend")
    print(table(rows))
    if asked.write:
        _write(table(rows))
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
