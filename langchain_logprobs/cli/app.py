"""The commands, and what each takes. Their work is in a module each, imported when it is called."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from langchain_logprobs.cli.options import (
    Failure,
    JsonOption,
    ModelOption,
    NodeOption,
    SinceOption,
    StoreOption,
)

app = typer.Typer(
    name="langchain-logprobs",
    help="See how sure a language model was: of every run, answer, field and word.",
    epilog="`langchain-logprobs COMMAND --help` has examples.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dashboards_app = typer.Typer(help="Grafana dashboards and alert rules.", no_args_is_help=True)
app.add_typer(dashboards_app, name="dashboards")


class SortOption(StrEnum):
    """In which order."""

    newest = "newest"
    oldest = "oldest"
    least = "least"
    most = "most"
    longest = "longest"
    slowest = "slowest"


class Format(StrEnum):
    """What `export` writes."""

    jsonl = "jsonl"
    parquet = "parquet"


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line; problems that are the user's to solve come as one clear message."""
    from langchain_logprobs.store.schema import StoreError  # noqa: PLC0415 - SQLite is 10 ms

    try:
        app(arguments)
    except (Failure, StoreError) as error:
        sys.stdout.flush()
        typer.secho(str(error), fg="red", err=True)
        sys.exit(1)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  langchain-logprobs {line}" for line in lines)


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of  # noqa: PLC0415 - seldom asked for

        typer.echo(version_of("langchain-logprobs"))
        raise typer.Exit


@app.command(
    epilog=_examples(
        "demo",
        "demo --base-url http://localhost:11434/v1 --model llama3.2",
    )
)
def demo(
    store: StoreOption = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible API with logprobs.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Its model.")] = None,
) -> None:
    """Ask a real model a few questions, and store and show how sure it was of every word.

    Without --base-url it is a small model on this machine (extra `local`): no key, no network.
    """
    from langchain_logprobs.cli.demo import demonstrate  # noqa: PLC0415

    demonstrate(store, base_url, model)


@app.command(
    epilog=_examples(
        "runs",
        "runs --sort least --limit 10",
        "runs --model gpt-4o-mini --since 2h --under 0.7",
        "runs --json | jq -r 'select(.low) | .run_id'",
    )
)
def runs(
    store: StoreOption = None,
    model: ModelOption = None,
    node: NodeOption = None,
    since: SinceOption = None,
    outcome: Annotated[str | None, typer.Option(help="ok, error, cancelled or abandoned.")] = None,
    under: Annotated[
        float | None, typer.Option(min=0, max=1, help="Runs with a confidence under this.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Runs whose answer says this.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Runs that were unsure.")] = False,
    sort: Annotated[SortOption, typer.Option(help="The order.")] = SortOption.newest,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """List the runs: when, which model, how sure, and how the answer begins."""
    from langchain_logprobs.cli.runs import list_runs, query  # noqa: PLC0415

    asked = query(
        model=model,
        node=node,
        since=since,
        outcome=outcome,
        under=under,
        text=text,
        low=low or None,
        sort=sort.value,
    )
    list_runs(store, asked, limit, as_json=as_json)


@app.command(epilog=_examples("show last", "show 01a205b0", "show last --json | jq .confidence"))
def show(
    run: Annotated[
        str, typer.Argument(help="A run's id, or how it begins; `last` is the last one.")
    ] = "last",
    store: StoreOption = None,
    doubtful: Annotated[
        int, typer.Option(min=0, help="How many of the least certain tokens to list.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show one run: the answer as a heat map, its doubtful tokens, its fields, its tree."""
    from langchain_logprobs.cli.show import show_run  # noqa: PLC0415

    show_run(store, run, doubtful, as_json=as_json)


@app.command(
    epilog=_examples(
        "compare gpt-4o gpt-4o-mini",
        "compare 2026-11-01..2026-11-08 2026-11-08..2026-11-15",
        "compare node:draft node:review --since 7d",
    )
)
def compare(
    a: Annotated[str, typer.Argument(help="A model, a period FROM..TO, or node:NAME.")],
    b: Annotated[str, typer.Argument(help="The other.")],
    store: StoreOption = None,
    since: SinceOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare how sure two models, periods or nodes were, and whether that could be chance."""
    from langchain_logprobs.cli.compare import compare_runs  # noqa: PLC0415

    compare_runs(store, (a, b), since=since, model=model, as_json=as_json)


@app.command(
    epilog=_examples(
        "export > runs.jsonl",
        "export --low --since 7d --output unsure.jsonl",
        "export --format parquet --output runs.parquet",
    )
)
def export(
    store: StoreOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: to the pipe.")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", "-f", show_default=False)] = None,
    model: ModelOption = None,
    since: SinceOption = None,
    low: Annotated[bool, typer.Option("--low", help="Runs that were unsure.")] = False,
) -> None:
    """Write runs with all their tokens, one a line (JSON Lines) or as Parquet."""
    from langchain_logprobs.cli.export import export_runs  # noqa: PLC0415
    from langchain_logprobs.cli.runs import query  # noqa: PLC0415

    if form is None:
        is_parquet = output is not None and output.suffix == ".parquet"
        form = Format.parquet if is_parquet else Format.jsonl
    asked = query(model=model, since=since, low=low or None, sort="oldest")
    export_runs(store, asked, output, form.value)


@app.command(epilog=_examples("view", "view --store runs.db --port 8080 --no-open"))
def view(
    store: StoreOption = None,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="0 for any that is free.")
    ] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the browser.")
    ] = True,
) -> None:
    """Look at the runs in the browser, live while an application runs. On this machine only."""
    from langchain_logprobs.cli.view import serve  # noqa: PLC0415

    serve(store, port, open_browser=open_browser)


@app.command(epilog=_examples("doctor", "doctor --base-url http://localhost:8000/v1 -m my-model"))
def doctor(
    store: StoreOption = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also ask this OpenAI-compatible API for logprobs."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Its model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check what stands between you and the numbers, and say the way out of each problem.

    Are logprobs on, is a provider dropping them, is an exporter configured and answering, and which
    instrumentation owns the model call's span.
    """
    from langchain_logprobs.cli.doctor import examine  # noqa: PLC0415

    examine(store, base_url, model, as_json=as_json)


@dashboards_app.command("export", epilog=_examples("dashboards export ./grafana"))
def export_dashboards(
    folder: Annotated[Path, typer.Argument(help="Where to; made if it is not there.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Copy the Grafana dashboards and alert rules into a folder."""
    from langchain_logprobs.cli.dashboards import copy_dashboards  # noqa: PLC0415

    copy_dashboards(folder, overwrite=force)
