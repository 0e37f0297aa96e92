"""On which ways of calling a LangChain package hands on no logprobs, as things stand.

A model goes by what it calls itself in its parameters (`_type`), which its subclasses share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from langchain_logprobs.core.report import Unavailable
from langchain_logprobs.patches import (
    Patch,
    google_genai,
    litellm_stream,
    llama_cpp_chat,
    openai_responses,
)

Way = Literal["whole", "stream", "responses_api"]
"""An answer in one piece, in pieces, or either from OpenAI's Responses API."""
_DROPPED: Unavailable = "dropped_by_langchain"
_EITHER: Sequence[Way] = ("whole", "stream")


class _Loss(NamedTuple):
    ways: Sequence[Way]
    reason: Unavailable = _DROPPED
    patch: Patch | None = None


_NOT_STREAMED = _Loss(("stream",), "provider_omits_stream_logprobs")
_LOSSES: Mapping[str, Sequence[_Loss]] = {
    "chat-databricks": (_Loss(("whole",)),),
    "chat-google-generative-ai": (_Loss(("whole",), patch=google_genai.PATCH), _NOT_STREAMED),
    "chat-nvidia-ai-playground": (_Loss(_EITHER),),
    "litellm-chat": (_Loss(("stream",), patch=litellm_stream.PATCH),),
    "LiteLLMRouter": (_Loss(_EITHER, patch=litellm_stream.PATCH),),
    "llama-cpp-python": (_Loss(_EITHER, patch=llama_cpp_chat.PATCH),),
    "mistralai-chat": (_Loss(_EITHER),),
    "vertexai": (_NOT_STREAMED,),
}
_OF_ANY = (_Loss(("responses_api",), patch=openai_responses.PATCH),)


def losses(told: Mapping[str, Any]) -> Mapping[str, Unavailable]:
    """Why no logprobs will come, by `Way`, of the model whose start LangChain tells of."""
    kind = (told.get("invocation_params") or {}).get("_type")
    return dict(_in_force((*_OF_ANY, *(_LOSSES.get(kind, ()) if isinstance(kind, str) else ()))))


def _in_force(of: Sequence[_Loss]) -> Iterator[tuple[Way, Unavailable]]:
    for ways, reason, patch in of:
        if patch is None or not patch.is_applied:
            yield from ((way, reason) for way in ways)
