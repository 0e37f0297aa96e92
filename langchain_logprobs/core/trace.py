"""The trace tree: what ran inside a root run, each thing under the one it ran in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar


class Timed(Protocol):
    """A run, a model call, or a row that stands for either; ids may be UUIDs or their text."""

    @property
    def run_id(self) -> object:
        """Its own id."""

    @property
    def parent_run_id(self) -> object:
        """The id of what it ran in."""

    @property
    def started_ns(self) -> int:
        """When it began."""


_Item = TypeVar("_Item", bound=Timed)


def nested(items: Iterable[_Item]) -> Iterator[tuple[int, _Item]]:
    """Each item with how deep it lies under the root run: parents first, siblings as they began.

    What ran in something that is not among them (the root run, or a run that passed the bounds)
    lies directly under the root: nothing is left out.
    """
    known = {str(item.run_id): item for item in sorted(items, key=_started)}
    children: dict[str | None, list[str]] = defaultdict(list)
    for key, item in known.items():
        parent = str(item.parent_run_id)
        children[parent if parent in known else None].append(key)
    yield from _walk(children, known.pop)
    # Only a file that somebody else wrote can hold runs that are inside themselves.
    while known:
        children[None] = [next(iter(known))]
        yield from _walk(children, known.pop, known.__contains__)


def _walk(
    children: dict[str | None, list[str]],
    take: Callable[[str], _Item],
    is_left: Callable[[str], bool] = lambda _: True,
) -> Iterator[tuple[int, _Item]]:
    """Depth first, and without recursion: chains may be nested deeper than Python's stack is."""
    ahead = [(0, key) for key in reversed(children[None])]
    while ahead:
        depth, key = ahead.pop()
        if is_left(key):
            yield depth, take(key)
            ahead += [(depth + 1, of) for of in reversed(children.get(key, ()))]


def _started(item: Timed) -> int:
    return item.started_ns
