"""Takes the pictures: `python -m tools.pictures FOLDER`, or `make pictures`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.cli.show import parts
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.local import local_model
from langchain_logprobs.store import Query, Store, StoredRuns
from langchain_logprobs.store.reader import RunSummary
from langchain_logprobs.viewer.server import serving
from tools.pictures.runs import make_runs

_WIDE = 120
"""Columns of the terminal in the pictures."""


def take(folder: Path) -> None:
    """Asks the model, and takes every picture into the folder."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "runs.db")
        store = Store(path)
        with local_model() as local:
            make_runs(local, LogprobsCallbackHandler(sinks=[store]))
        store.close()
        stored = StoredRuns(path)
        terminal(stored, folder)
        with _browser() as browser:
            page_views(browser, stored, folder)
            notebook(browser, stored, folder)


def terminal(stored: StoredRuns, folder: Path) -> None:
    """`show`, of an invoice and of a call in an agent."""
    for name, found in (("cli-show", _invoice(stored)), ("cli-trace", _of_agent(stored))):
        with Path("/dev/null").open("w") as nowhere:
            out = Console(record=True, width=_WIDE, file=nowhere, highlight=False)
            for part in parts(stored, found, stored.report(found.run_id), 6, _WIDE):
                out.print(part)
        out.save_svg(str(folder / f"{name}.svg"), title="langchain-logprobs show")


def page_views(browser: Browser, stored: StoredRuns, folder: Path) -> None:
    """The list, a long answer with a word's alternatives, a trace tree, a JSON answer."""
    with serving(stored.path) as server:

        def show(query: str, name: str, scheme: str = "light", hovered: str = "") -> None:
            context = browser.new_context(
                viewport={"width": 1280, "height": 860},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            page.goto(server.url + query)
            page.wait_for_selector("html[data-ready]")
            page.get_by_text("● live").wait_for()
            page.locator("#store").evaluate("of => of.textContent = 'runs.db'")
            if hovered:
                page.locator(hovered).first.hover()
            page.wait_for_timeout(500)  # what fades in
            page.screenshot(path=folder / f"{name}.png")
            context.close()

        show("", "viewer-list")
        show(
            f"?run={_longest(stored).run_id}",
            "viewer-run",
            hovered=f".heat span:nth-child({_guess(stored)})",
        )
        show(f"?run={_of_agent(stored).run_id}", "viewer-tree")
        show(f"?run={_invoice(stored).run_id}", "viewer-fields", "dark", ".field:nth-of-type(3)")


def notebook(browser: Browser, stored: StoredRuns, folder: Path) -> None:
    """A report, and a tree with a call unfolded, as notebooks show them."""
    page = browser.new_page(viewport={"width": 900, "height": 640})
    page.set_content("<!doctype html>" + stored.report(_longest(stored).run_id)._repr_html_())
    page.screenshot(path=folder / "notebook.png")
    tree = stored.tree(_of_agent(stored).root_run_id)
    page.set_content("<!doctype html>" + tree._repr_html_())
    page.locator("details").last.evaluate("of => of.open = true")
    page.set_viewport_size({"width": 900, "height": 100})
    page.screenshot(path=folder / "notebook-tree.png", full_page=True)
    page.close()


def _invoice(stored: StoredRuns) -> RunSummary:
    return stored.summaries(Query(text='{"vendor"'), limit=1)[0]


def _of_agent(stored: StoredRuns) -> RunSummary:
    return stored.summaries(Query(node="review"), limit=1)[0]


def _longest(stored: StoredRuns) -> RunSummary:
    return stored.summaries(Query(sort="longest"), limit=1)[0]


def _guess(stored: StoredRuns) -> int:
    """Which token of the long answer to point at: the least likely of those near its beginning."""
    report: CallReport = stored.report(_longest(stored).run_id)
    first = report.tokens[:40]
    return 1 + min(range(len(first)), key=lambda index: first[index].logprob or 0.0)


@contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False
        )
        yield chromium
        chromium.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
