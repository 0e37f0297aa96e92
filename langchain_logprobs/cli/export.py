"""`export`: runs with all their tokens, for other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from langchain_logprobs.cli.options import Failure, console, needs
from langchain_logprobs.core.plain import plain_report, plain_tree
from langchain_logprobs.store.query import Query
from langchain_logprobs.store.reader import StoredRuns

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 200
"""Runs that go into Parquet at once."""


def export_runs(store: Path | None, asked: Query, output: Path | None, form: str) -> None:
    """Writes the runs; a file appears under its name only when it is whole.

    Raises:
        Failure: It cannot be written.
    """
    stored = StoredRuns(store)
    rows = map(plain_report, stored.reports(asked))
    _export(
        rows,
        stored.count(asked),
        "runs",
        output,
        Parquet(_schema, _row) if form == "parquet" else None,
    )


def export_trees(store: Path | None, asked: Query, output: Path | None, form: str) -> None:
    """Writes the root runs, each with all that ran inside it, in the same way.

    Raises:
        Failure: It cannot be written, or only some of their calls are asked for.
    """
    if asked.model is not None or asked.low is not None:
        raise Failure("--trees takes whole root runs: leave --model and --low out.")
    stored = StoredRuns(store)
    roots = stored.roots(asked.since_ns or 0)[::-1]
    rows = (plain_tree(stored.tree(of)) for of in roots)
    _export(
        rows,
        len(roots),
        "root runs",
        output,
        Parquet(_tree_schema, _tree_row) if form == "parquet" else None,
    )


@dataclass(frozen=True, slots=True)
class Parquet:
    """How rows of JSON values become a table.

    Attributes:
        schema: Its columns, from PyArrow's types.
        row: What of a row goes into them.
    """

    schema: Callable[[Any], pa.Schema]
    row: Callable[[dict[str, Any]], dict[str, Any]]


def _export(
    rows: Iterable[dict[str, Any]],
    total: int,
    what: str,
    output: Path | None,
    table: Parquet | None,
) -> None:
    if table is not None and output is None:
        raise Failure("Parquet is not for a terminal or a pipe: name a file with --output.")
    with _progress(total) as watched:
        if output is None:
            _write_lines(watched(rows), sys.stdout)
        else:
            _write_file(watched(rows), output, table)
    console(stderr=True).print(
        f"{total:,} {what} written to {output or 'the pipe'}", style="dim", markup=False
    )


def _write_file(rows: Iterable[dict[str, Any]], output: Path, table: Parquet | None) -> None:
    part = output.with_name(f"{output.name}.part")
    try:
        if table is not None:
            _write_parquet(rows, part, table)
        else:
            with part.open("w", encoding="utf-8") as file:
                _write_lines(rows, file)
        part.replace(output)
    except OSError as error:
        raise Failure(
            f"{output} cannot be written: {error.strerror or error}. Choose another with --output."
        ) from error
    finally:
        with suppress(OSError):  # it may lie where nothing can
            part.unlink(missing_ok=True)


def _write_lines(rows: Iterable[dict[str, Any]], file: IO[str]) -> None:
    for row in rows:
        file.write(json.dumps(row) + "\n")


def _write_parquet(rows: Iterable[dict[str, Any]], path: Path, table: Parquet) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise needs("analysis", missing) from missing
    schema = table.schema(pa)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        iterator = iter(rows)
        while batch := [_whole_text(table.row(of)) for of in islice(iterator, _BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _schema(arrow: Any) -> pa.Schema:
    """One row a run; its tokens as a nested list, the rest of its measures as columns."""
    text, real, whole = arrow.string(), arrow.float64(), arrow.int64()
    candidate = arrow.struct([("text", text), ("logprob", real)])
    token = arrow.struct(
        [
            ("completion", whole),
            ("text", text),
            ("channel", text),
            ("logprob", real),
            ("entropy", real),
            ("at_ns", whole),
            ("candidates", arrow.list_(candidate)),
        ]
    )
    columns = {
        **dict.fromkeys(_TEXTS, text),
        **dict.fromkeys(_WHOLES, whole),
        **dict.fromkeys(_MEASURES, real),
        "low": arrow.bool_(),
        "text": text,
        "tokens": arrow.list_(token),
        "fields": text,
        "metadata": text,
        "parameters": text,
    }
    return arrow.schema(list(columns.items()))


_TEXTS = [
    "run_id",
    "root_run_id",
    "parent_run_id",
    "root_name",
    "model",
    "response_model",
    "provider",
    "operation",
    "outcome",
    "error",
    "source",
    "unavailable",
]
_WHOLES = [
    "started_ns",
    "ended_ns",
    "truncated",
    "input_tokens",
    "output_tokens",
]
_MEASURES = [
    "confidence",
    "perplexity",
    "mean_logprob",
    "sum_logprob",
    "min_logprob",
    "surprisal_tail",
    "mean_entropy",
    "max_entropy",
    "mean_margin",
    "min_log_odds",
    "low_ratio",
    "lowest_window",
]


def _row(plain: dict[str, Any]) -> dict[str, Any]:
    completions = plain["completions"]
    row = {name: plain[name] for name in (*_TEXTS, *_WHOLES, "low")}
    row |= {name: plain["confidence"][name] for name in _MEASURES}
    row |= {name: json.dumps(plain[name]) for name in ("fields", "metadata", "parameters")}
    row["text"] = completions[0]["text"] if completions else ""
    row["tokens"] = [
        {**token, "completion": index}
        for index, completion in enumerate(completions)
        for token in completion["tokens"]
    ]
    return row


def _tree_schema(arrow: Any) -> pa.Schema:
    """One row a root run; what ran inside it as nested lists."""
    text, real, whole = arrow.string(), arrow.float64(), arrow.int64()
    shared = [
        ("run_id", text),
        ("parent_run_id", text),
        ("started_ns", whole),
        ("ended_ns", whole),
        ("outcome", text),
        ("error", text),
    ]
    run = arrow.struct([*shared, ("name", text), ("kind", text)])
    call = arrow.struct(
        [
            *shared,
            ("model", text),
            ("confidence", real),
            ("low", arrow.bool_()),
            ("unavailable", text),
            ("tokens", whole),
        ]
    )
    texts = ("root_run_id", "name", "kind", "outcome", "error", "weakest")
    wholes = ("started_ns", "ended_ns", "omitted_calls", "omitted_runs")
    columns = {**dict.fromkeys(texts, text), **dict.fromkeys(wholes, whole)}
    columns |= {**dict.fromkeys(_MEASURES, real), "runs": arrow.list_(run)}
    return arrow.schema([*columns.items(), ("calls", arrow.list_(call))])


def _tree_row(plain: dict[str, Any]) -> dict[str, Any]:
    return {**plain, **plain["confidence"]}


def _whole_text(value: Any) -> Any:
    """The value with half characters replaced: Arrow's text is UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {key: _whole_text(of) for key, of in value.items()}
        case list():
            return [_whole_text(of) for of in value]
        case _:
            return value


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on stderr, where that is a terminal."""
    from rich.progress import Progress  # noqa: PLC0415 - only here

    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        yield lambda rows: progress.track(rows, total=total, description="Exporting")
