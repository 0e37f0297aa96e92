"""Byte strings end to end, until somebody looks: in a tenth of the room, and sooner made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise, starmap
from typing import overload


@dataclass(slots=True, eq=False)
class Packed(Sequence[bytes]):
    """Byte strings, which are made when somebody asks for one.

    Attributes:
        together: All of them, one after another.
        sizes: How long each is.
    """

    together: bytes
    sizes: Sequence[int]
    _made: list[bytes] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, given: Sequence[list[int]]) -> Packed:
        """Those that were given as lists of numbers, as JSON has bytes.

        Raises:
            Exception: Some are no such lists, or empty: a `TypeError`, a `ValueError`, or what
                their own code raises. Or they are being changed, on a thread of somebody else's.
        """
        packed = cls(end_to_end(given), small(map(len, given)))
        if 0 in packed.sizes or sum(packed.sizes) != len(packed.together):
            raise ValueError("Bytes that are none, or are just changing")
        return packed

    @classmethod
    def joined(cls, parts: Sequence[Packed]) -> Packed:
        """Those of the first part, then those of the second, ..."""
        together = b"".join(of.together for of in parts)
        return cls(together, chained(of.sizes for of in parts))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[bytes]:
        """Goes through them."""
        return iter(self._apart())

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        """One, or some."""
        return self._apart()[at]

    def _apart(self) -> list[bytes]:
        if not self._made:
            bounds = accumulate(self.sizes, initial=0)
            self._made = list(map(self.together.__getitem__, starmap(slice, pairwise(bounds))))
        return self._made


def end_to_end(given: Iterable[list[int]]) -> bytes:
    """The bytes of all of them, one after another.

    Raises:
        Exception: Some are none: a `TypeError`, a `ValueError`, or what their own code raises.
    """
    numbers: list[int] = []
    deque(map(numbers.extend, given), maxlen=0)
    return bytes(numbers)


def small(numbers: Iterable[int]) -> Sequence[int]:
    """The numbers; in an eighth of the room, if they are small."""
    known = list(numbers)
    try:
        return bytes(known)
    except ValueError:
        return known


def chained(parts: Iterable[Sequence[int]]) -> Sequence[int]:
    """The numbers of the first part, then those of the second, ..., each as `small` has them."""
    known = list(parts)
    return b"".join(known) if set(map(type, known)) == {bytes} else small(chain(*known))  # type: ignore[arg-type]
