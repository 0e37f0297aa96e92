"""Byte strings end to end, until somebody looks: in a tenth of the room, and sooner made."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, starmap
from typing import Any, cast, overload


@dataclass(slots=True, eq=False)
class Packed(Sequence[bytes | None]):
    """Byte strings, which are made when somebody asks for one.

    Attributes:
        together: All of them, one after another.
        sizes: How long each is; 0 where there is none.
    """

    together: bytes
    sizes: Sequence[int]
    _made: list[bytes | None] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, given: Sequence[bytes]) -> Packed:
        """These; of no bytes, none."""
        return cls(b"".join(given), small(map(len, given)))

    @classmethod
    def joined(cls, parts: Sequence[Packed]) -> Packed:
        """Those of the first part, then those of the second, ..."""
        together = b"".join(of.together for of in parts)
        return cls(together, chained(of.sizes for of in parts))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[bytes | None]:
        """Goes through them."""
        return iter(self._apart())

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes | None]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes | None] | None:
        """One, or some."""
        return self._apart()[at]

    def _apart(self) -> list[bytes | None]:
        if not self._made:
            bounds = accumulate(self.sizes, initial=0)
            each = map(self.together.__getitem__, starmap(slice, pairwise(bounds)))
            self._made = [of or None for of in each] if 0 in self.sizes else list(each)
        return self._made


def small(numbers: Iterable[int]) -> Sequence[int]:
    """The numbers; in an eighth of the room, if they are small, and else in a half of it."""
    known = list(numbers)
    try:
        return bytes(known)
    except ValueError:
        return array("i", known)


def packed(column: Sequence[float | None]) -> Sequence[float | None]:
    """The same numbers, in a quarter of the room, if there is one in every place."""
    kinds = set(map(type, column))
    if kinds == {int}:
        return small(cast("Sequence[int]", column))
    return array("d", cast("Sequence[float]", column)) if kinds == {float} else column


def chained(parts: Iterable[Sequence[Any]]) -> Sequence[Any]:
    """What is in the first part, then what is in the second, ...; packed, if all are in one way."""
    known: list[Any] = list(parts)
    kinds = {of.typecode if isinstance(of, array) else type(of) for of in known}
    if kinds == {bytes}:
        return b"".join(known)
    if len(kinds) == 1 and isinstance(known[0], array):
        return array(known[0].typecode, b"".join(known))
    together: list[Any] = []
    deque(map(together.extend, known), maxlen=0)  # copies, and visits none of them
    return together
