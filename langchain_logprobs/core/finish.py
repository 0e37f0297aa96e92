"""What was heard of a call, to the finished call.

LangChain hands the same logprobs over in up to three places, in the token callbacks and again at
the end; they are taken once: what was streamed wins, and the end counts where it has more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from langchain_logprobs.core.capture import Event, OpenCall, ReadAhead
from langchain_logprobs.core.columns import fields_of
from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.measures import take_measures
from langchain_logprobs.core.model import (
    Completion,
    ModelCall,
    Outcome,
    Source,
    completion,
    tokens_of,
)
from langchain_logprobs.core.places import (
    Read,
    mapping_of,
    metadata_of,
    payloads_of,
    read_events,
    read_payloads,
    read_together,
    text_of,
)
from langchain_logprobs.core.report import Unavailable
from langchain_logprobs.core.shapes import SHAPES, Shape
from langchain_logprobs.core.tokens import (
    TokenLogprob,
    Tokens,
    channels_of,
    joined,
    logprobs_of,
)

_NESTED = ("model_kwargs", "extra_body")
"""Parameters in which others are handed through to the provider."""
Guard = Callable[[str, Callable[[], "Finished"]], "Finished | None"]
"""Calls a function in the name of some part, and gives `None` where it raises."""


class Finished(NamedTuple):
    """A finished call, and why it has no confidence, if it has none."""

    call: ModelCall
    unavailable: Unavailable | None


def finish(
    call: OpenCall,
    *,
    outcome: Outcome,
    ended_ns: int,
    error: str | None = None,
    response: Any = None,
    shapes: Sequence[Shape] = SHAPES,
    max_tokens: int = 200_000,
) -> Finished:
    """The finished call.

    Args:
        call: What was heard of it.
        outcome: How it ended.
        ended_ns: When, in nanoseconds since the epoch.
        error: The exception's type, if there was one.
        response: LangChain's `LLMResult`, whole or partial, if there is one.
        shapes: Payload readers, tried in order.
        max_tokens: Tokens beyond this number are counted, not kept.
    """
    generations = _generations(response)
    overflow = call.overflow // call.told
    streamed = _streamed(call, generations, shapes)
    heard = len(streamed.tokens) + overflow
    has_more = not heard or sum(map(_entries, generations)) > heard
    ended = [read_payloads(payloads_of(of), shapes) for of in generations] if has_more else []
    by_end = bool(ended) and (not heard or sum(len(read.tokens) for read in ended) > heard)
    kept, cut = _within(max_tokens, [read.tokens for read in (ended if by_end else [streamed])])
    finished = ModelCall(
        run_id=call.run_id,
        root_run_id=call.root_run_id,
        parent_run_id=call.parent_run_id,
        root_name=call.root_name,
        root_started_ns=call.root_started_ns,
        model=call.model,
        provider=call.provider,
        operation=call.operation,
        started_ns=call.started_ns,
        ended_ns=ended_ns,
        completions=_completions(kept, generations, _heard(call), is_whole=outcome == "ok"),
        outcome=outcome,
        error=error,
        source=_source(kept, by_end=by_end),
        truncated=cut if by_end else cut + overflow,
        metadata=call.metadata,
        parameters=call.parameters,
        **_description(generations, response, shares_usage=call.shares_usage),
    )
    unreadable = streamed.unreadable or any(read.unreadable for read in ended)
    return Finished(finished, _why_unavailable(finished, call, generations, unreadable=unreadable))


def _streamed(call: OpenCall, generations: Sequence[Any], shapes: Sequence[Shape]) -> Read:
    """What was streamed."""
    events = _heard(call)
    if call.told == 1 and call.ahead:
        return _with_ahead(tuple(call.ahead), events, shapes)  # what follows comes too late
    together = read_together(events, generations[0], shapes) if len(generations) == 1 else ()
    return Read(together, unreadable=False) if together else read_events(events, shapes)


def _with_ahead(
    ahead: Sequence[ReadAhead], events: Sequence[Event], shapes: Sequence[Shape]
) -> Read:
    """What was read ahead, and the rest."""
    parts, unreadable, end = [], False, 0
    for count, known in (*ahead, ReadAhead(len(events), None)):
        start, end = end, end + count
        tokens = known
        if tokens is None:
            tokens, is_unread = read_events(events[start:end], shapes)
            unreadable = unreadable or is_unread
            if isinstance(tokens, Tokens):
                take_measures(tokens)  # as those have been: they stay side by side
        parts.append(tokens)
    return Read(joined(filter(None, parts)), unreadable)


def _heard(call: OpenCall) -> Sequence[Event]:
    """The events of a call, each once."""
    return call.events if call.told == 1 else call.events[:: call.told]


def finish_guarded(call: OpenCall, guard: Guard, *, response: Any = None, **how: Any) -> Finished:
    """What `finish` gives, whatever code of its own an answer runs where it is looked at.

    Args:
        call: What was heard of it.
        guard: Calls a function, and gives `None` where that raises.
        response: As in `finish`.
        how: The rest of what `finish` takes.
    """
    unread = replace(call, ahead=[])
    ways = [
        partial(finish, call, response=response, **how),
        *([partial(finish, unread, response=response, **how)] if call.ahead else ()),
        partial(finish, unread, **how),
    ]
    found = (finished for way in ways if (finished := guard("handler", way)) is not None)
    return next(found, None) or Finished(
        finish(replace(unread, events=[]), **how).call, "unreadable"
    )


def asks_for_logprobs(*parameters: Mapping[str, Any]) -> bool:
    """Whether a model was asked for logprobs, in the words of whichever provider."""
    nested = [mapping_of(given.get(name)) for given in parameters for name in _NESTED]
    return any(map(_asks, [*parameters, *nested]))


def _asks(given: Mapping[str, Any]) -> bool:
    logprobs, include = given.get("logprobs"), given.get("include")
    return (
        (logprobs is not None and logprobs is not False)  # 0: the chosen tokens' own
        or bool(given.get("top_logprobs") or given.get("response_logprobs"))
        or (isinstance(include, (list, tuple)) and "message.output_text.logprobs" in include)
    )


def _entries(generation: Any) -> int:
    """About how many tokens a generation's payloads say it has, without reading them."""
    return max(map(_entries_in, payloads_of(generation)), default=0)


def _entries_in(payload: object) -> int:
    match payload:
        case {"tokens": [*entries], "token_logprobs": [*_]} | [*entries]:
            return len(entries)
    return sum(len(of) for of in fields_of(payload).values() if isinstance(of, (list, tuple)))


def _within(
    limit: int, sequences: Sequence[Sequence[TokenLogprob]]
) -> tuple[list[Sequence[TokenLogprob]], int]:
    """The sequences, together at most `limit` tokens long, and how many that left out."""
    kept, left = [], limit
    for tokens in sequences:
        kept.append(tokens if len(tokens) <= left else tokens[:left])
        left -= len(kept[-1])
    return kept, sum(map(len, sequences)) - (limit - left)


def _completions(
    sequences: Sequence[Sequence[TokenLogprob]],
    generations: Sequence[Any],
    events: Sequence[Event],
    *,
    is_whole: bool,
) -> tuple[Completion, ...]:
    heads = [*generations, *[None] * len(sequences)][: len(sequences)]
    completions = tuple(
        completion(
            tokens,
            _text(generation, events, is_whole=is_whole),
            tuple(_tool_calls(generation)),
            _finish_reason(generation),
        )
        for tokens, generation in zip(sequences, heads, strict=True)
    )
    return completions if any(sequences) or any(of != Completion() for of in completions) else ()


def _text(generation: Any, events: Iterable[Event], *, is_whole: bool) -> str:
    """What was said: of an answer that was broken off, all that was streamed."""
    said = text_of(generation, "text")
    if is_whole and generation is not None:
        return said
    streamed = _streamed_text(events)
    # LangChain tells of a piece before it keeps it: what is broken off there lacks the last one.
    return streamed if streamed.startswith(said) else said


def _streamed_text(events: Iterable[Event]) -> str:
    return "".join(
        text if isinstance(text := getattr(chunk, "text", token), str) else ""
        for _, token, chunk, _ in events
    )


def _tool_calls(generation: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for call in getattr(getattr(generation, "message", None), "tool_calls", None) or ():
        match call:
            case {"name": str(name), "args": Mapping() as arguments}:
                yield name, arguments


def _finish_reason(generation: Any) -> str | None:
    info = mapping_of(getattr(generation, "generation_info", None))
    metadata = metadata_of(generation)
    for key in ("finish_reason", "stop_reason", "done_reason"):
        reason = info.get(key) or metadata.get(key)
        if isinstance(reason, str):
            return reason
    return None


def _description(
    generations: Sequence[Any], response: Any, *, shares_usage: bool
) -> dict[str, Any]:
    """What the provider says of its answer: its model, its id, how many tokens it counted."""
    generation = generations[0] if generations else None
    metadata = metadata_of(generation)
    output = mapping_of(getattr(response, "llm_output", None))
    usage = mapping_of(getattr(getattr(generation, "message", None), "usage_metadata", None))
    counted = {} if shares_usage else mapping_of(output.get("token_usage"))
    return {
        "response_model": _first_str(metadata.get("model_name"), output.get("model_name")),
        "response_id": _first_str(metadata.get("id"), output.get("id")),
        "input_tokens": _first_int(usage.get("input_tokens"), counted.get("prompt_tokens")),
        "output_tokens": _first_int(usage.get("output_tokens"), counted.get("completion_tokens")),
    }


def _why_unavailable(
    finished: ModelCall, call: OpenCall, generations: Sequence[Any], *, unreadable: bool
) -> Unavailable | None:
    answer = finished.completions[0] if finished.completions else Completion()
    channels = channels_of(tokens := tokens_of(answer))
    if "content" in channels:
        content = tokens if len(channels) == 1 else [of for of in tokens if of.channel == "content"]
        if finished.source == "stream" and (_int(finished.parameters.get("n")) or 1) > 1:
            return "choices_interleaved"
        if finished.source == "end" and _is_rest(content, answer.text, generations[0]):
            return "incomplete"
        return None if any(of is not None for of in logprobs_of(content)) else "no_numbers"
    lost = call.lost.get(_way(call, generations))
    reasons: list[tuple[Unavailable | None, bool]] = [
        ("refusal", "refusal" in channels),
        ("unreadable", unreadable),
        ("no_answer", finished.outcome != "ok" and not (answer.text or answer.tool_calls)),
        ("dropped_by_langchain", _without_chunks(call)),
        ("not_requested", not call.requested),
        (lost, lost is not None),
        ("provider_omits_tool_logprobs", bool(answer.tool_calls)),
    ]
    return next((reason for reason, holds in reasons if holds), "not_sent")


def _is_rest(content: Sequence[TokenLogprob], text: str, generation: Any) -> bool:
    """Whether these are only the last tokens of an answer.

    LangChain's v3 protocol leaves an answer the logprobs of its last chunk, and where LangGraph has
    a model stream by it, that is what the model's cache hands out from then on.
    """
    if metadata_of(generation).get("output_version") != "v1":
        return False
    known, whole = b"".join(map(identity, content)), text.encode("utf-8", "surrogatepass")
    return len(known) < len(whole) and whole.endswith(known)


def _without_chunks(call: OpenCall) -> bool:
    """Whether a chat model was streamed by the v3 protocol with no chunk to show (Ollama)."""
    return call.operation == "chat" and any(
        chunk is None and token for _, token, chunk, _ in call.events
    )


def _way(call: OpenCall, generations: Iterable[Any]) -> str:
    """The way the call was made, in the words of `OpenCall.lost`."""
    if any(metadata_of(of).get("object") == "response" for of in generations):
        return "responses_api"
    return "stream" if call.events else "whole"


def _source(sequences: Iterable[Sequence[TokenLogprob]], *, by_end: bool) -> Source | None:
    if not any(sequences):
        return None
    return "end" if by_end else "stream"


def _generations(response: Any) -> list[Any]:
    match getattr(response, "generations", None):
        case [[*generations], *_]:
            return generations
    return []


def _first_str(*values: object) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)


def _first_int(*values: object) -> int | None:
    return next((number for value in values if (number := _int(value)) is not None), None)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
