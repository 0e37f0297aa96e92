"""A provider's payload to tokens: a table of small readers, first match wins.

A reader takes whatever a provider sent and gives its tokens, or `None` for "not my shape".
`read_tokens` is total: any JSON and any object, never an exception. A new provider is a file in
`tests/payloads/` and at most one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any

from langchain_logprobs.core.columns import alternatives_in, fields_of, tokens_of_entries
from langchain_logprobs.core.confidence import sound_logprob
from langchain_logprobs.core.said import raw_from, readable
from langchain_logprobs.core.tokens import (
    Candidate,
    Channel,
    TokenLogprob,
    Tokens,
    settle,
)

Shape = Callable[[object], Iterable[TokenLogprob] | None]
"""A payload reader; `None` means "not my shape"."""

_CHANNELS: tuple[tuple[str, Channel], ...] = (
    ("reasoning_content", "reasoning"),
    ("content", "content"),
    ("refusal", "refusal"),
)


def read_parallel(payload: object) -> Iterable[TokenLogprob] | None:
    """Lists side by side: legacy completions, Together, Fireworks, llama-cpp-python.

    `{"tokens": [...], "token_logprobs": [...], "top_logprobs": [{token: logprob} | None, ...]}`
    """
    match fields_of(payload):
        case {"tokens": [*texts], "token_logprobs": [*logprobs], **others}:
            tops = others.get("top_logprobs")
            candidates = tops[: len(texts)] if isinstance(tops, list) else []
            rows = zip_longest(texts, logprobs[: len(texts)], candidates)
            return [
                TokenLogprob(readable(text, None), sound_logprob(logprob), None, _candidates(top))
                for text, logprob, top in rows
            ]
    return None


def read_channels(payload: object) -> Iterable[TokenLogprob] | None:
    """OpenAI's chat shape and its many relatives: a list of entries under each channel's name."""
    fields = fields_of(payload)
    lists = [
        (entries, channel)
        for key, channel in _CHANNELS
        if isinstance(entries := fields.get(key), (list, tuple))
    ]
    read = [tokens_of_entries(entries, channel=channel) for entries, channel in lists]
    if not read or any(of is None for of in read):
        return None
    found = [of for of in read if of]
    return found[0] if len(found) == 1 else chain.from_iterable(found)


def read_list(payload: object) -> Iterable[TokenLogprob] | None:
    """A flat list of entries: Ollama (pydantic objects), Vertex AI, OpenAI's Responses API."""
    return tokens_of_entries(payload) if isinstance(payload, (list, tuple)) else None


def read_text(payload: object) -> Iterable[TokenLogprob] | None:
    """A text beside the logprobs of its tokens, where it is a single token: Cohere."""
    match fields_of(payload):
        case {"text": str(text), "logprobs": [int() | float() as logprob]}:
            return [TokenLogprob(text, sound_logprob(logprob))]
    return None


def read_wrapped(payload: object) -> Iterable[TokenLogprob] | None:
    """A choice, a delta or a content block that holds one of the other shapes as `logprobs`."""
    match fields_of(payload):
        case {"logprobs": inner} if not isinstance(inner, (str, int, float)):
            return read_unsettled(inner, SHAPES[:-1])
    return None


SHAPES: tuple[Shape, ...] = (read_parallel, read_channels, read_list, read_text, read_wrapped)
"""Every shape met so far; what is more particular comes first."""


def read_tokens(payload: object, shapes: Sequence[Shape] = SHAPES) -> Sequence[TokenLogprob] | None:
    """The tokens in a provider's payload, in order, whatever becomes of that afterwards.

    Args:
        payload: Whatever stood under `logprobs` (or `logprobs_result`, `log_probs`).
        shapes: The readers to try, in order.

    Returns:
        `()` for a payload that says there are none; `None` for one that no reader knows.
    """
    tokens = read_unsettled(payload, shapes)
    if tokens:
        settle(tokens, with_candidates=True)
    return tokens


def read_unsettled(
    payload: object, shapes: Sequence[Shape] = SHAPES
) -> Sequence[TokenLogprob] | None:
    """The same, but their candidates may stand in the payload until `settle` is called."""
    for shape in (_read_nothing, *shapes):
        try:
            tokens = shape(payload)
            if tokens is not None:
                return tokens if isinstance(tokens, Tokens) else tuple(tokens)
        except Exception:  # noqa: BLE001, S112 - a payload is any object of anybody's, and reading
            continue  # one runs its code, which may raise anything; it is then unread
    return None


def _read_nothing(payload: object) -> Iterable[TokenLogprob] | None:
    """No tokens, where a payload says so: `None`, `[]`, `{"content": None, "refusal": None}`."""
    if payload is None or (isinstance(payload, (dict, list, tuple)) and not payload):
        return ()
    fields = fields_of(payload)
    return () if fields and all(of is None for of in fields.values()) else None


def tokens_at(
    at_ns: int, payload: object, shapes: Sequence[Shape] = SHAPES
) -> tuple[TokenLogprob, ...] | None:
    """What `read_tokens` gives, with the time at which it arrived."""
    tokens = read_unsettled(payload, shapes)
    return None if tokens is None else tuple(replace(of, at_ns=at_ns) for of in tokens)


def plain_entries(payload: object) -> list[Any] | None:
    """The entries of the content, where that is all that a payload in OpenAI's shape holds."""
    if type(payload) is not dict or type(entries := payload.get("content")) is not list:
        return None
    if "tokens" in payload or "reasoning_content" in payload or payload.get("refusal"):
        return None  # another shape, or another channel
    return entries or None


def _candidates(top: object) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(readable(told.get("token"), raw := raw_from(told.get("bytes"))), logprob, raw)
        for _, logprob, told in alternatives_in(top)
    )
