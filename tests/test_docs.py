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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_code_says_its_language(page: Path) -> None:
    openings = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)[::2]

    assert all(openings)
