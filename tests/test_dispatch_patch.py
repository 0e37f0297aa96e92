"""The patch of LangChain's dispatch changes how long it takes, and nothing else."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import FunctionType
from typing import Any
from unittest.mock import AsyncMock, MagicMock
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, manager
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun
from langchain_core.outputs import GenerationChunk

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.patches import langchain_dispatch
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer

Heard = list[object]
CHUNK = GenerationChunk(text="chunk")


class Plain(BaseCallbackHandler):
    run_inline = True

    def __init__(self, heard: Heard, error: Exception | None = None) -> None:
        self.heard = heard
        self.error = error

    def on_llm_new_token(self, token: object, **told: Any) -> None:  # type: ignore[override]
        self.heard.append((type(self).__name__, token, told))
        if self.error is not None:
            raise self.error


class InAThread(Plain):
    run_inline = False


class Ignoring(Plain):
    @property
    def ignore_llm(self) -> bool:
        return True


class Strict(Plain):
    raise_error = True


class Unhelpful(Plain):
    @property
    def ignore_llm(self) -> bool:
        raise RuntimeError("no")


class Inline(AsyncCallbackHandler):
    run_inline = True

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    async def on_llm_new_token(self, token: object, **told: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.heard.append((type(self).__name__, token, told))


class Gathered(Inline):
    run_inline = False


class Outlandish:
    """No handler of LangChain's, and without what those have."""

    run_inline = True
    ignore_llm = False

    def __init__(self, heard: Heard, error: Exception) -> None:
        self.heard = heard
        self.error = error

    def on_llm_new_token(self, token: object, **told: Any) -> None:
        self.heard.append((type(self).__name__, token, told))
        raise self.error


class Mute:
    """Has no such callback."""

    run_inline = True
    ignore_llm = False
    raise_error = False

    def __init__(self, heard: Heard) -> None:
        self.heard = heard


def mocked(heard: Heard) -> Any:
    """A handler that is none."""
    handler = MagicMock(spec=BaseCallbackHandler, run_inline=True, ignore_llm=False)
    handler.on_llm_new_token.side_effect = lambda token, **told: heard.append((token, told))
    handler.raise_error = False
    return handler


def awaited(heard: Heard) -> Any:
    handler = mocked(heard)
    handler.on_llm_new_token = AsyncMock()
    handler.on_llm_new_token.side_effect = lambda token, **told: heard.append((token, told))
    return handler


def mocked_and_raising(heard: Heard) -> Any:
    handler = mocked(heard)
    handler.on_llm_new_token.side_effect = ValueError("wrong")
    return handler


def partly(heard: Heard) -> BaseCallbackHandler:
    """A handler whose callback is no method."""
    handler = Plain(heard)
    handler.on_llm_new_token = partial(handler.on_llm_new_token, more=1)  # type: ignore[method-assign]
    return handler


def with_a_coroutine_function(heard: Heard) -> BaseCallbackHandler:
    """A handler whose callback is no method, and a coroutine function."""
    handler, told = Plain(heard), Inline(heard).on_llm_new_token
    handler.on_llm_new_token = partial(told, more=1)  # type: ignore[assignment, method-assign]
    return handler


KINDS: dict[str, Callable[[Heard], Any]] = {
    "plain": Plain,
    "in a thread": InAThread,
    "ignoring": Ignoring,
    "unhelpful": Unhelpful,
    "inline coroutine": Inline,
    "gathered coroutine": Gathered,
    "raising": lambda heard: Plain(heard, ValueError("wrong")),
    "not implemented": lambda heard: Plain(heard, NotImplementedError("later")),
    "strict": lambda heard: Strict(heard, ValueError("wrong")),
    "partly": partly,
    "with a coroutine function": with_a_coroutine_function,
    "outlandish": lambda heard: Outlandish(heard, NotImplementedError("later")),
    "outlandish and raising": lambda heard: Outlandish(heard, ValueError("wrong")),
    "mute": Mute,
    "mocked": mocked,
    "awaited": awaited,
    "mocked and raising": mocked_and_raising,
}


def told(
    kinds: Iterable[Callable[[Heard], Any]], caplog: pytest.LogCaptureFixture
) -> tuple[Heard, list[str], object]:
    """What handlers of these kinds hear of two tokens, what is logged meanwhile, and raised."""
    heard: Heard = []
    handlers = [kind(heard) for kind in kinds]
    run = AsyncCallbackManagerForLLMRun(
        run_id=UUID(int=1),
        handlers=handlers,
        inheritable_handlers=[],
        parent_run_id=UUID(int=2),
        tags=["tag"],
    )

    async def tell() -> None:
        await run.on_llm_new_token("a", chunk=CHUNK, logprobs=[1])
        await run.on_llm_new_token(["b"])

    caplog.clear()
    raised: object = None
    try:
        asyncio.run(tell())
    except (ValueError, AttributeError) as error:
        raised = str(error)
    if any(not handler.run_inline for handler in handlers):  # those are told in any order
        heard.sort(key=repr)
    return heard, caplog.messages, raised


@pytest.mark.parametrize("names", [*itertools.product(KINDS, repeat=2), ()], ids=", ".join)
def test_handlers_hear_the_same_and_their_errors_are_treated_alike(
    names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    kinds = [KINDS[name] for name in names]

    before = told(kinds, caplog)
    with langchain_dispatch.applied() as is_applied:
        after = told(kinds, caplog)

    assert is_applied
    assert before == after
    assert bool(after[0]) == any(name not in SILENT for name in names)


SILENT = {"ignoring", "unhelpful", "mute", "mocked and raising"}
"""Who notes nothing."""


@pytest.mark.parametrize("added", [Plain, InAThread, Inline, Gathered])
def test_a_handler_that_is_added_meanwhile_hears_what_it_hears_from_langchain(
    added: Callable[[Heard], BaseCallbackHandler],
) -> None:
    class Adding(Plain):
        """Adds a handler to those that are being told."""

        def on_llm_new_token(self, token: object, **told: Any) -> None:  # type: ignore[override]
            super().on_llm_new_token(token, **told)
            if len(handlers) == 1:
                handlers.append(added(self.heard))

    handlers: list[BaseCallbackHandler] = []

    def heard_by() -> Heard:
        heard: Heard = []
        handlers[:] = [Adding(heard)]
        run = AsyncCallbackManagerForLLMRun(
            run_id=UUID(int=1), handlers=handlers, inheritable_handlers=[]
        )

        async def tell() -> None:
            await run.on_llm_new_token("a")
            await run.on_llm_new_token("b")

        asyncio.run(tell())
        return heard

    before = heard_by()
    with langchain_dispatch.applied():
        after = heard_by()

    assert before == after
    assert len(before) == 3 + (not added.run_inline)  # type: ignore[attr-defined]


def test_no_event_loop_is_needed_where_all_are_plain() -> None:
    """What the time was spent on: a coroutine for each handler, and a future for no others."""
    heard: Heard = []
    run = AsyncCallbackManagerForLLMRun(
        run_id=UUID(int=1), handlers=[Plain(heard)], inheritable_handlers=[]
    )

    with langchain_dispatch.applied():
        step = run.on_llm_new_token("a")
        with pytest.raises(StopIteration):
            step.send(None)

    assert len(heard) == 1


def test_a_stream_is_reported_as_without_it() -> None:
    model = ScriptedChatModel(answers=[answer(("Syd", -0.6, {"Can": -1.2}), ("ney", -0.01))])

    async def streamed() -> Any:
        sink = CollectingSink()
        handler = LogprobsCallbackHandler(sinks=[sink])
        async for _ in model.astream("Capital?", config={"callbacks": [handler]}):
            pass
        [report] = sink.calls
        return report.confidence, [(of.text, of.candidates) for of in report.tokens]

    before = asyncio.run(streamed())
    with langchain_dispatch.applied():
        after = asyncio.run(streamed())

    assert before == after
    assert [text for text, _ in before[1]] == ["Syd", "ney"]


def test_the_patch_is_undone() -> None:
    original = AsyncCallbackManagerForLLMRun.on_llm_new_token

    with langchain_dispatch.applied():
        assert AsyncCallbackManagerForLLMRun.on_llm_new_token is not original

    assert AsyncCallbackManagerForLLMRun.on_llm_new_token is original


async def to_nobody(*_: object, **__: object) -> None:
    """Hands a token to nobody."""


async def with_more(
    handlers: list[Any], event_name: str, _: str, *args: object, **told: Any
) -> None:
    """Hands out more than there was."""
    for handler in handlers:
        getattr(handler, event_name)(*args, **told, new=True)


async def failing(*_: object, **__: object) -> None:
    raise RuntimeError("changed")


async def hanging(*_: object, **__: object) -> None:
    """Waits for what never comes."""
    await asyncio.Event().wait()


async def apply() -> bool:
    return langchain_dispatch.apply()


@pytest.mark.parametrize("changed", [to_nobody, with_more, failing, hanging])
def test_another_way_of_handing_out_is_left_alone_and_told_once(
    changed: FunctionType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = AsyncCallbackManagerForLLMRun.on_llm_new_token
    monkeypatch.setattr(manager, "ahandle_event", FunctionType(changed.__code__, vars(manager)))
    monkeypatch.setattr(langchain_dispatch.PATCH, "_warned", False)
    monkeypatch.setattr(langchain_dispatch, "_PATIENCE", 0.5)

    with caplog.at_level(logging.WARNING):
        assert [langchain_dispatch.apply(), asyncio.run(apply())] == [False, False]

    assert AsyncCallbackManagerForLLMRun.on_llm_new_token is original
    assert len(caplog.messages) == 1


WRAPPED = [
    (manager, "ahandle_event"),
    (manager, "_ahandle_event_for_handler"),
    (AsyncCallbackManagerForLLMRun, "on_llm_new_token"),
]


def wrapping(owner: Any, name: str, seen: Heard) -> Callable[..., Awaitable[None]]:
    """What somebody else puts around a function of LangChain's."""
    original = getattr(owner, name)

    @functools.wraps(original)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        seen.append(name)
        await original(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(("owner", "name"), WRAPPED)
def test_somebody_elses_wrapper_is_left_to_see_everything(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: Heard = []
    monkeypatch.setattr(owner, name, wrapping(owner, name, seen))

    assert not langchain_dispatch.apply()
    assert seen == []

    told([Plain], caplog)
    assert seen == [name] * 2


@pytest.mark.parametrize(("owner", "name"), [WRAPPED[0], WRAPPED[2]])
def test_somebody_who_wraps_it_afterwards_sees_everything_too(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: Heard = []

    with langchain_dispatch.applied() as is_applied:
        monkeypatch.setattr(owner, name, wrapping(owner, name, seen))
        heard, _, _ = told([Plain], caplog)
        monkeypatch.undo()

    assert is_applied
    assert seen == [name] * 2
    assert len(heard) == 2


def test_a_langchain_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AsyncCallbackManagerForLLMRun, "on_llm_new_token")

    assert not langchain_dispatch.apply()


def test_where_no_thread_can_be_had_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    assert not langchain_dispatch.apply()


def test_it_stays_a_coroutine_function_for_whoever_asks() -> None:
    with langchain_dispatch.applied():
        assert inspect.iscoroutinefunction(AsyncCallbackManagerForLLMRun.on_llm_new_token)


def test_arguments_that_are_given_twice_are_an_error_either_way() -> None:
    run = AsyncCallbackManagerForLLMRun(
        run_id=UUID(int=1), handlers=[Plain([])], inheritable_handlers=[]
    )

    with langchain_dispatch.applied(), pytest.raises(TypeError, match="run_id"):
        asyncio.run(run.on_llm_new_token("a", run_id=2))


def test_a_call_without_handlers_is_told_to_nobody() -> None:
    run = AsyncCallbackManagerForLLMRun(run_id=UUID(int=1), handlers=[], inheritable_handlers=[])

    with langchain_dispatch.applied():
        asyncio.run(run.on_llm_new_token("a"))


def test_a_handler_that_another_changes_meanwhile_hears_what_it_hears_from_langchain() -> None:
    """Its callback becomes a coroutine function, and it is no longer inline."""

    def heard_by(change: Callable[[Plain, Heard], None]) -> Heard:
        heard: Heard = []
        second = Plain(heard)

        class Changing(Plain):
            def on_llm_new_token(self, token: object, **told: Any) -> None:  # type: ignore[override]
                super().on_llm_new_token(token, **told)
                change(second, heard)

        run = AsyncCallbackManagerForLLMRun(
            run_id=UUID(int=1), handlers=[Changing(heard), second], inheritable_handlers=[]
        )
        asyncio.run(run.on_llm_new_token("a"))
        return heard

    def to_a_coroutine_function(handler: Plain, heard: Heard) -> None:
        handler.on_llm_new_token = Inline(heard).on_llm_new_token  # type: ignore[assignment, method-assign]

    def to_another_thread(handler: Plain, _: Heard) -> None:
        handler.run_inline = False

    for change in (to_a_coroutine_function, to_another_thread):
        before = heard_by(change)
        with langchain_dispatch.applied():
            after = heard_by(change)

        assert before == after
        assert len(after) > 1
