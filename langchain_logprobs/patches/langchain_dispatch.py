"""A token handed to inline callbacks by calling them, and not by way of an event loop.

In async code LangChain makes a coroutine for each handler and a future for all of those that are
not inline, for every token, even where there is none: most of what a callback that does nothing
costs there (`python -m benchmarks.dispatch --modes async`). With this patch the plain functions of
inline handlers are called one after another, as LangChain's sync managers call them. All handlers
hear the same, in the same order, and what they raise is LangChain's to deal with, as ever.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from functools import lru_cache
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any
from uuid import UUID

from langchain_logprobs.patches import Edit, Function, Patch

_MODULE = "langchain_core.callbacks.manager"
_MANAGER, _EVENT, _IGNORE = "AsyncCallbackManagerForLLMRun", "on_llm_new_token", "ignore_llm"
_PATIENCE = 5.0
"""Seconds that LangChain may take to hand out a token when it is tried."""
# It takes longer to find out than to call. What is forgotten is asked again.
_is_coroutine_function = lru_cache(maxsize=64)(inspect.iscoroutinefunction)


def _by_calling(original: Function) -> Function:
    module = import_module(_MODULE)
    hand_out = module.ahandle_event

    async def on_llm_new_token(
        self: Any, token: object, *, chunk: object = None, **kwargs: Any
    ) -> None:
        if not self.handlers:
            return
        if module.ahandle_event is not hand_out:  # somebody has wrapped it since, to see all of it
            await original(self, token, chunk=chunk, **kwargs)
            return
        told = dict(
            chunk=chunk,
            run_id=self.run_id,
            parent_run_id=self.parent_run_id,
            tags=self.tags,
            **kwargs,
        )
        for handler in [of for of in self.handlers if of.run_inline]:
            try:
                is_told = handler.ignore_llm
                if not is_told and _is_plain(event := handler.on_llm_new_token):
                    event(token, **told)
                    is_told = True
            except Exception as error:  # noqa: BLE001 - LangChain logs it, or raises it
                await hand_out([_raising(handler, error)], _EVENT, _IGNORE)
            else:
                if not is_told:
                    await hand_out([handler], _EVENT, _IGNORE, token, **told)
        # As LangChain does, only now: a handler may have added another.
        others = [of for of in self.handlers if not of.run_inline]
        if others:
            await hand_out(others, _EVENT, _IGNORE, token, **told)

    return on_llm_new_token


def _is_plain(event: object) -> bool:
    """Whether LangChain would call it on the spot."""
    if type(event) is MethodType and type(event.__func__) is FunctionType:
        return not _is_coroutine_function(event.__func__)  # the same one for every token
    return not inspect.iscoroutinefunction(event)


class _Raising:
    """Stands for a handler that has raised: LangChain does with the error what it always does."""

    run_inline = True
    ignore_llm = False

    def __init__(self, handler: Any, error: Exception) -> None:
        self._handler = handler
        self._error = error

    @property
    def raise_error(self) -> Any:
        """Asked for when LangChain asks for it: only what a handler has must be there."""
        return self._handler.raise_error

    def on_llm_new_token(self) -> None:
        raise self._error


def _raising(handler: Any, error: Exception) -> object:
    kind = type(handler.__class__.__name__, (_Raising,), {})  # LangChain logs that name
    return kind(handler, error)


def _hands_out_as_it_did() -> bool:
    """Whether the functions are LangChain's own, and handlers hear the same either way.

    To hear, a thread runs an event loop for a moment: one may be running in this thread.
    """
    module = import_module(_MODULE)
    original: Any = getattr(getattr(module, _MANAGER, None), _EVENT, None)
    functions = [original, *(getattr(module, name, None) for name in _HANDING_OUT)]
    if not all(_is_of(of, vars(module)) for of in functions):
        return False
    before = _heard(original)
    return bool(before) and before == _heard(_by_calling(original))


_HANDING_OUT = ("ahandle_event", "_ahandle_event_for_handler")
"""What the patch leaves out: whoever has wrapped one of these wants to see what goes through it."""


def _is_of(function: object, module: dict[str, Any]) -> bool:
    is_own = isinstance(function, FunctionType) and function.__globals__ is module
    return is_own and not hasattr(function, "__wrapped__")


class _Probe:
    """A handler that notes what it hears."""

    run_inline = True

    def __init__(self, heard: list[object], name: str, *, ignore_llm: bool = False) -> None:
        self._heard = heard
        self._name = name
        self.ignore_llm = ignore_llm

    def on_llm_new_token(self, *args: object, **kwargs: object) -> None:
        self._heard.append((self._name, args, kwargs))


def _heard(hand_out: Any) -> list[object]:
    """What three handlers hear of a token; nothing, if that cannot be tried."""
    heard: list[object] = []
    handlers = [_Probe(heard, "a"), _Probe(heard, "b", ignore_llm=True), _Probe(heard, "c")]
    manager = getattr(import_module(_MODULE), _MANAGER)(
        run_id=UUID(int=1),
        handlers=handlers,
        inheritable_handlers=[],
        parent_run_id=UUID(int=2),
        tags=["tag"],
    )

    def run() -> None:
        try:
            asyncio.run(hand_out(manager, "token", chunk="chunk", more="more"))
        except Exception as error:  # noqa: BLE001 - whatever LangChain does now: it is not the same
            heard.append(type(error))

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there is none to be had
        return []
    thread.join(_PATIENCE)
    return [] if thread.is_alive() else heard


PATCH = Patch(
    "langchain_dispatch",
    [Edit(_MODULE, f"{_MANAGER}.{_EVENT}", ("self", "token", "chunk", "kwargs"), _by_calling)],
    _hands_out_as_it_did,
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
