"""A provider's payload to tokens: a table of small readers, first match wins.

A reader takes whatever a provider sent and gives its tokens, or `None` for "not my shape".
`read_tokens` is total: any JSON and any object, never an exception. A new provider is a file in
`tests/payloads/` and at most one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, cast

from langchain_logprobs.core.confidence import distinct, sound_logprob
from langchain_logprobs.core.model import CENSORED, Candidate, Channel, TokenLogprob

Shape = Callable[[object], Iterable[TokenLogprob] | None]
"""A payload reader; `None` means "not my shape"."""

_CANDIDATE = partial(tuple.__new__, Candidate)
"""`Candidate._make`, in half the time."""
_HELD_BACK = frozenset({"reasoning_content", "tokens"})
"""Keys of other shapes, or of a channel, with which content is not all there is to read."""
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


def tokens_at(
    at_ns: int, payload: object, shapes: Sequence[Shape] = SHAPES
) -> tuple[TokenLogprob, ...] | None:
    """What `read_tokens` gives, with the time at which it arrived."""
    try:
        plain = _plain_tokens(payload, at_ns) if shapes[0] is SHAPES[0] else None
    except Exception:  # noqa: BLE001 - as in `read_tokens`, which is asked next
        plain = None
    if plain is not None:
        return plain
    tokens = read_tokens(payload, shapes)
    return tokens and tuple(
        TokenLogprob(of.text, of.logprob, of.raw, of.candidates, of.channel, at_ns) for of in tokens
    )


def _plain_tokens(payload: object, at_ns: int) -> tuple[TokenLogprob, ...] | None:
    """What most chunks of most streams hold: content in OpenAI's shape, with nothing unusual.

    The same as `read_channels` gives, in half the time; `None` wherever the two could differ.
    """
    if type(payload) is not dict or not _HELD_BACK.isdisjoint(payload) or payload.get("refusal"):
        return None
    entries = payload.get("content")
    if type(entries) is not list:
        return None
    tokens = [_plain_token(entry, at_ns) for entry in entries]
    return None if None in tokens else cast("tuple[TokenLogprob, ...]", tuple(tokens))


def _plain_token(entry: object, at_ns: int) -> TokenLogprob | None:
    if type(entry) is not dict:
        return None
    text, logprob = entry.get("token"), entry.get("logprob")
    raw, top = entry.get("bytes"), entry.get("top_logprobs")
    if type(text) is not str or type(logprob) is not float or type(raw) is not list:
        return None
    if not CENSORED < logprob <= 0 or "\\x" in text or type(top) is not list:
        return None
    listed, raw = _plain_candidates(top), _raw(raw)
    if listed is None or raw is None:
        return None
    return TokenLogprob(text, logprob + 0.0, raw, listed, "content", at_ns)


def _are_entries(entries: Sequence[object]) -> bool:
    """Whether these are token entries; a single one may be missing, but not all."""
    known = [fields_of(entry) for entry in entries if entry is not None]
    return all("logprob" in entry for entry in known) and (bool(known) or not entries)


def _token(entry: object, channel: Channel = "content") -> TokenLogprob:
    fields = fields_of(entry)
    raw = _raw(fields.get("bytes"))
    return TokenLogprob(
        _text(fields.get("token"), raw),
        sound_logprob(fields.get("logprob")),
        raw,
        _candidates(fields.get("top_logprobs")),
        channel,
    )


def _candidates(top: object) -> tuple[Candidate, ...]:
    if isinstance(top, dict):
        return distinct(
            Candidate(_text(text), logprob)
            for text, value in top.items()
            if (logprob := sound_logprob(value)) is not None
        )
    if not isinstance(top, (list, tuple)):
        return ()
    return _plain_candidates(top) or distinct(
        candidate for entry in top if (candidate := _candidate(fields_of(entry))) is not None
    )


def _plain_candidates(top: Sequence[Any]) -> tuple[Candidate, ...] | None:
    """The candidates as OpenAI and most others list them: complete, in order, each once.

    There are up to twenty a token, and all are read while the user waits for the end of the call.
    """
    listed, known, before = [], set(), 0.0
    try:
        for entry in top:
            if type(entry) is not dict:
                return None
            text, logprob, raw = entry["token"], entry["logprob"], entry["bytes"]
            if type(text) is not str or type(logprob) is not float or type(raw) is not list:
                return None
            if not (raw and CENSORED < logprob <= before) or "\\x" in text:
                return None
            before, raw = logprob, bytes(raw)
            known.add(raw)
            listed.append(_CANDIDATE((text, logprob + 0.0, raw)))  # -0.0 would print as such
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(listed) if len(known) == len(listed) else None


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
