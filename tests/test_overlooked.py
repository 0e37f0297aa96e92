"""What other handlers hear is the same with ours beside them as without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager, BaseCallbackHandler
from langchain_core.callbacks.manager import ahandle_event
from langchain_core.language_models import FakeStreamingListLLM
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate

from langchain_logprobs import LogprobsCallbackHandler, instrument, uninstrument
from langchain_logprobs.overlooked import have_others_told
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated"),
]

Heard = list[tuple[Any, ...]]
HOOKS = (
    "on_llm_start",
    "on_chat_model_start",
    "on_llm_new_token",
    "on_llm_end",
    "on_llm_error",
    "on_chain_start",
    "on_chain_end",
)


def listener(*, asynchronous: bool = False, inline: bool = False, fails: bool = False) -> Any:
    """A handler that notes what it hears; one that `fails` ends the call at its start."""

    class Listens(AsyncCallbackHandler if asynchronous else BaseCallbackHandler):  # type: ignore[misc]
        run_inline = inline
        raise_error = fails

        def __init__(self) -> None:
            self.heard: Heard = []

    for hook in HOOKS:
        setattr(Listens, hook, (_hears_later if asynchronous else _hears)(hook))
    return Listens()


def _hears(hook: str) -> Any:
    def told(self: Any, *args: Any, run_id: UUID, **known: Any) -> None:
        prompts = args[1] if hook == "on_llm_start" else None
        kept = [known.get(of) for of in ("tags", "metadata", "invocation_params", "batch_size")]
        self.heard.append((run_id, hook, prompts, *kept))
        if self.raise_error and hook == "on_llm_start":
            raise ConnectionError

    return told


def _hears_later(hook: str) -> Any:
    async def told(self: Any, *args: Any, **known: Any) -> None:
        await asyncio.sleep(0)
        _hears(hook)(self, *args, **known)

    return told


def plainly(heard: Heard) -> Heard:
    """What was heard, its runs by number."""
    runs: dict[UUID, int] = {}
    return [(runs.setdefault(run, len(runs)), *rest) for run, *rest in heard]


def starts(handler: Any) -> int:
    """How often it was told that a completion model starts."""
    return sum(hook == "on_llm_start" for _, hook, *_ in handler.heard)


def a_model() -> FakeStreamingListLLM:
    return FakeStreamingListLLM(responses=["abc"])


async def ainvoke(config: Any) -> None:
    await a_model().ainvoke("q", config)


async def astream(config: Any) -> None:
    assert [of async for of in a_model().astream("q", config)]


async def a_chain(config: Any) -> None:
    chain = PromptTemplate.from_template("{q}") | a_model() | StrOutputParser()
    await chain.ainvoke({"q": ""}, {**config, "tags": ["t"], "metadata": {"a": 1}})


async def several(config: Any) -> None:
    await a_model().agenerate(["one", "two", "three"], callbacks=config["callbacks"])


async def abatch(config: Any) -> None:
    await a_model().abatch(["one", "two"], config)


async def sync(config: Any) -> None:
    a_model().invoke("q", config)


async def chat(config: Any) -> None:
    await ScriptedChatModel(answers=[answer("a")]).ainvoke("q", config)


CALLS = [ainvoke, astream, a_chain, several, abatch, sync, chat]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("ours", [1, 2])
@pytest.mark.parametrize("call", CALLS)
async def test_what_others_hear_is_the_same(
    call: Callable[[Any], Any], ours: int, *, inline: bool, asynchronous: bool
) -> None:
    without, beside = (listener(asynchronous=asynchronous, inline=inline) for _ in range(2))
    handlers = [LogprobsCallbackHandler(sinks=[CollectingSink()]) for _ in range(ours)]

    await call({"callbacks": [without]})
    await call({"callbacks": [beside, *handlers]})

    assert plainly(without.heard)
    assert plainly(beside.heard) == plainly(without.heard)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_events_of_a_completion_model_are_the_same(version: Any) -> None:
    async def events(config: Any) -> list[Any]:
        found = a_model().astream_events("q", config, version=version)
        return [(of["event"], of["name"], of["data"]) async for of in found]

    without = await events({})
    beside = await events({"callbacks": [LogprobsCallbackHandler(sinks=[])]})

    assert {"on_llm_start", "on_llm_end"} <= {event for event, *_ in without}
    assert beside == without


async def test_beside_another_inline_handler_the_others_hear_of_a_start_once() -> None:
    tracer, other = listener(inline=True), listener(asynchronous=True)

    await ainvoke({"callbacks": [tracer, other, LogprobsCallbackHandler(sinks=[])]})

    assert (starts(tracer), starts(other)) == (1, 1)


async def test_what_another_handler_raises_on_purpose_is_raised_as_without_us() -> None:
    other = listener(asynchronous=True, fails=True)

    with pytest.raises(ConnectionError):
        await ainvoke({"callbacks": [other]})
    with pytest.raises(ConnectionError):
        await ainvoke({"callbacks": [LogprobsCallbackHandler(sinks=[]), other]})


async def mended(
    self: Any, serialized: Any, prompts: list[str], run_id: Any = None, **kwargs: Any
) -> list[Any]:
    """LangChain's function as it is to become (langchain #39666): it tells everybody."""
    inline_handlers = [of for of in self.handlers if of.run_inline]
    non_inline_handlers = [of for of in self.handlers if not of.run_inline]
    managers = [SimpleNamespace(run_id=run_id or uuid4()) for _ in prompts]

    def told(handlers: list[Any]) -> list[Any]:
        return [
            ahandle_event(
                handlers,
                "on_llm_start",
                "ignore_llm",
                serialized,
                [prompt],
                run_id=run.run_id,
                **kwargs,
            )
            for prompt, run in zip(prompts, managers, strict=True)
        ]

    inline_tasks, non_inline_tasks = told(inline_handlers), told(non_inline_handlers)
    for task in inline_tasks:
        await task
    await asyncio.gather(*non_inline_tasks)
    return managers


async def test_once_langchain_tells_everybody_nobody_is_told_twice() -> None:
    other, ours = listener(asynchronous=True), LogprobsCallbackHandler(sinks=[])

    await mended(AsyncCallbackManager([other, ours]), {}, ["one", "two"])

    assert starts(other) == 2
    assert len(ours.open_calls()) == 2
    ours.close()


async def test_where_langchain_does_something_else_nobody_is_told_anything() -> None:
    """Names like LangChain's, but not what they are there."""
    non_inline_tasks: list[Any] = []
    non_inline_handlers = [listener()]

    have_others_told()

    assert (non_inline_tasks, non_inline_handlers[0].heard) == ([], [])


@pytest.fixture
def installed() -> Iterator[LogprobsCallbackHandler]:
    yield instrument(sinks=[])
    uninstrument()


async def test_installed_and_taken_away_again_others_hear_the_same(
    installed: LogprobsCallbackHandler,
) -> None:
    beside, after = listener(asynchronous=True), listener(asynchronous=True)
    await ainvoke({"callbacks": [beside]})
    uninstrument()

    await ainvoke({"callbacks": [after]})
    await ainvoke({"callbacks": [after, installed]})

    assert starts(beside) == 1
    assert starts(after) == 2
    assert plainly(after.heard[: len(beside.heard)]) == plainly(beside.heard)
