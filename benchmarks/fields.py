"""Confidence of JSON fields: share of leaves exact and time, beside the published packages.

    python -m benchmarks.fields [--documents 400] [--json fields.json]

Each package is installed into an environment of its own under `$XDG_CACHE_HOME` (`~/.cache`), made
on the first run, of the Python that runs this; logprobs-parser needs 3.12. One that cannot be
installed or run stands in the table with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fields_corpus import KINDS, Answer, corpus
from benchmarks.fields_probe import PACKAGES
from langchain_logprobs.core.confidence import TokenMeasures, measure
from langchain_logprobs.core.fields import fields_of, tokens_in
from langchain_logprobs.core.scanner import Scanner, scan, step
from langchain_logprobs.core.text import align
from langchain_logprobs.core.tokens import TokenLogprob

OURS = "langchain-logprobs"
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langchain_logprobs"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints two tables: what is right, and what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args(arguments)
    answers = corpus(asked.documents)
    rows = {OURS: ours(answers), **{name: theirs(name, answers) for name in PACKAGES}}
    speed = costs(answers)
    leaves = {kind: sum(len(of.leaves) for of in answers if of.kind == kind) for kind in KINDS}
    print(table(rows, leaves, len(answers)))
    print()
    print("\n".join(f"{name}: {value:.2f} us a token" for name, value in speed.items()))
    if asked.json:
        figures = {"leaves": leaves, "documents": len(answers), "packages": rows, "speed": speed}
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def ours(answers: Sequence[Answer]) -> dict[str, Any]:
    """The same as the probe of another package finds out."""
    exact = dict.fromkeys(KINDS, 0)
    seconds = 0.0
    for answer in answers:
        tokens = _tokens(answer)
        began = time.process_time()
        fields = fields_of(tokens, answer.text)
        seconds += time.process_time() - began
        seen: dict[str, int] = {}
        for leaf in answer.leaves:
            path = "$" + "".join(f"[{at}]" if isinstance(at, int) else step(at) for at in leaf.path)
            found = [of for of in fields.every(path) if of.leaf]
            nth = seen[path] = seen.get(path, -1) + 1
            got = found[nth].confidence.sum_logprob if nth < len(found) else None
            exact[answer.kind] += got is not None and abs(got - answer.sums(leaf)[0]) < 1e-9
    return {"version": "", "exact": exact, "errors": {}, "seconds": seconds}


def theirs(package: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """What the probe says in the package's own environment; why not, if it says nothing."""
    try:
        python = environment(package)
        done = subprocess.run(
            [str(python), str(HERE / "fields_probe.py"), package],
            input=json.dumps([answer.as_json() for answer in answers]),
            capture_output=True,
            text=True,
            check=True,
            timeout=1200,
        )
    except subprocess.CalledProcessError as error:
        return {"reason": (error.stderr or "no message").strip().splitlines()[-1]}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"reason": type(error).__name__}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def environment(package: str) -> Path:
    """The Python of an environment with the package in it, made if it is not there."""
    place = CACHE / "benchmarks" / f"{package}-{sys.implementation.cache_tag}"
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (place / "installed").exists():
        venv.create(place, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", package]
        subprocess.run(command, capture_output=True, text=True, check=True)
        (place / "installed").touch()
    return python


def table(rows: dict[str, dict[str, Any]], leaves: dict[str, int], documents: int) -> str:
    """Markdown: share of leaves exact by kind of answer, answers that raise, time a document."""
    head = ["package", *KINDS, "all leaves", "raises", "ms a document"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        if "reason" in row:
            lines.append(f"| {name} | {row['reason']} |" + " |" * (len(head) - 2))
            continue
        shares = [row["exact"].get(kind, 0) / leaves[kind] for kind in KINDS]
        total = sum(row["exact"].values()) / sum(leaves.values())
        raises = sum(row["errors"].values()) / documents
        cells = [f"{share:.1%}" for share in (*shares, total, raises)]
        time_ = f"{row['seconds'] / documents * 1e3:.2f}"
        named = f"{name} {row['version']}".strip()
        lines.append(f"| {named} | {' | '.join([*cells, time_])} |")
    return "\n".join(lines)


class Prepared(NamedTuple):
    """An answer with its tokens and their measures."""

    answer: Answer
    tokens: list[TokenLogprob]
    measures: list[TokenMeasures]


def costs(answers: Sequence[Answer]) -> dict[str, float]:
    """Microseconds a token, the best of five rounds that take turns."""
    prepared = [_prepared(answer) for answer in answers]
    count = sum(len(of.tokens) for of in prepared)
    best = dict.fromkeys(WAYS, float("inf"))
    for _ in range(5):
        for name, way in WAYS.items():
            began = time.process_time()
            for of in prepared:
                way(of)
            best[name] = min(best[name], (time.process_time() - began) / count * 1e6)
    return best


def _prepared(answer: Answer) -> Prepared:
    tokens = _tokens(answer)
    return Prepared(answer, tokens, [measure(token) for token in tokens])


def _whole(of: Prepared) -> None:
    scan(bytes(of.answer.data))


def _streamed(of: Prepared) -> None:
    scanner = Scanner()
    for raw in of.answer.tokens:
        scanner.feed(raw)
    scanner.close()


def _joined(of: Prepared) -> None:
    aligned = align(of.tokens, of.answer.text)
    for value in scan(bytes(of.answer.data)):
        if aligned is not None:
            tokens_in(aligned, *value.inside)


def _measured(of: Prepared) -> None:
    fields_of(of.tokens, of.answer.text, measures=of.measures)


WAYS: dict[str, Callable[[Prepared], None]] = {
    "scanning, whole": _whole,
    "scanning, a token at a time": _streamed,
    "aligning, scanning and joining": _joined,
    "the same, with the measures of every field": _measured,
}


def _tokens(answer: Answer) -> list[TokenLogprob]:
    return [
        TokenLogprob(raw.decode("utf-8", "replace"), logprob, raw)
        for raw, logprob in zip(answer.tokens, answer.logprobs, strict=True)
    ]


if __name__ == "__main__":
    main()
