"""Where LangChain's packages put a provider's logprobs, and the tokens that are read there.

A chunk or an answer has them in one of a few places, or the same ones in several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from operator import is_
from typing import Any, NamedTuple

from langchain_logprobs.core.capture import Event
from langchain_logprobs.core.columns import BLOCK, LEAST_BLOCK, plain_tokens
from langchain_logprobs.core.model import TokenLogprob
from langchain_logprobs.core.shapes import SHAPES, Shape, plain_entries, read_tokens, tokens_at

_KEYS = ("logprobs", "logprobs_result", "log_probs")
"""Where LangChain's packages put a provider's logprobs, within one mapping."""


class Read(NamedTuple):
    """Tokens that were read, and whether something was there that no reader knows."""

    tokens: tuple[TokenLogprob, ...]
    unreadable: bool


def event_tokens(event: Event, shapes: Sequence[Shape] = SHAPES) -> tuple[TokenLogprob, ...]:
    """The tokens that one token callback brought, with the time at which they arrived."""
    return read_events([event], shapes).tokens


def read_events(events: Sequence[Event], shapes: Sequence[Shape]) -> Read:
    """The tokens that token callbacks brought, with the times at which they arrived."""
    tokens: list[TokenLogprob] = []
    unreadable = False
    for at in range(0, len(events), BLOCK):
        for read in _reads(events[at : at + BLOCK], shapes):
            if read:
                tokens += read
            else:
                unreadable = unreadable or read is None
    return Read(tuple(tokens), unreadable)


def _reads(
    events: Sequence[Event], shapes: Sequence[Shape]
) -> Iterator[Sequence[TokenLogprob] | None]:
    """The tokens of events, in order; of those that are plain, of all in a row at once."""
    own_first = shapes[0] is SHAPES[0]
    firsts = [_first(event[2]) if own_first else None for event in events]
    found = list(map(plain_entries, firsts))
    start = 0
    for nothing, run in groupby(map(is_, found, repeat(None))):
        end = start + len(list(run))
        of = events[start:end]
        yield from _each(of, shapes) if nothing else _plain(of, found[start:end], shapes)
        start = end


def _each(
    events: Iterable[Event], shapes: Sequence[Shape]
) -> Iterator[Sequence[TokenLogprob] | None]:
    return (_event_tokens(event, shapes) for event in events)


def _plain(
    events: Sequence[Event], found: Sequence[Any], shapes: Sequence[Shape]
) -> Iterator[Sequence[TokenLogprob] | None]:
    """The tokens of entries that were found, at once; in halves, if one of them is unusual."""
    entries = list(chain.from_iterable(found))
    times = [event[0] for event in events]
    if len(entries) != len(times):
        times = list(chain.from_iterable(map(repeat, times, map(len, found))))
    read = plain_tokens(entries, "content", times)
    half = len(events) // 2
    if read is not None:
        yield read
    elif half < LEAST_BLOCK:
        yield from _each(events, shapes)
    else:
        yield from _plain(events[:half], found[:half], shapes)
        yield from _plain(events[half:], found[half:], shapes)


def _first(chunk: Any) -> object:
    """What is in the place where almost every chunk has its logprobs."""
    info = getattr(chunk, "generation_info", None)
    return info.get("logprobs") if type(info) is dict else None


def _event_tokens(event: Event, shapes: Sequence[Shape]) -> tuple[TokenLogprob, ...] | None:
    at_ns, _, chunk, logprobs = event
    first = _first(chunk)
    # Almost every chunk has them there, so the other places are looked for only if not.
    read = tokens_at(at_ns, first, shapes) if first is not None else None
    return read or _first_tokens(at_ns, payloads_of(chunk, logprobs), shapes)


def _first_tokens(
    at_ns: int, payloads: Iterable[object], shapes: Sequence[Shape]
) -> tuple[TokenLogprob, ...] | None:
    """The tokens of the first payload that has any; `None` if there are none and one is unread."""
    found: tuple[TokenLogprob, ...] | None = ()
    for payload in payloads:
        tokens = tokens_at(at_ns, payload, shapes)
        if tokens:
            return tokens
        found = None if tokens is None else found
    return found


def read_payloads(payloads: Iterable[object], shapes: Sequence[Shape]) -> Read:
    """The first payload with tokens: the others repeat it."""
    unreadable = False
    for payload in payloads:
        tokens = read_tokens(payload, shapes)
        if tokens:
            return Read(tokens, unreadable=False)
        unreadable = unreadable or tokens is None
    return Read((), unreadable)


def payloads_of(generation: Any, logprobs: object = None) -> Iterator[object]:
    """Whatever a generation, or a callback beside it, has in the places where logprobs are put."""
    found = [
        *_found(getattr(generation, "generation_info", None)),
        *([] if logprobs is None else [logprobs]),
        *_found(metadata_of(generation)),
    ]
    # LiteLLM's Router hands on the parameter `logprobs` itself.
    yield from (_beside(generation, of) for of in found if not isinstance(of, bool))


def _beside(generation: Any, payload: object) -> object:
    """The payload; a bare number, as Together streams them, with the text that it belongs to."""
    if isinstance(payload, float) and generation is not None:
        return {"text": text_of(generation, "text"), "logprobs": [payload]}
    return payload


def _found(mapping: object) -> Iterator[object]:
    given = mapping_of(mapping)
    yield from (given[key] for key in _KEYS if given.get(key) is not None)


def metadata_of(generation: Any) -> Mapping[str, Any]:
    """What LangChain says of the answer: its message's `response_metadata`."""
    return mapping_of(getattr(getattr(generation, "message", None), "response_metadata", None))


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value, or nothing if it is no mapping."""
    return value if isinstance(value, Mapping) else {}


def text_of(thing: Any, name: str) -> str:
    """That attribute, or nothing if it is no text."""
    value = getattr(thing, name, "")
    return value if isinstance(value, str) else ""
