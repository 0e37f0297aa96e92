"""`export`: runs with all their tokens, for other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from langchain_logprobs.cli.options import Failure, console, needs
from langchain_logprobs.core.plain import plain_report
from langchain_logprobs.core.report import CallReport
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
    if form == "parquet" and output is None:
        raise Failure("Parquet is not for a terminal or a pipe: name a file with --output.")
    total = stored.count(asked)
    with _progress(total) as watched:
        reports = watched(stored.reports(asked))
        if output is None:
            _write_lines(reports, sys.stdout)
        else:
            _write_file(reports, output, form)
    console(stderr=True).print(
        f"{total:,} runs written to {output or 'the pipe'}", style="dim", markup=False
    )


def _write_file(reports: Iterable[CallReport], output: Path, form: str) -> None:
    part = output.with_name(f"{output.name}.part")
    try:
        if form == "parquet":
            _write_parquet(reports, part)
        else:
            with part.open("w", encoding="utf-8") as file:
                _write_lines(reports, file)
        part.replace(output)
    except OSError as error:
        raise Failure(
            f"{output} cannot be written: {error}. Choose another with --output."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write_lines(reports: Iterable[CallReport], file: IO[str]) -> None:
    for report in reports:
        file.write(json.dumps(plain_report(report)) + "\n")


def _write_parquet(reports: Iterable[CallReport], path: Path) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise needs("analysis", missing) from missing
    schema = _schema(pa)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        iterator = iter(reports)
        while batch := [_row(plain_report(of)) for of in islice(iterator, _BATCH)]:
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
    whole: dict[str, Any] = _whole_text(row)
    return whole


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
        yield lambda runs: progress.track(runs, total=total, description="Exporting")
