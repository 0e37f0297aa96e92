"""A provider's payload to tokens: a table of small readers, first match wins.

A reader takes whatever a provider sent and gives its tokens, or `None` for "not my shape".
`read_tokens` is total: any JSON and any object, never an exception. A new provider is a file in
`tests/payloads/` and at most one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, cast

from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.model import Candidate, Channel, TokenLogprob

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
                TokenLogprob(_text(text), sound_logprob(logprob), None, _candidates(top))
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
    if not lists or not all(_are_entries(entries) for entries, _ in lists):
        return None
    return [_token(entry, channel) for entries, channel in lists for entry in entries]


def read_list(payload: object) -> Iterable[TokenLogprob] | None:
    """A flat list of entries: Ollama (pydantic objects), Vertex AI, OpenAI's Responses API."""
    if isinstance(payload, (list, tuple)) and _are_entries(payload):
        return [_token(entry) for entry in payload]
    return None


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
            return read_tokens(inner, SHAPES[:-1])
    return None


SHAPES: tuple[Shape, ...] = (read_parallel, read_channels, read_list, read_text, read_wrapped)
"""Every shape met so far; what is more particular comes first."""


def read_tokens(
    payload: object, shapes: Sequence[Shape] = SHAPES
) -> tuple[TokenLogprob, ...] | None:
    """The tokens in a provider's payload, in order.

    Args:
        payload: Whatever stood under `logprobs` (or `logprobs_result`, `log_probs`).
        shapes: The readers to try, in order.

    Returns:
        `()` for a payload that says there are none; `None` for one that no reader knows.
    """
    for shape in (_read_nothing, *shapes):
        try:
            tokens = shape(payload)
            if tokens is not None:
                return tuple(tokens)
        except Exception:  # noqa: BLE001, S112 - whose code a payload runs, nobody knows; that it
            continue  # was not read, the `None` tells
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


def _are_entries(entries: Sequence[object]) -> bool:
    """Whether these are token entries; a single one may be missing, but not all."""
    known = [fields_of(entry) for entry in entries if entry is not None]
    return all("logprob" in entry for entry in known) and (bool(known) or not entries)


def _token(entry: object, channel: Channel = "content") -> TokenLogprob:
    fields = fields_of(entry)
    raw = _raw(fields.get("bytes"))
    return TokenLogprob(
        text=_text(fields.get("token"), raw),
        logprob=sound_logprob(fields.get("logprob")),
        raw=raw,
        candidates=_candidates(fields.get("top_logprobs")),
        channel=channel,
    )


def _candidates(top: object) -> tuple[Candidate, ...]:
    if isinstance(top, dict):
        return distinct(
            Candidate(_text(text), logprob)
            for text, value in top.items()
            if (logprob := sound_logprob(value)) is not None
        )
    if isinstance(top, (list, tuple)):
        return distinct(
            candidate for entry in top if (candidate := _candidate(fields_of(entry))) is not None
        )
    return ()


def _candidate(fields: Mapping[str, Any]) -> Candidate | None:
    logprob = sound_logprob(fields.get("logprob"))
    if logprob is None:
        return None
    raw = _raw(fields.get("bytes"))
    return Candidate(_text(fields.get("token"), raw), logprob, raw)


def _text(value: object, raw: bytes | None = None) -> str:
    if not isinstance(value, str):
        return "" if raw is None else raw.decode("utf-8", "replace")
    # OpenAI writes the bytes of a split character as the text "bytes:\\xf0\\x9f".
    return raw.decode("utf-8", "replace") if raw is not None and "\\x" in value else value


def _raw(value: object) -> bytes | None:
    if not isinstance(value, (list, tuple)):
        return None
    try:
        return bytes(value) or None  # some servers write an empty list for "not known"
    except (TypeError, ValueError, OverflowError):
        return None
