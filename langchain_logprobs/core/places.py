"""Where LangChain's packages put a provider's logprobs, and the tokens that are read there.

A chunk or an answer has them in one of a few places, or the same ones in several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby, repeat
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

from langchain_logprobs.core.capture import Event
from langchain_logprobs.core.columns import tokens_of_entries
from langchain_logprobs.core.said import are
from langchain_logprobs.core.shapes import SHAPES, Shape, plain_entries, read_unsettled, tokens_at
from langchain_logprobs.core.tokens import (
    TokenLogprob,
    Tokens,
    as_tuple,
    joined,
    settle,
)

_KEYS = ("logprobs", "logprobs_result", "log_probs")
"""Where LangChain's packages put a provider's logprobs, within one mapping."""


_SAMPLE = 192
"""Of so many entries in a list at the end, one is looked for among those that were streamed."""

_TIME, _TEXT, _CHUNK = itemgetter(0), itemgetter(1), itemgetter(2)
_INFO, _LOGPROBS = attrgetter("generation_info"), itemgetter("logprobs")
_CONTENT, _REFUSAL = itemgetter("content"), itemgetter("refusal")


class Read(NamedTuple):
    """Tokens that were read, and whether something was there that no reader knows."""

    tokens: Sequence[TokenLogprob]
    unreadable: bool


def event_tokens(event: Event, shapes: Sequence[Shape] = SHAPES) -> tuple[TokenLogprob, ...]:
    """The tokens that one token callback brought, with the time at which they arrived."""
    tokens = as_tuple(read_events([event], shapes).tokens)
    settle(tokens, with_candidates=True)
    return tokens


def read_events(events: Sequence[Event], shapes: Sequence[Shape]) -> Read:
    """The tokens that token callbacks brought, with the times at which they arrived."""
    own_first = shapes[0] is SHAPES[0]
    parts: list[Sequence[TokenLogprob]] = []
    unreadable = False
    left = list(_runs(events) if own_first else [(events, None)])[::-1]
    while left:
        run, found = left.pop()
        tokens = _tokens(*_flat(run, found)) if found else None
        if tokens is not None:
            parts.append(tokens)
        elif found and len(run) > 1:  # one in which something else is keeps no more than a few
            half = len(run) // 2
            left += (run[half:], found[half:]), (run[:half], found[:half])
        else:
            for event in run:
                read = _event_tokens(event, shapes)
                unreadable = unreadable or read is None
                parts.append(read or ())
    return Read(joined(filter(len, parts)), unreadable)


def _tokens(entries: Sequence[object], times: Iterable[int]) -> Tokens | None:
    """The tokens of these; `None` if one is no entry, or cannot be read."""
    read = partial(tokens_of_entries, times=times, gaps=False)
    tokens = read_unsettled(entries, (read,))
    return tokens if isinstance(tokens, Tokens) else None


def read_at_once(events: Sequence[Event]) -> Sequence[TokenLogprob] | None:
    """What `read_events` gives; `None` if that could run anybody's code, or take its time."""
    parts: list[Sequence[TokenLogprob]] = []
    for run, found in _runs(events):
        if found:
            tokens = tokens_of_entries(*_flat(run, found), gaps=False, json=True)
            if tokens is None:
                return None
            parts.append(tokens)
        elif any(map(_says_something, run)):
            return None
    return joined(parts)


def _flat(events: Sequence[Event], found: Sequence[list[Any]]) -> tuple[list[Any], list[int]]:
    """The entries that were found in events, and when each arrived."""
    entries = list(chain.from_iterable(found))
    times = list(map(_TIME, events))
    if len(entries) != len(times):
        times = list(chain.from_iterable(map(repeat, times, map(len, found))))
    return entries, times


def _says_something(event: Event) -> bool:
    _, _, chunk, logprobs = event
    return any(read_unsettled(of, ()) is None for of in payloads_of(chunk, logprobs))


def read_together(
    events: Sequence[Event], generation: object, shapes: Sequence[Shape]
) -> Sequence[TokenLogprob]:
    """What `read_events` gives, read off the end of the call, where that has it in one list.

    LangChain puts the very entries together there that were streamed. To read one list takes less
    time than to find each entry in a chunk of its own.

    Returns:
        Nothing, unless every event that brought some text brought an entry of that very text, the
        others brought none, and entries here and there in the list are the very ones that came with
        the event.
    """
    entries = plain_entries(_first(generation)) if shapes[0] is SHAPES[0] else None
    texts = list(filter(None, map(_TEXT, events)))
    said = events if len(texts) == len(events) else [event for event in events if event[1]]
    if not entries or len(entries) != len(said):
        return ()
    if len(said) != len(events) and any(_says_something(event) for event in events if not event[1]):
        return ()
    if not all(_came_with(said[at], entries[at]) for at in (*range(0, len(entries), _SAMPLE), -1)):
        return ()
    tokens = _tokens(entries, map(_TIME, said))
    return tokens if tokens is not None and texts == tokens.texts else ()


def _came_with(event: Event, entry: object) -> bool:
    """Whether an event brought this very entry, and no other."""
    found = plain_entries(_first(event[2]))
    return found is not None and len(found) == 1 and found[0] is entry


def _runs(events: Sequence[Event]) -> Iterable[tuple[Sequence[Event], list[list[Any]] | None]]:
    """The events in which plain entries were found, with these; and between them the others."""
    chunks = list(map(_CHUNK, events))
    found = _every_plain(chunks)
    if found is not None:
        yield events, found
        return
    each = [plain_entries(_first(chunk)) for chunk in chunks]
    start = 0
    for is_other, run in groupby(map(is_, each, repeat(None))):
        end = start + len(list(run))
        entries = [of for of in each[start:end] if of is not None]
        yield events[start:end], None if is_other else entries
        start = end


def _every_plain(chunks: Sequence[Any]) -> list[list[Any]] | None:
    """What `plain_entries` gives for each; `None` if one has none, or is somehow unusual."""
    try:
        infos = list(map(_INFO, chunks))
        if not are(infos, dict) or not are(payloads := list(map(_LOGPROBS, infos)), dict):
            return None
        found = list(map(_CONTENT, payloads))
        sizes = set(map(len, payloads))
        # Beside the content, at the most a refusal that is none: no other shape, no other channel.
        is_plain = sizes == {1} or (sizes == {2} and not any(map(_REFUSAL, payloads)))
    except (AttributeError, KeyError):
        return None
    return found if is_plain and are(found, list) and all(found) else None


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
        tokens = read_unsettled(payload, shapes)
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
