"""The heat scale: what colour a probability has, on white and on black, and how text is made safe.

Colour never stands alone: tokens under the threshold are underlined as well, those without a number
dotted, and every number can be read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

LIGHT: Final = (
    "#a20519",
    "#ba2700",
    "#d14200",
    "#e26000",
    "#e58300",
    "#e6a234",
    "#e7bf69",
    "#ebd999",
    "#f3f1c7",
)
"""On white: background of a token with a probability under 10 %, under 20 %, ... under 90 %.

Made in OKLab, from dark red over orange to pale yellow: neighbours are equally far apart, and each
is lighter than the one before, so that the order shows in greyscale and to every kind of eye.
"""
DARK: Final = (
    "#fce260",
    "#fcbd35",
    "#f7990f",
    "#f07300",
    "#dc5223",
    "#c03638",
    "#9a2e41",
    "#722a43",
    "#4a283f",
)
"""The same on black, made in the same way: there, the unlikely has to be the lightest."""
LIGHT_INK: Final = ("#ffffff",) * 3 + ("#000000",) * 6
"""Colour of the text on each of `LIGHT`: the one with the better contrast."""
DARK_INK: Final = ("#000000",) * 5 + ("#ffffff",) * 4
"""The same for `DARK`."""
_MARKS = {"\n": "↵\n", "\r": "␍", "\t": "⇥\t"}
_JOINERS = "\u200c\u200d"


def band(probability: float | None) -> int | None:
    """Which step of the scale it is on; `None` for what needs no colour, 90 % and up or unknown."""
    if probability is None:
        return None
    step = int(probability * 10)
    return step if step < len(LIGHT) else None


def safe(text: str) -> str:
    """The text with what is invisible made visible: line breaks, tabs, control characters.

    Characters that turn the direction of writing would rearrange what stands beside them.
    """
    return "".join(map(_safe_character, text))


def ramp(steps: Sequence[str], ink: Sequence[str]) -> str:
    """The scale as custom properties of CSS: `--h0` to `--h8`, `--i0` to `--i8` for text."""
    pairs = enumerate(zip(steps, ink, strict=True))
    return "".join(f"--h{index}:{of};--i{index}:{its};" for index, (of, its) in pairs)


def _safe_character(of: str) -> str:
    if of in _MARKS:
        return _MARKS[of]
    if of == " " or of in _JOINERS or unicodedata.category(of)[0] not in "CZ":
        return of
    return "\N{NO-BREAK SPACE}" if unicodedata.category(of) == "Zs" else "\N{REPLACEMENT CHARACTER}"
