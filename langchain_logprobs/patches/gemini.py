"""What Gemini sends as logprobs, to the entries that LangChain hands on for Vertex AI."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any


def entries(candidate: Any) -> list[dict[str, Any]]:
    """The tokens of a candidate, each with the alternatives to it; `[]` if none were sent."""
    result = getattr(candidate, "logprobs_result", None)
    chosen = list(getattr(result, "chosen_candidates", None) or ())
    tops = list(getattr(result, "top_candidates", None) or ())
    rows = zip_longest(chosen, tops[: len(chosen)])
    return [
        _alternative(of)
        | {"top_logprobs": [_alternative(each) for each in getattr(top, "candidates", None) or ()]}
        for of, top in rows
    ]


def put(generation: Any, candidate: Any) -> None:
    """Puts the tokens of a candidate into the generation that was made of it."""
    info = generation.generation_info or {}
    if (found := entries(candidate)) and "logprobs_result" not in info:
        generation.generation_info = {**info, "logprobs_result": found}


def _alternative(of: Any) -> dict[str, Any]:
    return {"token": of.token, "logprob": of.log_probability}
