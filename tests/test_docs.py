"""The pages of the documentation can be found, and their pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", *sorted(ROOT.glob("examples/**/*.md"))]
LANGUAGES = {"python", "console", "bash", "text"}
"""Python is run, under this name and no other; the rest is none."""


def test_every_page_is_in_the_contents_once() -> None:
    index = (DOCS / "index.md").read_text()
    blocks = re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)
    entries = [line for block in blocks for line in block.splitlines() if line and line[0] != ":"]

    found = {page.stem: entries.count(page.stem) for page in PAGES if page.stem != "index"}
    assert found == dict.fromkeys(found, 1)
    assert set(entries) == set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_and_page_it_links_to_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text())

    assert [of for of in targets if not (DOCS / of).exists()] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_code_says_its_language_and_python_says_python(page: Path) -> None:
    openings = re.findall(r"^ *[`:]{3,}(.*)$", page.read_text(), re.MULTILINE)[::2]

    languages = {of for of in openings if not of.startswith("{")}
    assert languages <= LANGUAGES


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_code_is_left_out_of_the_tests(page: Path) -> None:
    comments = re.findall(r"^(?:<!-+ *|% *|; *)(.*)$", page.read_text(), re.MULTILINE)

    assert [of for of in comments if "skip" in of or "invisible" in of] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_that_would_not_be_run_stands_in_no_other_block(page: Path) -> None:
    text = page.read_text()
    others = re.findall(r"^```(?!python)\S.*?^```", text, re.MULTILINE | re.DOTALL)

    assert [of for of in others if re.search(r"\n(>>> |import |from \w+ import)", of)] == []
    assert not re.search(r"^ {4,}(import|from) \w", text, re.MULTILINE)
