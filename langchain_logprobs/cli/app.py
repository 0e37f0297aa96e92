"""The commands, and what each takes. Their work is in a module each, imported when it is called.

Their help is plain: Typer's coloured one loads a Markdown parser and a highlighter, which takes
longer than all the rest.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from langchain_logprobs.cli.options import Failure
from langchain_logprobs.core.model import Outcome
from langchain_logprobs.store.query import Sort
from langchain_logprobs.store.schema import StoreError

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_OUTPUT_FAILS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

app = typer.Typer(
    context_settings=_CONTEXT,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    epilog="`langchain-logprobs COMMAND --help` has examples.",
)
dashboards = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Grafana dashboards and alert rules.",
    epilog="`langchain-logprobs dashboards export --help` has examples.",
)


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line; problems that are the user's to solve come as one clear message."""
    try:
        typer.main.get_command(app)(arguments, prog_name="langchain-logprobs")
    except (Failure, StoreError) as error:
        from langchain_logprobs.cli.render import message  # noqa: PLC0415 - it takes time

        sys.stdout.flush()
        typer.secho(message(str(error)), fg="red", err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OUTPUT_FAILS:
            raise
        typer.secho(f"The output cannot be written: {error.strerror}.", fg="red", err=True)
        with Path(os.devnull).open("wb") as nowhere:  # what is left would fail again, at exit
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        sys.exit(1)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  langchain-logprobs {line}" for line in lines)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - 20 ms

        typer.echo(version("langchain-logprobs"))
        raise typer.Exit


_StoreFile = Annotated[
    Path | None,
    typer.Option(
        "--store",
        "-s",
        metavar="FILE",
        readable=False,  # what is wrong with it, the store says better
        help="The store. Default: LANGCHAIN_LOGPROBS_STORE, or langchain_logprobs.db here.",
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="Runs of this model.")
]
_Node = Annotated[str | None, typer.Option(metavar="NAME", help="Runs of this LangGraph node.")]
_Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Runs since: 30m, 2h, 7d ago, or 2026-11-20."),
]
_Low = Annotated[bool, typer.Option("--low", help="Runs that were unsure.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
_BaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI-compatible API.")]
_ItsModel = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to ask there.")
]
_Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
]


@app.callback()
def main(*, version: _Version = False) -> None:
    """See how sure a language model was: of every run, answer, field and word."""


@app.command(
    short_help="Ask a real model a few questions; see how sure it was of each word.",
    epilog=_examples(
        "demo",
        "demo --base-url http://localhost:11434/v1 --model llama3.2",
        "demo --model gpt-4o-mini",
    ),
)
def demo(store: _StoreFile = None, base_url: _BaseUrl = None, model: _ItsModel = None) -> None:
    """Ask a real model a few questions, and store and show how sure it was of every word.

    By default it is a small model on this machine (extra `local`): no key, no network. With --model
    alone it is OpenAI's of that name, and OPENAI_API_KEY has the key.
    """
    from langchain_logprobs.cli.demo import demonstrate  # noqa: PLC0415

    demonstrate(store, base_url, model)


@app.command(
    short_help="List the runs: when, which model, how sure, what.",
    epilog=_examples(
        "runs",
        "runs --sort least --limit 10",
        "runs --model gpt-4o-mini --since 2h --under 0.7",
        "runs --json | jq -r 'select(.low) | .run_id'",
    ),
)
def runs(
    *,
    store: _StoreFile = None,
    model: _Model = None,
    node: _Node = None,
    since: _Since = None,
    outcome: Annotated[Outcome | None, typer.Option(help="How they ended.")] = None,
    under: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="P", help="Runs with a confidence under this."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Runs whose answer says this near its beginning."),
    ] = None,
    low: _Low = False,
    sort: Annotated[Sort, typer.Option(help="Order.")] = "newest",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many.")] = 30,
    as_json: _Json = False,
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
        sort=sort,
    )
    list_runs(store, asked, limit, as_json=as_json)


@app.command(
    short_help="Show one run: its heat map, doubtful tokens, fields, trace tree.",
    epilog=_examples("show", "show 01a205b0", "show last --json | jq .confidence.confidence"),
)
def show(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", show_default=False, help="Its id, or `last`.")
    ] = "last",
    store: _StoreFile = None,
    doubtful: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="How many of the least certain tokens to list."),
    ] = 10,
    *,
    as_json: _Json = False,
) -> None:
    """Show one run: the answer as a heat map, its doubtful tokens, its fields, its trace tree.

    RUN is a run's id, or how it begins; `last`, which is the default, is the last one.
    """
    from langchain_logprobs.cli.show import show_run  # noqa: PLC0415

    show_run(store, run, doubtful, as_json=as_json)


@app.command(
    short_help="Compare two models, periods or nodes; could it be chance?",
    epilog=_examples(
        "compare gpt-4o gpt-4o-mini",
        "compare 2026-11-01..2026-11-08 2026-11-08..2026-11-15",
        "compare node:draft node:review --since 7d",
    ),
)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", show_default=False, help="One side.")],
    b: Annotated[str, typer.Argument(metavar="B", show_default=False, help="The other.")],
    store: _StoreFile = None,
    since: _Since = None,
    model: _Model = None,
    *,
    as_json: _Json = False,
) -> None:
    """Compare how sure two models, periods or nodes were, and whether that could be chance.

    A and B are each a model, a period FROM..TO, or node:NAME.
    """
    from langchain_logprobs.cli.compare import compare_runs  # noqa: PLC0415

    compare_runs(store, (a, b), since=since, model=model, as_json=as_json)


@app.command(
    short_help="Write runs with all their tokens, for other programs.",
    epilog=_examples(
        "export > runs.jsonl",
        "export --low --since 7d --output unsure.jsonl",
        "export --format parquet --output runs.parquet",
        "export --trees | jq '.runs[].name'",
    ),
)
def export(
    store: _StoreFile = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: to the pipe."),
    ] = None,
    form: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option("--format", "-f", help="Default: as the file is called, else jsonl."),
    ] = None,
    model: _Model = None,
    since: _Since = None,
    *,
    low: _Low = False,
    trees: Annotated[
        bool,
        typer.Option("--trees", help="Root runs instead: all that ran inside each, in brief."),
    ] = False,
) -> None:
    """Write runs with all their tokens, one a line (JSON Lines) or as Parquet."""
    from langchain_logprobs.cli.export import export_runs, export_trees  # noqa: PLC0415
    from langchain_logprobs.cli.runs import query  # noqa: PLC0415

    if form is None:
        form = "parquet" if output is not None and output.suffix == ".parquet" else "jsonl"
    asked = query(model=model, since=since, low=low or None, sort="oldest")
    (export_trees if trees else export_runs)(store, asked, output, form)


@app.command(
    short_help="Look at the runs in the browser, live.",
    epilog=_examples("view", "view --store runs.db --port 8080 --no-open"),
)
def view(
    store: _StoreFile = None,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            metavar="PORT",
            show_default=False,
            help="Default: any that is free.",
        ),
    ] = 0,
    *,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the browser, or not.")
    ] = True,
) -> None:
    """Look at the runs in the browser, live while an application runs. On this machine only."""
    from langchain_logprobs.cli.view import serve  # noqa: PLC0415

    serve(store, port, open_browser=open_browser)


@app.command(
    short_help="Check what stands between you and the numbers.",
    epilog=_examples("doctor", "doctor --base-url http://localhost:8000/v1 -m my-model"),
)
def doctor(
    store: _StoreFile = None,
    base_url: _BaseUrl = None,
    model: _ItsModel = None,
    *,
    as_json: _Json = False,
) -> None:
    """Check what stands between you and the numbers, and say the way out of each problem.

    Are logprobs on, is a provider dropping them, is an exporter configured and answering, and which
    instrumentation owns the model call's span.
    """
    from langchain_logprobs.cli.doctor import examine  # noqa: PLC0415

    examine(store, base_url, model, as_json=as_json)


@dashboards.callback()
def _dashboards() -> None:
    pass


@dashboards.command("export", epilog=_examples("dashboards export ./grafana"))
def export_dashboards(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", show_default=False, help="Made if there is none.")
    ],
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Copy the Grafana dashboards and alert rules into a folder."""
    from langchain_logprobs.cli.dashboards import copy_dashboards  # noqa: PLC0415

    copy_dashboards(folder, overwrite=force)


app.add_typer(dashboards, name="dashboards")
