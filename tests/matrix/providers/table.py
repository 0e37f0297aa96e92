"""What was found, as the tables in docs/providers.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models import CASES

DOCUMENT = Path(__file__).parents[3] / "docs" / "providers.md"
WAYS = {"invoke": "ainvoke", "stream": "astream", "v3": "av3"}
"""The ways of calling, each with its twin in async code."""
_CALLED = {"ainvoke": "`ainvoke`", "astream": "`astream`", "av3": "async v3"}


def with_tables(document: str, found: Mapping[str, Any]) -> str:
    """The document with these findings in the places of those it has."""
    return _with(_with(document, "models", rendered(found)), "patches", patched(found))


def _with(document: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name}: make providers -->", "<!-- end -->"
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def rendered(found: Mapping[str, Any]) -> str:
    """The table of all models."""
    head = ["model", "`invoke`", "`stream`", "v3", "async", "tried with"]
    return _table([head, *(_row(name, of) for name, of in found.items())])


def patched(found: Mapping[str, Any]) -> str:
    """The table of those that a patch makes a difference to: without it, and with it."""
    head = ["model", "patch", *(f"`{way}`" for way in WAYS), "async"]
    rows = [row for name, of in found.items() for row in _rows_of_patch(name, of)]
    return _table([head, *rows])


def _table(lines: list[list[str]]) -> str:
    head, *rows = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    title = CASES[name].title
    if problem := found.get("problem"):
        return [title, *["not tried"] * (len(WAYS) + 1), _short(problem)]
    versions = " ".join(f"{package} {version}" for package, version in found["versions"].items())
    cells = {way: _cell(found, way) for pair in WAYS.items() for way in pair}
    return [title, *(cells[way] for way in WAYS), _async(cells), versions]


def _async(cells: Mapping[str, str]) -> str:
    differing = [
        f"{_CALLED[twin]} {cells[twin]}" for way, twin in WAYS.items() if cells[twin] != cells[way]
    ]
    return "; ".join(differing) or "the same"


def _cell(found: Mapping[str, Any], way: str) -> str:
    plain, patched = found["plain"].get(way), found["patched"].get(way)
    if "refused" in found["patched"]:
        return "refused" if patched is None else f"refused (otherwise {_came(patched)})"
    came = _came(patched)
    is_mended = not _is_right(plain) and _is_right(patched)
    return f"{came} patched" if is_mended else came


def _rows_of_patch(name: str, found: Mapping[str, Any]) -> Iterator[list[str]]:
    """How it is without the patch, and with it, if that makes a difference."""
    if "problem" in found or "refused" in found["patched"]:
        return
    without, with_it = (
        {way: _came(found[mode].get(way)) for pair in WAYS.items() for way in pair}
        for mode in ("plain", "patched")
    )
    if without != with_it:
        names = ", ".join(f"`{patch}`" for patch in found["in_force"])
        for patch, cells in (("without", without), (f"with {names}", with_it)):
            yield [CASES[name].title, patch, *(cells[way] for way in WAYS), _async(cells)]


def _came(call: Mapping[str, Any] | None) -> str:
    """What came of a call."""
    if call is None:
        return "refused"
    if (call["error"] or "").startswith("NotImplementedError"):
        return "LangChain has no v3 for it"
    if call["reason"] == "provider_omits_stream_logprobs" and not call["error"]:
        return "none in streams"
    counted = f"{call['tokens']}/{call['sent']}"
    if call["bare"] and not call["error"]:
        return f"{call['bare']}/{call['sent']} without alternatives"
    why = (call["error"] or "").partition(":")[0] or call["reason"]
    return f"{counted} {_short(why)}" if why else counted


def _is_right(call: Mapping[str, Any] | None) -> bool:
    return call is not None and call["tokens"] == call["sent"] > 0 and call["error"] is None


def _short(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:160]
