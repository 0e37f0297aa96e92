"""What was found, as the table in docs/providers.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import CASES

DOCUMENT = Path(__file__).parents[3] / "docs" / "providers.md"
WAYS = ("invoke", "stream", "v3")
_BEGIN, _END = "<!-- The table begins: make providers -->", "<!-- The table ends -->"


def with_table(document: str, table: str) -> str:
    """The document with this table in the place of the one it has."""
    before, _, rest = document.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}"


def rendered(found: Mapping[str, Any]) -> str:
    """The table."""
    rows = [_row(name, of) for name, of in found.items()]
    head = ["model", "`invoke`", "`stream`", "v3", "tried with"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    title = CASES[name].title
    if problem := found.get("problem"):
        return [title, *["not tried"] * len(WAYS), _short(problem)]
    versions = " ".join(f"{package} {version}" for package, version in found["versions"].items())
    return [title, *(_cell(found, way) for way in WAYS), versions]


def _cell(found: Mapping[str, Any], way: str) -> str:
    plain, patched = found["plain"].get(way), found["patched"].get(way)
    if "refused" in found["patched"]:
        return _refused(patched)
    if patched["tokens"] != patched["sent"]:
        return _lost(patched)
    all_of = f"{patched['tokens']}/{patched['sent']}"
    return all_of if plain is not None and plain["tokens"] == plain["sent"] else f"{all_of} patched"


def _refused(call: Mapping[str, Any] | None) -> str:
    if call is None:
        return "refused"
    if call["error"]:
        return f"refused (otherwise {call['error'].partition(':')[0]})"
    return f"refused (otherwise {call['tokens']}/{call['sent']})"


def _lost(call: Mapping[str, Any]) -> str:
    if (call["error"] or "").startswith("NotImplementedError"):
        return "LangChain has no v3 for it"
    why = call["error"] or call["reason"] or "none"
    return f"{call['tokens']}/{call['sent']}: {_short(why)}"


def _short(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:160]
