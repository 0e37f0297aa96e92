"""What the documentation lists is what the code has: neither more nor less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import langchain_logprobs
from langchain_logprobs.core.report import Unavailable
from langchain_logprobs.dashboards import text_of
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.names import Instrument
from tools.dashboards.promql import series

STORE = "langchain_logprobs.db"  # a file's name
DOCS = Path(__file__).parent.parent / "docs"


def table(page: str, name: str) -> list[list[str]]:
    """The rows of the table between two comments of that name, without its head."""
    text = (DOCS / page).read_text()
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found is not None
    return [
        [cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()[2:]
    ]


def attributes(prefix: str) -> set[str]:
    """The attributes of ours whose name begins so, without what all begin with."""
    ours = "langchain_logprobs."
    every = (of for name, of in vars(names).items() if name.isupper() and isinstance(of, str))
    named = {of.removeprefix(ours) for of in every if of.startswith(ours)}
    return {of for of in named if of.startswith(prefix)}


def listed(page: str, name: str) -> list[str]:
    """The names in the first column of a table."""
    return [of for row in table(page, name) for of in re.findall(r"`([\w.]+)`", row[0])]


def test_the_metrics_are_all_described() -> None:
    described = [
        [f"`{of.name}`", f"`{series(of)}`", f"{of.kind}, `{of.unit}`", of.description]
        for of in names.INSTRUMENTS
    ]

    assert table("dashboards.md", "metrics") == described


def test_the_attributes_of_spans_are_all_described() -> None:
    on_tokens, on_calls, on_roots = (
        listed("concepts.md", name) for name in ("token span", "llm span", "root span")
    )

    assert sorted(on_tokens) == sorted(attributes("token."))
    assert sorted(on_roots) == sorted(attributes("tree."))
    assert sorted(on_calls) == sorted(attributes("") - {*on_tokens, *on_roots})


def test_every_reason_for_missing_numbers_is_explained() -> None:
    assert sorted(listed("faq.md", "reasons")) == sorted(get_args(Unavailable))


def test_every_alert_is_explained() -> None:
    page = (DOCS / "dashboards.md").read_text()

    alerts = re.findall(r"alert: (\w+)", text_of("alerts.yml"))
    assert re.findall(r"^\| `(Logprobs\w+)`", page, re.MULTILINE) == alerts


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "api.md").read_text()

    documented = re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(langchain_logprobs.__all__)


def test_whatever_a_page_imports_is_in_the_reference() -> None:
    pages = [of.read_text() for of in (*DOCS.glob("*.md"), DOCS.parent / "README.md")]
    reference = (DOCS / "api.md").read_text()
    whole = re.findall(r"^\.\. automodule:: (\S+)$", reference, re.MULTILINE)

    imported = {
        (module, name)
        for page in pages
        for module, listed in re.findall(
            r"^from (langchain_logprobs[\w.]*) import (.*)$", page, re.MULTILINE
        )
        for name in re.split(r"\W+", listed)
    }
    unknown = {
        (module, name)
        for module, name in imported
        if module not in ("langchain_logprobs", "langchain_logprobs.patches", *whole)
        and f":: {module}.{name}\n" not in reference
    }
    assert imported
    assert unknown == set()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_name_of_ours_that_a_page_mentions_exists(page: Path) -> None:
    metrics = {of.name for of in names.INSTRUMENTS}
    attributes = {of for of in vars(names).values() if isinstance(of, str)}
    modules = {
        f"langchain_logprobs.{of}" for of in ("core", "local", "testing", "dashboards", "patches")
    }

    mentioned = re.findall(r"`(langchain_logprobs\.(?!db`)[a-z_.]+)(?:\{[^`]*)?`", page.read_text())
    unknown = [
        of
        for of in mentioned
        if of not in metrics | attributes and not of.startswith(tuple(modules)) and of != STORE
    ]
    assert unknown == []


def test_the_units_are_those_of_the_conventions() -> None:
    annotated = {of.unit for of in names.INSTRUMENTS if isinstance(of, Instrument)}

    assert annotated == {"1", "{nat}", "{token}", "{response}", "{span}", "{error}"}
