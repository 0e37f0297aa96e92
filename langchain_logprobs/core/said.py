"""What a provider says of a token or an alternative: its text, and its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

ESCAPE = "\\x"
"""What the texts of tokens hold that some servers write as bytes."""
SAID = ("token", "bytes")
"""Where a candidate has its text and its bytes."""


def are(column: Iterable[object], kind: type) -> bool:
    """Whether all are of this very type: what a subclass does when it is read, nobody knows."""
    kinds = list(map(type, column))
    return kinds.count(kind) == len(kinds)  # faster than a set of them


def raws_from(given: Sequence[Any]) -> Sequence[bytes | None]:
    """The bytes; `None` where there is something else.

    Args:
        given: Lists of numbers, as JSON has bytes.
    """
    if are(given, list) and all(given):
        with suppress(Exception):
            return list(map(bytes, given))
    return list(map(raw_from, given))


def raw_from(given: object) -> bytes | None:
    """The same, of a single one, and of anything.

    An empty list gives `None`, too: some servers write that for "not known".
    """
    if not isinstance(given, (list, tuple)):
        return None
    try:
        return bytes(given) or None
    except Exception:  # noqa: BLE001 - an element that is no number may raise anything
        return None


def readable(given: object, raw: bytes | None) -> str:
    """A token's text: as it was given, unless its bytes tell it better."""
    if type(given) is not str:  # no method of a subclass is called: it may raise
        if not issubclass(type(given), str):
            return "" if raw is None else raw.decode("utf-8", "replace")
        given = str.__str__(given)
    # OpenAI writes the bytes of a split character as the text "bytes:\\xf0\\x9f".
    return raw.decode("utf-8", "replace") if raw is not None and ESCAPE in given else given
