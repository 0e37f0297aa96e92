"""For tests, ours and yours: a chat model that says what it is told, and things that stand still.

model = ScriptedChatModel(answers=[answer(("Syd", -0.6, {"Can": -1.2}), ("ney", -0.01))])
sink = CollectingSink()
model.invoke("...", config={"callbacks": [LogprobsCallbackHandler(sinks=[sink])]})
assert sink.calls[0].confidence.count == 2
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from opentelemetry.sdk.trace.id_generator import IdGenerator
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.report import CallReport, Report, TreeReport
from langchain_logprobs.core.text import joined, pieces
from langchain_logprobs.core.tokens import Candidate, Channel, TokenLogprob

__all__ = [
    "Answer",
    "CollectingSink",
    "FixedClock",
    "FixedIds",
    "ScriptedChatModel",
    "answer",
    "token",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a `ScriptedChatModel` answers to one call.

    Attributes:
        tokens: What it says, token by token.
        tool_calls: Tools it calls, each a LangChain `ToolCall`.
        chunks: How many tokens each chunk of a stream holds, the last number repeating.
        pause: Seconds before each chunk of a stream; before the whole answer otherwise.
        error: Raised once the tokens are out.
        with_logprobs: Whether the provider sends logprobs at all.
        finish_reason: As the provider would say.

    .. versionadded:: 0.1.0
    """

    tokens: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    chunks: tuple[int, ...] = (1,)
    pause: float = 0.0
    error: BaseException | None = None
    with_logprobs: bool = True
    finish_reason: str = "stop"

    @property
    def text(self) -> str:
        """The content, as it is handed on."""
        return joined(of for of in self.tokens if of.channel == "content")


def token(
    text: str | bytes,
    logprob: float | None = -0.1,
    candidates: Mapping[str, float] | None = None,
    *,
    channel: Channel = "content",
) -> TokenLogprob:
    """A token; bytes make one that need not be whole characters.

    .. versionadded:: 0.1.0
    """
    raw = text if isinstance(text, bytes) else text.encode()
    return TokenLogprob(
        text=raw.decode("utf-8", "replace"),
        logprob=logprob,
        raw=raw,
        candidates=tuple(Candidate(of, its, of.encode()) for of, its in (candidates or {}).items()),
        channel=channel,
    )


def answer(*tokens: str | tuple[Any, ...] | TokenLogprob, **others: Any) -> Answer:
    """An answer of tokens given as texts, as arguments of `token()`, or whole.

    .. versionadded:: 0.1.0
    """
    return Answer(tokens=tuple(map(_as_token, tokens)), **others)


class ScriptedChatModel(BaseChatModel):
    """A chat model that gives the answers it was told, in turn, with OpenAI's chat payloads.

    It streams as real ones do: a first chunk without text, a last one with the finish reason.

    Args:
        answers: One a call; after the last it begins anew.
        model: Its name.
        logprobs: Whether it is asked for logprobs; without, it sends none.

    .. versionadded:: 0.1.0
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    answers: Sequence[Answer] = Field(min_length=1)
    model: str = "scripted-1"
    logprobs: bool = True
    _turns: Iterator[int] = PrivateAttr(default_factory=count)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, "logprobs": self.logprobs}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        del stop, kwargs
        return LangSmithParams(
            ls_provider="scripted", ls_model_name=self.model, ls_model_type="chat"
        )

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools to call; which it calls is in the script."""
        del tool_choice
        return self.bind(tools=[convert_to_openai_tool(of) for of in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del messages, stop, run_manager, kwargs
        script = self._next()
        time.sleep(script.pause)
        return self._result(script)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del messages, stop, run_manager, kwargs
        script = self._next()
        await asyncio.sleep(script.pause)
        return self._result(script)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        del messages, stop, kwargs
        script = self._next()
        for chunk in self._chunks(script):
            time.sleep(script.pause)
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if script.error is not None:
            raise script.error

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        del messages, stop, kwargs
        script = self._next()
        for chunk in self._chunks(script):
            await asyncio.sleep(script.pause)
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if script.error is not None:
            raise script.error

    def _next(self) -> Answer:
        with self._lock:
            return self.answers[next(self._turns) % len(self.answers)]

    def _result(self, script: Answer) -> ChatResult:
        if script.error is not None:
            raise script.error
        payload = self._payload(script, script.tokens)
        message = AIMessage(
            content=script.text,
            tool_calls=list(script.tool_calls),
            response_metadata={"model_name": self.model, **payload},
            usage_metadata=_usage(script),
        )
        info = {"finish_reason": script.finish_reason, **payload}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])

    def _chunks(self, script: Answer) -> Iterator[ChatGenerationChunk]:
        yield _chunk("", self._payload(script, ()))
        texts = iter(_content(script.tokens))
        for tokens in _cut(script.tokens, script.chunks):
            yield _chunk("".join(islice(texts, len(tokens))), self._payload(script, tokens))
        for index, call in enumerate(script.tool_calls):
            yield _tool_chunk(call, index)
        if script.error is None:
            yield _last_chunk(self.model, script)

    def _payload(self, script: Answer, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        if not (self.logprobs and script.with_logprobs):
            return {}
        return {"logprobs": {key: _entries(tokens, channel) for key, channel in _KEYS.items()}}


@dataclass(slots=True)
class CollectingSink:
    """A sink that keeps what it is handed.

    .. versionadded:: 0.1.0
    """

    calls: list[CallReport] = field(default_factory=list)
    trees: list[TreeReport] = field(default_factory=list)

    def __call__(self, report: Report) -> None:
        """Keeps a report."""
        if isinstance(report, CallReport):
            self.calls.append(report)
        else:
            self.trees.append(report)


@dataclass(slots=True)
class FixedClock:
    """A clock that goes on by the same step each time it is read, in nanoseconds.

    .. versionadded:: 0.1.0
    """

    now_ns: int = 1_000_000_000
    step_ns: int = 1_000_000

    def __call__(self) -> int:
        """The time, in nanoseconds since the epoch."""
        self.now_ns += self.step_ns
        return self.now_ns


class FixedIds(IdGenerator):
    """Span and trace ids 1, 2, 3, ..., so that a trace can be compared as a whole.

    .. versionadded:: 0.1.0
    """

    def __init__(self) -> None:
        self._spans = count(1)
        self._traces = count(1)

    def generate_span_id(self) -> int:
        """The next span id."""
        return next(self._spans)

    def generate_trace_id(self) -> int:
        """The next trace id."""
        return next(self._traces)


_KEYS: dict[str, Channel] = {
    "content": "content",
    "refusal": "refusal",
    "reasoning_content": "reasoning",
}


def _as_token(given: str | tuple[Any, ...] | TokenLogprob) -> TokenLogprob:
    if isinstance(given, TokenLogprob):
        return given
    return token(*given) if isinstance(given, tuple) else token(given)


def _entries(tokens: Sequence[TokenLogprob], channel: Channel) -> list[dict[str, Any]] | None:
    entries = [_entry(of) for of in tokens if of.channel == channel]
    return entries if entries or channel == "content" else None


def _entry(of: TokenLogprob) -> dict[str, Any]:
    listed = [TokenLogprob(other.text, other.logprob, other.raw) for other in of.candidates]
    return {
        "token": of.text,
        "logprob": of.logprob,
        "bytes": list(identity(of)),
        "top_logprobs": [_entry(other) for other in listed],
    }


def _content(tokens: Sequence[TokenLogprob]) -> list[str]:
    """What each token adds to the content: a split character comes whole, as providers send it."""
    texts = iter(pieces([of for of in tokens if of.channel == "content"]))
    return [next(texts) if of.channel == "content" else "" for of in tokens]


def _cut(tokens: Sequence[TokenLogprob], sizes: Sequence[int]) -> Iterator[Sequence[TokenLogprob]]:
    start, turn = 0, 0
    while start < len(tokens):
        size = max(1, sizes[min(turn, len(sizes) - 1)])
        yield tokens[start : start + size]
        start, turn = start + size, turn + 1


def _chunk(text: str, info: dict[str, Any], **message: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(
        message=AIMessageChunk(content=text, response_metadata=dict(info), **message),
        generation_info=dict(info) or None,
    )


def _tool_chunk(call: ToolCall, index: int) -> ChatGenerationChunk:
    arguments = json.dumps(call["args"])
    part = tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=index)
    return _chunk("", {}, tool_call_chunks=[part])


def _last_chunk(model: str, script: Answer) -> ChatGenerationChunk:
    info = {"finish_reason": script.finish_reason, "model_name": model}
    return _chunk("", info, usage_metadata=_usage(script))


def _usage(script: Answer) -> UsageMetadata:
    said = len(script.tokens)
    return UsageMetadata(input_tokens=3, output_tokens=said, total_tokens=3 + said)
