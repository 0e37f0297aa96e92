"""What a provider streams: chunks in OpenAI's chat shape, as langchain-openai hands them on.

One token in twelve is doubtful (a probability under a half), the rest are nearly certain: about
what a good model's answer looks like. `token_spans="low"` sends as many spans as there are such.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult

DOUBTFUL = 1 / 12
"""The share of tokens with a probability under a half."""
_SYLLABLES = ("ba", "con", "de", "er", "fi", "gra", "in", "lo", "men", "ta", "tion", "us")


def entries(tokens: int, candidates: int, *, seed: int = 7) -> list[dict[str, Any]]:
    """The logprob entries of an answer; the same for the same arguments."""
    draw = random.Random(seed)
    return [_entry(draw, candidates) for _ in range(tokens)]


def chunks(tokens: int, candidates: int, *, seed: int = 7) -> list[ChatGenerationChunk]:
    """An answer of so many tokens, a chunk each."""
    return [chunk(entry) for entry in entries(tokens, candidates, seed=seed)]


def chunk(entry: dict[str, Any]) -> ChatGenerationChunk:
    """The chunk of one token."""
    return ChatGenerationChunk(
        message=AIMessageChunk(content=entry["token"]),
        generation_info={"logprobs": {"content": [entry], "refusal": None}},
    )


def ended(stream: Sequence[ChatGenerationChunk]) -> LLMResult:
    """What LangChain hands over at the end of that answer: all of its text, all of its entries."""
    said = [(of.generation_info or {})["logprobs"]["content"] for of in stream]
    text = "".join(of.text for of in stream)
    logprobs = {"content": list(chain.from_iterable(said)), "refusal": None}
    answer = ChatGenerationChunk(
        message=AIMessageChunk(content=text), generation_info={"logprobs": logprobs}
    )
    return LLMResult(generations=[[answer]])


def _entry(draw: random.Random, candidates: int) -> dict[str, Any]:
    shares = list(_shares(draw, max(1, candidates)))
    words = _words(draw, len(shares))
    listed = [_listed(word, math.log(of)) for word, of in zip(words, shares, strict=True)]
    return {**listed[0], "top_logprobs": listed[:candidates]}


def _shares(draw: random.Random, count: int) -> Iterator[float]:
    """Falling probabilities that leave something over for what is not listed."""
    doubtful = draw.random() < DOUBTFUL
    share = draw.uniform(0.2, 0.5) if doubtful else 1.0 - draw.uniform(0.1, 0.84) ** 4
    yield share
    left = 1.0 - share
    for _ in range(count - 1):
        share = max(1e-9, min(share, left * draw.uniform(0.4, 0.8)))
        left -= share
        yield share


def _words(draw: random.Random, count: int) -> list[str]:
    """Different ones: nobody lists a token twice."""
    words: dict[str, None] = {}
    while len(words) < count:
        words[_word(draw)] = None
    return list(words)


def _word(draw: random.Random) -> str:
    return " " + "".join(draw.choices(_SYLLABLES, k=draw.randint(1, 3)))


def _listed(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
