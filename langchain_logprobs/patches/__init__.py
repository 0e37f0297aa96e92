"""Opt-in, reversible mends of what LangChain's packages drop: one file each, none on by itself.

from langchain_logprobs.patches import ollama_v3

ollama_v3.apply()  # or: with ollama_v3.applied(): ...

`with_logprobs` turns on the one its model needs. A patch wraps functions of the package, and does
nothing but log one warning where those are not what they were when it was written.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ParamSpec

_LOG = logging.getLogger("langchain_logprobs")

Function = Callable[..., Any]
_Given = ParamSpec("_Given")


@dataclass(frozen=True, slots=True)
class Edit:
    """One function to wrap.

    Attributes:
        module: The module that it, or its class, is in.
        name: Its name there, as in `function` or `Class.method`.
        parameters: The parameters its wrapper relies on; without them, it is left alone.
        wrap: Given the function, gives what is to stand in its place.
    """

    module: str
    name: str
    parameters: tuple[str, ...]
    wrap: Callable[[Function], Function]


@dataclass(slots=True)
class _Made:
    """An edit that was made, and how to undo it."""

    owner: Any
    name: str
    stand_in: Function
    original: Function
    inherited: bool

    def undo(self) -> None:
        if vars(self.owner).get(self.name) is not self.stand_in:
            return  # Somebody wrapped it since; it passes everything through from now on.
        if self.inherited:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


@dataclass(slots=True)
class Patch:
    """Edits that are made, and undone, together.

    Attributes:
        name: What the warning calls it.
        edits: The functions to wrap.
        holds: Whether the package still does what the edits stand in for; asked before they are
            made.

    .. versionadded:: 0.1.0
    """

    name: str
    edits: Sequence[Edit]
    holds: Callable[[], bool] = lambda: True
    _made: list[_Made] = field(default_factory=list)
    _warned: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_applied(self) -> bool:
        """Whether it is in force."""
        return bool(self._made)

    def apply(self) -> bool:
        """Puts it in force, as often as it is called; whether it is."""
        with self._lock:
            if self._made:
                return True
            found = [_find(edit) for edit in self.edits]
            wrong = [of for of in found if isinstance(of, str)]
            if not wrong and not self.holds():
                wrong = ["what it mends is done in another way here"]
            if wrong:
                self._warn(wrong[0])
                return False
            for edit, of in zip(self.edits, found, strict=True):
                if not isinstance(of, str):
                    self._made.append(self._make(edit, *of))
            return True

    def revert(self) -> None:
        """Undoes it; what it had wrapped does again what it did before."""
        with self._lock:
            made, self._made = self._made, []
            for edit in reversed(made):
                edit.undo()

    @contextmanager
    def applied(self) -> Iterator[bool]:
        """In force inside, and afterwards again what it was before."""
        before = self.is_applied
        try:
            yield self.apply()
        finally:
            if not before:
                self.revert()

    def _make(self, edit: Edit, owner: Any, name: str) -> _Made:
        original = getattr(owner, name)
        stand_in = self._stand_in(original, edit.wrap(original))
        inherited = name not in vars(owner)
        setattr(owner, name, stand_in)
        return _Made(owner, name, stand_in, original, inherited)

    def _stand_in(self, original: Function, changed: Function) -> Function:
        """What is put in the place of the original: others may wrap it, and it may be undone."""
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def wait(*args: Any, **kwargs: Any) -> Any:
                return await (changed if self._made else original)(*args, **kwargs)

            return wait

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (changed if self._made else original)(*args, **kwargs)

        return call

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning(
                "The patch %s is not applied: %s. All stays as its package has it.", self.name, why
            )


def harmless(put: Callable[_Given, None]) -> Callable[_Given, None]:
    """What adds something to an answer, or else leaves it as it is: what it raises is logged, once.

    What a provider's objects hold changes from version to version, and the application is to get
    its answer all the same.
    """
    said: list[Exception] = []

    @functools.wraps(put)
    def quietly(*args: _Given.args, **kwargs: _Given.kwargs) -> None:
        try:
            put(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - it is run between a provider and its caller
            if not said:
                said.append(error)
                _LOG.warning("An answer's logprobs could not be kept.", exc_info=error)

    return quietly


def _find(edit: Edit) -> tuple[Any, str] | str:
    """The owner of the function to wrap and its name in it, or what stands against it."""
    try:
        owner: Any = import_module(edit.module)
    except ImportError:
        return f"there is no module {edit.module}"
    *path, name = edit.name.split(".")
    for step in path:
        owner = getattr(owner, step, None)
    function = getattr(owner, name, None)
    if not callable(function):
        return f"{edit.module} has no {edit.name} any more"
    if missing := set(edit.parameters) - set(inspect.signature(function).parameters):
        return f"{edit.name} of {edit.module} takes no {', '.join(sorted(missing))} any more"
    return owner, name
