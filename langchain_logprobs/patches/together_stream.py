"""Together's streams: a bare number as `logprobs`, on which LangChain's merging of chunks fails.

`ChatTogether` hands it on as it comes, and the caller's stream ends in a `TypeError` that no
callback hears of. With this patch each number stands beside its text in lists, which merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch


def _listed(original: Function) -> Function:
    def _convert_chunk_to_generation_chunk(
        self: Any, chunk: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        choices = [_choice(each) for each in chunk.get("choices") or ()]
        changed = {**chunk, "choices": choices} if choices else chunk
        return original(self, changed, *args, **kwargs)

    return _convert_chunk_to_generation_chunk


def _choice(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    logprob = choice.get("logprobs")
    if isinstance(logprob, bool) or not isinstance(logprob, (int, float)):
        return choice
    text = (choice.get("delta") or {}).get("content") or ""
    top = choice.get("top_logprobs")
    lists = {"tokens": [text], "token_logprobs": [logprob]}
    return {**choice, "logprobs": lists | ({"top_logprobs": [top]} if top else {})}


PATCH = Patch(
    "together_stream",
    (
        Edit(
            "langchain_together.chat_models",
            "ChatTogether._convert_chunk_to_generation_chunk",
            ("self", "chunk"),
            _listed,
        ),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
