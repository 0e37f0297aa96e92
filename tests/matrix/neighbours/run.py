"""Lives beside each other instrumentation for real, and says whether that goes well.

`make neighbours` installs each in an environment of its own (cached outside of this repository),
runs `program.py` there without us, with our handler passed explicitly, and with `instrument()`,
compares the spans, prints the table and writes it into `docs/neighbours.md`. Some twenty minutes.
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
        packages: What to install; the first is what this is about.
        is_llm: Whether a span is that of a model call.
        is_direct: Whether token spans can be made there without being started.
        is_ours: Whether the LLM spans are to be ours.
        has_http: Whether every call is also to have a span of an HTTP client's instrumentation.
        keeps_open: Whether every call is to have a span `logprobs`, which keeps its trace open.
    """

    title: str
    packages: tuple[str, ...]
    is_llm: Callable[[Span], bool]
    is_direct: bool = False
    is_ours: bool = False
    has_http: bool = False
    keeps_open: bool = False


def _attribute(name: str, value: str) -> Callable[[Span], bool]:
    return lambda span: span["attributes"].get(name) == value


def _scope_and_name(scope: str, pattern: str) -> Callable[[Span], bool]:
    return lambda span: span["scope"].startswith(scope) and bool(re.match(pattern, span["name"]))


_HTTP = "opentelemetry.instrumentation.httpx"
_HTTP_PACKAGE = "opentelemetry-instrumentation-httpx>=0.66b0"
_is_our_call = _scope_and_name(OURS, "chat ")
_is_openinference = _attribute("openinference.span.kind", "LLM")
_is_mlflow = _attribute("mlflow.spanType", '"CHAT_MODEL"')

SUBJECTS = {
    "genai": Subject(
        "OpenTelemetry genai-langchain",
        ("opentelemetry-instrumentation-genai-langchain>=1.3b0", "langchain"),
        _scope_and_name("opentelemetry.", "chat "),
        is_direct=True,
    ),
    "openinference": Subject(
        "OpenInference",
        ("openinference-instrumentation-langchain>=0.1.80",),
        _is_openinference,
        is_direct=True,
    ),
    "openllmetry": Subject(
        "OpenLLMetry",
        ("opentelemetry-instrumentation-langchain>=0.62.4",),
        _scope_and_name("opentelemetry.instrumentation.langchain", r".*\.chat$"),
        is_direct=True,
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
        is_direct=True,
        has_http=True,
    ),
    "mlflow": Subject("MLflow, global provider", ("mlflow>=3.17",), _is_mlflow, keeps_open=True),
    "mlflow-alone": Subject(
        "MLflow, its own provider", ("mlflow>=3.17",), _is_mlflow, keeps_open=True
    ),
    "logfire": Subject(
        "Logfire",
        ("logfire>=5.2",),
        _scope_and_name("logfire", "Chat Completion"),
    ),
    "httpx": Subject(
        "HTTPX instrumentation, httpx",
        # From 3 on, OpenAI's client calls by httpx2.
        (_HTTP_PACKAGE, "openai<3"),
        _is_our_call,
        is_direct=True,
        is_ours=True,
        has_http=True,
    ),
    "httpx2": Subject(
        "HTTPX instrumentation, httpx2",
        (_HTTP_PACKAGE, "openai>=3"),
        _is_our_call,
        is_direct=True,
        is_ours=True,
        has_http=True,
    ),
    "openinference-httpx2": Subject(
        "OpenInference and HTTPX instrumentation",
        ("openinference-instrumentation-langchain>=0.1.80", _HTTP_PACKAGE, "openai>=3"),
        _is_openinference,
        is_direct=True,
        has_http=True,
    ),
}


@dataclass(slots=True)
class Cell:
    """What was seen in one way of calling, and what is wrong with it."""

    calls: int = 0
    tokens: int = 0
    direct: int = 0
    aggregates: int = 0
    summaries: int = 0
    endless: int = 0
    endless_without: int = 0
    wrong: list[str] = field(default_factory=list)


# Environments


def environment(name: str) -> Path:
    """The Python of a subject's environment, which is made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "langchain_logprobs" / "neighbours" / name
    python = folder / "bin" / "python"
    packages = ["-e", str(ROOT), "langchain-openai", "langgraph", *SUBJECTS[name].packages]
    done, wanted = folder / "installed.txt", "\n".join([sys.version, *packages])
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=shutil.which("uv") is None)
        install = ["uv", "pip", "install", "-q", "--python", str(python)]
        if shutil.which("uv") is None:
            install = [str(python), "-m", "pip", "install", "-q"]
            # Older ones find no OpenLIT: it takes beta versions of what it depends on.
            subprocess.run([*install, "--upgrade", "pip>=25.1"], check=True)
        subprocess.run([*install, *packages], check=True)
        done.write_text(wanted)
    return python


def version(python: Path, name: str) -> str:
    """The version of what a subject is about."""
    package = re.split(r"[<>=]", SUBJECTS[name].packages[0])[0]
    told = f"import importlib.metadata as of; print(of.version({package!r}))"
    return subprocess.check_output([str(python), "-c", told], text=True).strip()


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
        "arrived": next(of["arrived"] for of in lines if "arrived" in of)
    }


# Judging


def judge(subject: Subject, spans: Sequence[Span], without: Sequence[Span]) -> Cell:
    """One way of calling: every law that does not hold is named."""
    by_id = {span["id"]: span for span in spans}
    llm = [span for span in spans if subject.is_llm(span)]
    tokens = [span for span in spans if span["scope"] == OURS and span["name"] == "token"]
    summaries = [span for span in spans if span["scope"] == OURS and span["name"] == "logprobs"]
    children: dict[str, list[Span]] = defaultdict(list)
    for span in tokens:
        children[span["parent"]].append(span)
    cell = Cell(
        calls=len(llm),
        tokens=len(tokens),
        direct=sum(of["is_direct"] for of in tokens),
        aggregates=sum(f"{OURS}.outcome" in of["attributes"] for of in llm),
        summaries=len(summaries),
        endless=sum(not of["ended"] for of in llm),
        endless_without=sum(subject.is_llm(of) and not of["ended"] for of in without),
    )
    cell.wrong += [
        f"{of['name']} under {parent and parent['name']!r}"
        for of in (*tokens, *summaries)
        if (parent := by_id.get(of["parent"])) is None or not subject.is_llm(parent)
    ]
    cell.wrong += _mixed(llm, children, by_id)
    cell.wrong += _miscounted(subject, cell, children)
    cell.wrong += _doubled(subject, spans)
    cell.wrong += _http(subject, spans, cell)
    cell.wrong += _changed(spans, without)
    return cell


def _miscounted(subject: Subject, cell: Cell, children: Mapping[str, list[Span]]) -> Iterator[str]:
    wanted = len(children) if subject.keeps_open else cell.calls - cell.aggregates
    told_twice = cell.summaries - (cell.calls - cell.aggregates)
    if cell.summaries < cell.calls - cell.aggregates or (told_twice and not subject.keeps_open):
        yield f"confidence {cell.aggregates} + {cell.summaries} times"
    elif cell.summaries < wanted:
        yield f"{cell.summaries} of {wanted} traces kept open"
    # The first of a call is an example for the others.
    direct = cell.tokens - len(children) if subject.is_direct else 0
    if cell.direct != direct:
        yield f"{cell.direct} token spans, not {direct}, made without being started"
    if cell.endless != cell.endless_without:
        yield f"{cell.endless} LLM spans never end, {cell.endless_without} without us"


def _changed(spans: Sequence[Span], without: Sequence[Span]) -> Iterator[str]:
    ours, theirs = essence(spans), essence(without)
    if not theirs:
        yield "it made no spans itself"
    if ours != theirs:
        lost, new = theirs - ours, ours - theirs
        yield f"their output changed: {list(lost)[:1]} -> {list(new)[:1]}"


def _http(subject: Subject, spans: Sequence[Span], cell: Cell) -> Iterator[str]:
    requests = sum(span["scope"] == _HTTP for span in spans)
    if requests != (cell.calls if subject.has_http else 0):
        yield f"{requests} HTTP spans"


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
            yield f"tokens of another call, {said[0]!r}, in {requests[0]!r}"


def _ancestors(span: Span, by_id: Mapping[str, Span]) -> Iterator[Span]:
    while (span := by_id.get(span["parent"])) is not None:  # type: ignore[assignment]
        yield span


def _doubled(subject: Subject, spans: Sequence[Span]) -> Iterator[str]:
    """Our own LLM and root spans, where there is another's."""
    for span in spans:
        ours = span["scope"] == OURS and "gen_ai.operation.name" in span["attributes"]
        if ours and not subject.is_ours:
            yield f"our own {span['name']!r}"


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
    by_id = {of["id"]: of for of in spans}
    changing = ("id", "parent", "trace", "is_direct")
    resource = {
        name: of
        for name, of in span["resource"].items()
        if name not in {"process.pid", "service.instance.id"}
    }
    return {
        **{key: of for key, of in span.items() if key not in changing},
        "resource": resource,
        "attributes": {
            name: of for name, of in span["attributes"].items() if not name.startswith(OURS)
        },
        "under": [of["name"] for of in _ancestors(span, by_id) if of["scope"] != OURS],
    }


# The table


_HEAD = """\
| beside | handler given by | calls | token spans, all under their call's LLM span | of them made \
directly | in its own back end | confidence on the LLM span | beneath it | our own LLM span \
| LLM spans that never end, with us and without | their output |
|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One instrumentation, and one way to give our handler."""

    name: str
    version: str
    mode: str
    cells: Mapping[str, Cell]
    arrived: Sequence[int] | None

    def total(self, what: str) -> int:
        """The sum of something over all cells."""
        return sum(getattr(of, what) for of in self.cells.values())

    def wrong(self) -> list[tuple[str, str]]:
        """What does not hold, and where."""
        wrong = [(cell, text) for cell, of in self.cells.items() for text in of.wrong]
        made = [self.total("calls"), self.total("tokens"), self.total("summaries"), 0]
        if self.arrived is not None and [*self.arrived] != made:
            wrong.append(("its own back end", f"{self.arrived} instead of {made}"))
        return wrong

    def line(self) -> str:
        """Its line of the table."""
        subject, wrong = SUBJECTS[self.name], [text for _, text in self.wrong()]
        astray = sum(text.startswith("token") for text in wrong)
        shown = (
            f"{subject.title} {self.version}",
            _GIVEN[self.mode],
            self.total("calls"),
            f"{self.total('tokens')}" + (f", {astray} not" if astray else ""),
            self.total("direct"),
            "" if self.arrived is None else self.arrived[1],
            self.total("aggregates"),
            self.total("summaries"),
            "all" if subject.is_ours else sum("our own" in of for of in wrong) or "none",
            f"{self.total('endless')}, {self.total('endless_without')}",
            "changed" if any("output" in of for of in wrong) else "the same",
        )
        return f"| {' | '.join(map(str, shown))} |"


def rows_of(name: str, base_url: str) -> Iterator[Row]:
    """A subject's rows: without us for comparison, and then each way to give our handler."""
    python = environment(name)
    without = spans_by_cell(python, name, "without", base_url)
    for mode in MODES:
        cells = spans_by_cell(python, name, mode, base_url)
        arrived = cells.pop("arrived")
        judged = {
            cell: judge(SUBJECTS[name], spans, without[cell]) for cell, spans in cells.items()
        }
        yield Row(name, version(python, name), mode, judged, arrived)


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
    rows: list[Row] = []
    with serving() as served:
        for name in asked.names:
            for row in rows_of(name, served.base_url):
                rows.append(row)
                print(row.line(), flush=True)
                for cell, text in row.wrong()[:20]:
                    print(f"{name} {row.mode} {cell}: {text}", flush=True)
    if asked.write:
        _write(_HEAD + "\n".join(row.line() for row in rows))
    return min(sum(len(row.wrong()) for row in rows), 1)


if __name__ == "__main__":
    raise SystemExit(main())
