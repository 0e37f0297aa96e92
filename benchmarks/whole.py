"""What whole calls cost: a fake model, and ChatOpenAI from a local server, one or many at once.

`stream` is CPU time of the thread that streams, a token, the end of the call included; `process`
CPU time of the whole process, a token, until everything is handed to the exporter; `wall` the time
that goes by until the last call has ended, a token.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from benchmarks.contestants import Contestant
from benchmarks.payloads import chunk, entries
from benchmarks.rounds import Figures


@dataclass(frozen=True, slots=True)
class Calls:
    """What to call, and how.

    Attributes:
        model: `fake` or `ChatOpenAI`.
        mode: `sync` or `async`.
        tokens: Of each answer.
        candidates: Of each token.
        at_once: How many calls: threads, or tasks of one event loop.
        base_url: Of the server that `ChatOpenAI` calls.
    """

    model: str
    mode: str
    tokens: int
    candidates: int
    at_once: int
    base_url: str

    def __str__(self) -> str:
        """As a table's heading shows it."""
        many = f", {self.at_once} at once" if self.at_once > 1 else ""
        return (
            f"whole calls, {self.model}, {self.mode}, "
            f"{self.tokens} tokens of {self.candidates} candidates{many}"
        )


class FakeChatModel(BaseChatModel):
    """Streams an answer from memory, a new chunk for every token, as real ones make them."""

    answer: Sequence[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "fake"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "benchmark", "logprobs": True}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for entry in self.answer:
            yield chunk(entry)

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for entry in self.answer:
            yield chunk(entry)


def called(of: Contestant, calls: Calls) -> Figures:
    """What that many calls at once cost."""
    model, tokens = _model(calls), calls.tokens * calls.at_once
    gc.collect()
    process, begun = time.process_time(), time.perf_counter()
    if calls.mode == "async":
        stream = _loop().run(_gathered(of, model, calls.at_once))
    else:
        stream = _threaded(of, model, calls.at_once)
    wall = time.perf_counter() - begun
    of.finish()
    return {
        "stream": stream / tokens * 1e6,
        "wall": wall / tokens * 1e6,
        "process": (time.process_time() - process) / tokens * 1e6,
    }


def _threaded(of: Contestant, model: BaseChatModel, at_once: int) -> float:
    def one() -> float:
        start = time.thread_time()
        for _ in model.stream("?", {"callbacks": list(of.handlers)}):
            pass
        return time.thread_time() - start

    if at_once == 1:
        return one()
    with ThreadPoolExecutor(at_once) as pool:
        return sum(of.result() for of in [pool.submit(one) for _ in range(at_once)])


async def _gathered(of: Contestant, model: BaseChatModel, at_once: int) -> float:
    async def one() -> None:
        async for _ in model.astream("?", {"callbacks": list(of.handlers)}):
            pass

    start = time.thread_time()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return time.thread_time() - start


@cache
def _loop() -> asyncio.Runner:
    """One event loop for all: connections that are kept belong to theirs."""
    return asyncio.Runner()


@cache
def _model(calls: Calls) -> BaseChatModel:
    if calls.model == "fake":
        return FakeChatModel(answer=entries(calls.tokens, calls.candidates))
    return ChatOpenAI(
        model="benchmark",
        base_url=calls.base_url,
        api_key="none",  # type: ignore[arg-type]
        max_completion_tokens=calls.tokens,
        logprobs=True,
        top_logprobs=calls.candidates or None,
        max_retries=0,
    )
