"""The commands, and what each takes. Their work is in a module each, imported when it is called.

Click, and not Typer: Typer 0.29 imports pydantic for every command, which alone takes 0.2 s.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from langchain_logprobs.cli.options import Failure
from langchain_logprobs.core.model import Outcome
from langchain_logprobs.store.reader import Sort
from langchain_logprobs.store.schema import StoreError


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line; problems that are the user's to solve come as one clear message."""
    try:
        app(arguments, prog_name="langchain-logprobs")
    except (Failure, StoreError) as error:
        sys.stdout.flush()
        click.secho(str(error), fg="red", err=True)
        sys.exit(1)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  langchain-logprobs {line}" for line in lines)


_store = click.option(
    "--store",
    "-s",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The store. Default: LANGCHAIN_LOGPROBS_STORE, or langchain_logprobs.db here.",
)
_model = click.option("--model", "-m", metavar="NAME", help="Runs of this model.")
_node = click.option("--node", metavar="NAME", help="Runs of this LangGraph node.")
_since = click.option("--since", metavar="WHEN", help="Runs since: 30m, 2h, 7d ago, or 2026-11-20.")
_low = click.option("--low", is_flag=True, default=None, help="Runs that were unsure.")
_json = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
_base_url = click.option("--base-url", metavar="URL", help="An OpenAI-compatible API.")
_its_model = click.option("--model", "-m", metavar="NAME", help="The model to ask there.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`langchain-logprobs COMMAND --help` has examples.",
)
@click.version_option(package_name="langchain-logprobs", message="%(version)s")
def app() -> None:
    """See how sure a language model was: of every run, answer, field and word."""


@app.command(epilog=_examples("demo", "demo --base-url http://localhost:11434/v1 --model llama3.2"))
@_store
@_base_url
@_its_model
def demo(store: Path | None, base_url: str | None, model: str | None) -> None:
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
@_store
@_model
@_node
@_since
@click.option("--outcome", type=click.Choice(get_args(Outcome)), help="How they ended.")
@click.option("--under", type=click.FloatRange(0, 1), help="Runs with a confidence under this.")
@click.option("--text", help="Runs whose answer says this near its beginning.")
@_low
@click.option(
    "--sort", type=click.Choice(get_args(Sort)), default="newest", show_default=True, help="Order."
)
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=30, show_default=True, help="How many."
)
@_json
def runs(store: Path | None, limit: int, *, as_json: bool, **filters: Any) -> None:
    """List the runs: when, which model, how sure, and how the answer begins."""
    from langchain_logprobs.cli.runs import list_runs, query  # noqa: PLC0415

    list_runs(store, query(**filters), limit, as_json=as_json)


@app.command(epilog=_examples("show", "show 01a205b0", "show last --json | jq .confidence"))
@click.argument("run", default="last")
@_store
@click.option(
    "--doubtful",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many of the least certain tokens to list.",
)
@_json
def show(run: str, store: Path | None, doubtful: int, *, as_json: bool) -> None:
    """Show one run: the answer as a heat map, its doubtful tokens, its fields, its tree.

    RUN is a run's id, or how it begins; `last`, which is the default, is the last one.
    """
    from langchain_logprobs.cli.show import show_run  # noqa: PLC0415

    show_run(store, run, doubtful, as_json=as_json)


@app.command(
    epilog=_examples(
        "compare gpt-4o gpt-4o-mini",
        "compare 2026-11-01..2026-11-08 2026-11-08..2026-11-15",
        "compare node:draft node:review --since 7d",
    )
)
@click.argument("a")
@click.argument("b")
@_store
@_since
@_model
@_json
def compare(
    a: str, b: str, store: Path | None, since: str | None, model: str | None, *, as_json: bool
) -> None:
    """Compare how sure two models, periods or nodes were, and whether that could be chance.

    A and B are each a model, a period FROM..TO, or node:NAME.
    """
    from langchain_logprobs.cli.compare import compare_runs  # noqa: PLC0415

    compare_runs(store, (a, b), since=since, model=model, as_json=as_json)


@app.command(
    epilog=_examples(
        "export > runs.jsonl",
        "export --low --since 7d --output unsure.jsonl",
        "export --format parquet --output runs.parquet",
    )
)
@_store
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Default: to the pipe.",
)
@click.option(
    "--format",
    "-f",
    "form",
    type=click.Choice(["jsonl", "parquet"]),
    help="Default: as the file is called, else jsonl.",
)
@_model
@_since
@_low
def export(store: Path | None, output: Path | None, form: str | None, **filters: Any) -> None:
    """Write runs with all their tokens, one a line (JSON Lines) or as Parquet."""
    from langchain_logprobs.cli.export import export_runs  # noqa: PLC0415
    from langchain_logprobs.cli.runs import query  # noqa: PLC0415

    if form is None:
        form = "parquet" if output is not None and output.suffix == ".parquet" else "jsonl"
    export_runs(store, query(**filters, sort="oldest"), output, form)


@app.command(epilog=_examples("view", "view --store runs.db --port 8080 --no-open"))
@_store
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=0,
    help="Default: any that is free.",
)
@click.option("--open/--no-open", "open_browser", default=True, help="Open the browser, or not.")
def view(store: Path | None, port: int, *, open_browser: bool) -> None:
    """Look at the runs in the browser, live while an application runs. On this machine only."""
    from langchain_logprobs.cli.view import serve  # noqa: PLC0415

    serve(store, port, open_browser=open_browser)


@app.command(epilog=_examples("doctor", "doctor --base-url http://localhost:8000/v1 -m my-model"))
@_store
@_base_url
@_its_model
@_json
def doctor(store: Path | None, base_url: str | None, model: str | None, *, as_json: bool) -> None:
    """Check what stands between you and the numbers, and say the way out of each problem.

    Are logprobs on, is a provider dropping them, is an exporter configured and answering, and which
    instrumentation owns the model call's span.
    """
    from langchain_logprobs.cli.doctor import examine  # noqa: PLC0415

    examine(store, base_url, model, as_json=as_json)


@app.group()
def dashboards() -> None:
    """Grafana dashboards and alert rules."""


@dashboards.command("export", epilog=_examples("dashboards export ./grafana"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def export_dashboards(folder: Path, *, force: bool) -> None:
    """Copy the Grafana dashboards and alert rules into a folder."""
    from langchain_logprobs.cli.dashboards import copy_dashboards  # noqa: PLC0415

    copy_dashboards(folder, overwrite=force)
