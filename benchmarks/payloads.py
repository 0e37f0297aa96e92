"""What a provider streams: chunks in OpenAI's chat shape, as langchain-openai hands them on."""

from __future__ import annotations

import math
import random
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk


def entries(tokens: int, candidates: int, *, seed: int = 7) -> list[dict[str, Any]]:
    """The logprob entries of an answer; the same for the same arguments."""
    draw = random.Random(seed)
    return [_entry(draw, at, candidates) for at in range(tokens)]


def chunks(tokens: int, candidates: int) -> list[ChatGenerationChunk]:
    """An answer of so many tokens, a chunk each."""
    return [_chunk(entry) for entry in entries(tokens, candidates)]


def _entry(draw: random.Random, at: int, candidates: int) -> dict[str, Any]:
    weights = sorted((draw.random() ** 4 for _ in range(max(1, candidates))), reverse=True)
    total = sum(weights) * (1.0 + 0.1 * draw.random())
    listed = [
        _listed(f" word{at % 500}" if place == 0 else f" other{place}", math.log(weight / total))
        for place, weight in enumerate(weights)
    ]
    return {**listed[0], "top_logprobs": listed[:candidates]}


def _listed(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _chunk(entry: dict[str, Any]) -> ChatGenerationChunk:
    logprobs = {"content": [entry], "refusal": None}
    return ChatGenerationChunk(
        message=AIMessageChunk(content=entry["token"]),
        generation_info={"logprobs": logprobs},
    )
