"""What commands have in common: the store, filters, times, the console, how they fail."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WIDE = 160
"""Columns where there is no terminal: lines in a pipe are not to be cut at 80."""


class Failure(Exception):  # noqa: N818 - it is an outcome, told to the user in one line
    """The command cannot do it; the message says why, and the way out."""


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, and wide enough in a pipe."""
    from rich.console import Console  # noqa: PLC0415 - `--help` of most commands does without

    piped = not (sys.stderr if stderr else sys.stdout).isatty()
    width = _WIDE if piped and "COLUMNS" not in os.environ else None
    return Console(stderr=stderr, width=width, highlight=False)


def when_ns(text: str | None, now: datetime | None = None) -> int | None:
    """A time as nanoseconds since the epoch: so long ago, or a date, in local time unless it says.

    Raises:
        Failure: It is neither.
    """
    if text is None:
        return None
    now = now or datetime.now(UTC)
    ago = _AGO.fullmatch(text.strip())
    try:
        at = (
            now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
            if ago
            else datetime.fromisoformat(text.strip())
        )
        return int(at.timestamp() * 1e9)
    except (ValueError, OverflowError):
        raise Failure(
            f"{text!r} is no time. Write how long ago (30m, 2h, 7d), or a date (2026-11-20, "
            "2026-11-20T14:30)."
        ) from None


def clock(at_ns: int) -> str:
    """A time as it reads on the wall."""
    return f"{datetime.fromtimestamp(at_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S}"


def needs(extra: str, missing: ModuleNotFoundError) -> Failure:
    """What to say where an extra is not installed."""
    return Failure(
        f"This needs {missing.name}, which is not installed:\n"
        f'  pip install "langchain-logprobs[{extra}]"'
    )
