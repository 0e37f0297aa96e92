"""What is known of an object for as long as it lives, whether or not it can be hashed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import ReferenceType, ref

T = TypeVar("T")


class OfEach(Generic[T]):
    """One value for each object, by identity: providers need not be hashable (Logfire's are not).

    Args:
        make: Makes an object's value when it is first asked for.
    """

    def __init__(self, make: Callable[[object], T]) -> None:
        self._make = make
        self._known: dict[int, tuple[ReferenceType[object], T]] = {}
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """A lock of its own: the thread that held the parent's did not come along."""
        self._lock = threading.RLock()  # making a value may collect garbage, and with it others

    def __contains__(self, of: object) -> bool:
        """Whether the object's value was made already."""
        return id(of) in self._known

    def __getitem__(self, of: object) -> T:
        """The object's value."""
        known = self._known.get(id(of))
        if known is None:
            with self._lock:
                known = self._known.get(id(of)) or self._keep(of)
        return known[1]

    def _keep(self, of: object) -> tuple[ReferenceType[object], T]:
        key = id(of)
        known = (ref(of, lambda _: self._known.pop(key, None)), self._make(of))
        return self._known.setdefault(key, known)
