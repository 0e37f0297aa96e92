"""Ollama under the v3 protocol: its logprobs, which `langchain-ollama` keeps from callbacks.

Where `ChatOllama` tells of a piece of its answer itself, it does so without the chunk that holds
the logprobs. With this patch it tells of the chunk too, as every other package does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch


def _with_chunk(original: Function) -> Function:
    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        for chunk in original(self, messages, stop, None, **kwargs):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
            yield chunk

    return _stream


def _with_chunk_async(original: Function) -> Function:
    async def _astream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for chunk in original(self, messages, stop, None, **kwargs):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk, verbose=self.verbose)
            yield chunk

    return _astream


_MODULE = "langchain_ollama.chat_models"
_PARAMETERS = ("self", "messages", "stop", "run_manager")
PATCH = Patch(
    "ollama_v3",
    (
        Edit(_MODULE, "ChatOllama._stream", _PARAMETERS, _with_chunk),
        Edit(_MODULE, "ChatOllama._astream", _PARAMETERS, _with_chunk_async),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
