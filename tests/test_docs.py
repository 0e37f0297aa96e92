"""The pages of the documentation can be found, and their pictures are there."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def test_every_page_is_in_the_contents_once() -> None:
    index = (DOCS / "index.md").read_text()
    blocks = re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)
    entries = [line for block in blocks for line in block.splitlines() if line and line[0] != ":"]

    found = {
        page.stem: sum(fnmatch(page.stem, entry) for entry in entries)
        for page in PAGES
        if page.stem != "index"
    }
    assert found == dict.fromkeys(found, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_and_page_it_links_to_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text())

    assert [of for of in targets if not (DOCS / of).exists()] == []


LANGUAGES = {"python", "bash", "console", "text", "json", "toml", "yaml", "promql"}
DIRECTIVES = {"{eval-rst}", "{include}", "{toctree}"}


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.stem)
def test_every_block_says_its_language_and_no_python_escapes_being_run(page: Path) -> None:
    text = page.read_text()
    fences = re.findall(r"^[ >]*([`~]{3,})(.*)$", text, re.MULTILINE)
    languages = {language.split()[0] if language.strip() else "" for _, language in fences[::2]}
    others = re.findall(r"^```(?!python)\S.*?^```", text, re.MULTILINE | re.DOTALL)

    # Sybil runs the blocks called `python` of the pages, and test_readme those of the README.
    assert languages <= LANGUAGES | DIRECTIVES
    assert not re.search(r"<!--+ *(skip|invisible)|^ {4,}(import|from) \w", text, re.MULTILINE)
    assert not [of for of in others if re.search(r"\n(>>> |import |from \w+ import)", of)]
