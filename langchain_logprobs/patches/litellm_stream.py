"""LiteLLM: logprobs that `langchain-litellm` takes over in `invoke` alone, or nowhere.

`ChatLiteLLM` takes them over in `invoke`, `ChatLiteLLMRouter` not even there. Streams are read in a
long loop that makes each chunk of the piece of text alone. With this patch the run manager it is
handed is a stand-in, which listens to LiteLLM's pieces on their way in, and puts their logprobs
into the chunks it is told of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch, harmless


class _Ear:
    """A run manager that knows which of LiteLLM's chunks the next chunk is made of."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self._heard: Any = None

    def listen(self, pieces: Any) -> Iterator[Any]:
        for self._heard in pieces:
            yield self._heard

    async def alisten(self, pieces: Any) -> AsyncIterator[Any]:
        async for self._heard in pieces:
            yield self._heard

    def put(self, chunk: Any) -> None:
        """Puts the logprobs heard last into the chunk, which is the only one made of them."""
        _put_heard(chunk, self._heard)


class _Mouth(_Ear):
    def on_llm_new_token(self, token: Any, *, chunk: Any, **kwargs: Any) -> None:
        self.put(chunk)
        if self.manager is not None:
            self.manager.on_llm_new_token(token, chunk=chunk, **kwargs)


class _AsyncMouth(_Ear):
    async def on_llm_new_token(self, token: Any, *, chunk: Any, **kwargs: Any) -> None:
        self.put(chunk)
        if self.manager is not None:
            await self.manager.on_llm_new_token(token, chunk=chunk, **kwargs)


@harmless
def _put_heard(chunk: Any, heard: Any) -> None:
    choices = getattr(heard, "choices", None)
    _put(chunk, getattr(choices[0], "logprobs", None) if choices else None)


@harmless
def _put_all(result: Any, response: Any) -> None:
    choices = response["choices"]
    if len(choices) == len(result.generations):  # A split reply was not joined again.
        for generation, choice in zip(result.generations, choices, strict=True):
            _put(generation, choice.get("logprobs"))


def _put(generation: Any, given: Any) -> None:
    if logprobs := _plain(given):
        generation.generation_info = {"logprobs": logprobs, **(generation.generation_info or {})}


def _plain(logprobs: Any) -> Any:
    """The same as plain data: LangChain cannot merge objects."""
    dump = getattr(logprobs, "model_dump", None)
    return logprobs if dump is None else dump()


def _hear(original: Function) -> Function:
    def completion_with_retry(self: Any, run_manager: Any = None, **kwargs: Any) -> Any:
        if not isinstance(run_manager, _Ear):
            return original(self, run_manager=run_manager, **kwargs)
        return run_manager.listen(original(self, run_manager=run_manager.manager, **kwargs))

    return completion_with_retry


def _ahear(original: Function) -> Function:
    async def acompletion_with_retry(self: Any, run_manager: Any = None, **kwargs: Any) -> Any:
        if not isinstance(run_manager, _Ear):
            return await original(self, run_manager=run_manager, **kwargs)
        return run_manager.alisten(await original(self, run_manager=run_manager.manager, **kwargs))

    return acompletion_with_retry


def _tell(original: Function) -> Function:
    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        return original(self, messages, stop, _Mouth(run_manager), **kwargs)

    return _stream


def _atell(original: Function) -> Function:
    def _astream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        return original(self, messages, stop, _AsyncMouth(run_manager), **kwargs)

    return _astream


def _keep(original: Function) -> Function:
    def _create_chat_result(self: Any, response: Any, **params: Any) -> Any:
        result = original(self, response, **params)
        _put_all(result, response)
        return result

    return _create_chat_result


def _edits(module: str, kind: str) -> tuple[Edit, ...]:
    stream, call = ("self", "messages", "stop", "run_manager"), ("self", "run_manager")
    return (
        Edit(module, f"{kind}._stream", stream, _tell),
        Edit(module, f"{kind}._astream", stream, _atell),
        Edit(module, f"{kind}.completion_with_retry", call, _hear),
        Edit(module, f"{kind}.acompletion_with_retry", call, _ahear),
    )


_ROUTER = "langchain_litellm.chat_models.litellm_router"
PATCH = Patch(
    "litellm_stream",
    (
        *_edits("langchain_litellm.chat_models.litellm", "ChatLiteLLM"),
        *_edits(_ROUTER, "ChatLiteLLMRouter"),
        Edit(_ROUTER, "ChatLiteLLMRouter._create_chat_result", ("self", "response"), _keep),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
