"""The pages of `docs/` say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from langchain_logprobs.settings import others_table, table

DOCS = Path(__file__).parents[1] / "docs"


def rows_between(mark: str, page: str) -> list[list[str]]:
    text = (DOCS / page).read_text()
    block = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text, re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.startswith("| ")]
    return [[of.strip() for of in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


def test_the_page_of_settings_has_every_setting() -> None:
    expected = [[f"`{name}`", f"`{var}`", f"`{of}`", text] for name, var, of, text in table()]

    assert rows_between("settings", "settings.md") == expected


def test_the_page_of_settings_has_every_other_variable() -> None:
    expected = [[f"`{name}`", text] for name, text in others_table()]

    assert rows_between("others", "settings.md") == expected


def test_the_page_of_neighbours_shows_that_every_cell_holds() -> None:
    rows = rows_between("table", "neighbours.md")

    assert len(rows) == 22
    for beside, _, calls, tokens, _, stored, on_it, beneath, own, endless, theirs in rows:
        assert (calls, tokens, theirs) == ("111", "438", "the same")
        assert stored in {"", tokens}
        assert int(on_it) + int(beneath) >= int(calls)
        assert own == ("all" if beside.startswith("HTTPX") else "none")
        with_us, without = endless.split(", ")
        assert with_us == without
