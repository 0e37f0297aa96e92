"""Vertex AI streams: logprobs, which `langchain-google-vertexai` takes over in `invoke` alone.

With this patch a chunk has `logprobs_result` in its `generation_info`, as a whole answer has.
"""

from __future__ import annotations

from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch
from langchain_logprobs.patches.gemini import entries


def _kept(original: Function) -> Function:
    def _gemini_chunk_to_generation_chunk(
        self: Any, response_chunk: Any, *args: Any, **kwargs: Any
    ) -> Any:
        converted = original(self, response_chunk, *args, **kwargs)
        found = entries(response_chunk.candidates[0]) if response_chunk.candidates else []
        info = converted[0].generation_info or {}
        if found and "logprobs_result" not in info:
            converted[0].generation_info = {**info, "logprobs_result": found}
        return converted

    return _gemini_chunk_to_generation_chunk


PATCH = Patch(
    "vertexai_stream",
    (
        Edit(
            "langchain_google_vertexai.chat_models",
            "ChatVertexAI._gemini_chunk_to_generation_chunk",
            ("self", "response_chunk"),
            _kept,
        ),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
