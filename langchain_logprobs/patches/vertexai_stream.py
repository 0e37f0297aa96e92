"""Vertex AI streams: `langchain-google-vertexai` asks for logprobs where the API has none.

`ChatVertexAI(logprobs=5)` asks for them in streams too, and Vertex AI answers such a request with
an error: it has them for whole answers alone. With this patch a stream does not ask, unless a call
is told to (`.bind(logprobs=5)`); and if logprobs come, a chunk has them in its `generation_info`
as `logprobs_result`, as a whole answer has, where LangChain drops them.
"""

from __future__ import annotations

from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch, harmless
from langchain_logprobs.patches.gemini import put


def _not_asking(original: Function) -> Function:
    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        return original(self, messages, stop, run_manager, **{"logprobs": False, **kwargs})

    return _stream


def _kept(original: Function) -> Function:
    def _gemini_chunk_to_generation_chunk(
        self: Any, response_chunk: Any, *args: Any, **kwargs: Any
    ) -> Any:
        converted = original(self, response_chunk, *args, **kwargs)
        _put_first(converted, response_chunk)
        return converted

    return _gemini_chunk_to_generation_chunk


@harmless
def _put_first(converted: Any, response_chunk: Any) -> None:
    if response_chunk.candidates:
        put(converted[0], response_chunk.candidates[0])


_MODULE = "langchain_google_vertexai.chat_models"
_STREAM = ("self", "messages", "stop", "run_manager", "kwargs")
PATCH = Patch(
    "vertexai_stream",
    (
        Edit(_MODULE, "ChatVertexAI._stream", _STREAM, _not_asking),
        Edit(_MODULE, "ChatVertexAI._astream", _STREAM, _not_asking),
        Edit(
            _MODULE,
            "ChatVertexAI._gemini_chunk_to_generation_chunk",
            ("self", "response_chunk"),
            _kept,
        ),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
