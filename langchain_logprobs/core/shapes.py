"""A provider's payload to tokens: a table of small readers, first match wins.

A reader takes whatever a provider sent and gives its tokens, or `None` for "not my shape".
`read_tokens` is total: any JSON and any object, never an exception. A new provider is a file in
`tests/payloads/` and at most one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, zip_longest
from typing import Any, cast

from langchain_logprobs.core.columns import STRIDE, Reading, in_pieces
from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.tokens import (
    Candidate,
    Channel,
    TokenLogprob,
    Tokens,
    raw_from,
    readable,
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
    read = [read_entries(entries, channel) for entries, channel in lists]
    if not read or any(of is None for of in read):
        return None
    found = [of for of in read if of]
    return found[0] if len(found) == 1 else chain.from_iterable(found)


def read_list(payload: object) -> Iterable[TokenLogprob] | None:
    """A flat list of entries: Ollama (pydantic objects), Vertex AI, OpenAI's Responses API."""
    return read_entries(payload) if isinstance(payload, (list, tuple)) else None


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


def fields_of(entry: object) -> Mapping[str, Any]:
    """A dict as it is, any other object's attributes: no property and no `__getattr__` is run."""
    if issubclass(type(entry), dict):  # isinstance() asks the object itself for its class
        return cast("dict[str, Any]", entry)
    try:
        fields = object.__getattribute__(entry, "__dict__")
    except AttributeError:
        return {}
    return fields if isinstance(fields, Mapping) else {}


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


def read_entries(
    entries: Sequence[Any], channel: Channel = "content"
) -> Sequence[TokenLogprob] | None:
    """The tokens of a list of entries; `None` if these are none."""
    reading, are_entries = Reading(channel), False
    for at in range(0, len(entries), STRIDE):
        stride = list(entries[at : at + STRIDE])
        if reading.add_entries(stride):
            continue
        are_entries = are_entries or _are_entries(entries)
        if not are_entries:
            return None
        for part in in_pieces(len(stride), partial(_add_part, reading, stride)):
            reading.add_tokens([_token(entry, channel) for entry in stride[part]])
    return reading.tokens()


def _add_part(reading: Reading, entries: list[Any], part: slice) -> bool:
    return reading.add_entries(entries[part])


def _are_entries(entries: Sequence[object]) -> bool:
    """Whether these are token entries; a single one may be missing, but not all."""
    known = [fields_of(entry) for entry in entries if entry is not None]
    return all("logprob" in entry for entry in known) and (bool(known) or not entries)


def _token(entry: object, channel: Channel = "content") -> TokenLogprob:
    fields = fields_of(entry)
    raw = raw_from(fields.get("bytes"))
    return TokenLogprob(
        readable(fields.get("token"), raw),
        sound_logprob(fields.get("logprob")),
        raw,
        _candidates(fields.get("top_logprobs")),
        channel,
    )


def _candidates(top: object) -> tuple[Candidate, ...]:
    if isinstance(top, dict):
        return distinct(
            Candidate(readable(text, None), logprob)
            for text, value in top.items()
            if (logprob := sound_logprob(value)) is not None
        )
    if not isinstance(top, (list, tuple)):
        return ()
    return distinct(
        candidate for entry in top if (candidate := _candidate(fields_of(entry))) is not None
    )


def _candidate(fields: Mapping[str, Any]) -> Candidate | None:
    logprob = sound_logprob(fields.get("logprob"))
    if logprob is None:
        return None
    raw = raw_from(fields.get("bytes"))
    return Candidate(readable(fields.get("token"), raw), logprob, raw)
