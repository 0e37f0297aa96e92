"""What was heard of a call, to the call: once, whole, and however it was cut up on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
    LLMResult,
)
from langchain_core.runnables import RunnableLambda
from langchain_openai import OpenAI

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.core.capture import Event, OpenCall
from langchain_logprobs.core.confidence import identity
from langchain_logprobs.core.finish import Finished, asks_for_logprobs, finish
from langchain_logprobs.core.model import Completion
from langchain_logprobs.core.places import event_tokens, read_events, read_together
from langchain_logprobs.core.report import Unavailable, call_report
from langchain_logprobs.core.shapes import SHAPES
from langchain_logprobs.core.tokens import Candidate, Channel, TokenLogprob, Tokens
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer, token

RUN = UUID(int=7)
PLACES = ("generation_info", "kwargs", "response_metadata")


def open_call(*events: Event, **given: Any) -> OpenCall:
    return OpenCall(
        **{
            "run_id": RUN,
            "root_run_id": RUN,
            "parent_run_id": None,
            "started_ns": 1,
            "operation": "chat",
            "model": "m",
            "provider": "p",
            "requested": True,
            "metadata": {},
            "parameters": {},
            "events": list(events),
            **given,
        }
    )


def finished(call: OpenCall, response: Any = None, **given: Any) -> Finished:
    return finish(call, **{"outcome": "ok", "ended_ns": 99, "response": response, **given})


def said(text: str, logprob: float | None = -0.5, channel: Channel = "content") -> TokenLogprob:
    return TokenLogprob(text, logprob, text.encode(), (), channel)


def payload(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Tokens as OpenAI's chat API writes them."""
    keys: dict[Channel, str] = {"reasoning": "reasoning_content"}
    lists: dict[str, Any] = {"content": [], "refusal": None}
    for of in tokens:
        key = keys.get(of.channel, of.channel)
        top = [{"token": c.text, "logprob": c.logprob} for c in of.candidates]
        entry = {"token": of.text, "logprob": of.logprob, "bytes": list(identity(of))}
        lists[key] = [*(lists.get(key) or []), {**entry, "top_logprobs": top}]
    return lists


def chunk(text: str = "", info: Any = None, metadata: Any = None, **message: Any) -> Any:
    return ChatGenerationChunk(
        message=AIMessageChunk(content=text, response_metadata=metadata or {}, **message),
        generation_info=info,
    )


def heard(at_ns: int, tokens: Sequence[TokenLogprob], places: Sequence[str] = PLACES[:1]) -> Event:
    """A token callback that brings these tokens, with the same datum in each of the places."""
    datum = {"logprobs": payload(tokens)}
    text = "".join(of.text for of in tokens if of.channel == "content")
    chunk_of = chunk(
        text,
        datum if "generation_info" in places else None,
        datum if "response_metadata" in places else None,
    )
    return at_ns, text, chunk_of, datum["logprobs"] if "kwargs" in places else None


def ended(*answers: Sequence[TokenLogprob] | None, **output: Any) -> LLMResult:
    """The end of a call, with these answers; `None` for one without logprobs."""
    generations = [
        ChatGeneration(
            message=AIMessage(
                content="".join(of.text for of in tokens or () if of.channel == "content")
            ),
            generation_info={"finish_reason": "stop"}
            | ({} if tokens is None else {"logprobs": payload(tokens)}),
        )
        for tokens in answers
    ]
    return LLMResult(generations=[generations], llm_output=output or None)


def untimed(tokens: Sequence[TokenLogprob]) -> list[TokenLogprob]:
    return [replace(of, at_ns=None) for of in tokens]


def tokens_of(of: Finished) -> list[TokenLogprob]:
    return [token for completion in of.call.completions for token in completion.tokens]


# However it was cut

TOKENS = st.builds(
    TokenLogprob,
    text=st.sampled_from(["a", " b", "é", "{", "\n"]),
    logprob=st.one_of(st.none(), st.floats(-10, 0).map(lambda of: of + 0.0)),
    raw=st.none(),
    candidates=st.lists(
        st.builds(Candidate, st.sampled_from("xyz"), st.floats(-9, -0.1), st.none()),
        max_size=3,
        unique_by=lambda of: of.text,
    ).map(lambda of: tuple(sorted(of, key=lambda c: -c.logprob))),
).map(lambda of: replace(of, raw=of.text.encode()))
NOTHING: list[tuple[str, Any, Any]] = [
    ("", chunk("", {"logprobs": {"content": [], "refusal": None}}), None),  # the role
    ("", chunk("", {"finish_reason": "stop", "model_name": "m"}), None),
    (
        "",
        chunk(usage_metadata=UsageMetadata(input_tokens=1, output_tokens=2, total_tokens=3)),
        None,
    ),
    ("", chunk("", None, {"logprobs": None}), {"content": None, "refusal": None}),
    ("", None, None),  # the synthetic last one
]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[TokenLogprob], list[Event]]:
    """A sequence of tokens, and token callbacks that bring it, cut anywhere."""
    tokens = draw(st.lists(TOKENS, min_size=1, max_size=12))
    events: list[Event] = []
    at = 0
    while at < len(tokens):
        if draw(st.booleans()):
            events.append((len(events), *draw(st.sampled_from(NOTHING))))
        size = draw(st.integers(1, 4))
        places = draw(st.sets(st.sampled_from(PLACES), min_size=1))
        events.append(heard(len(events), tokens[at : at + size], sorted(places)))
        at += size
    events += [(len(events), *of) for of in draw(st.lists(st.sampled_from(NOTHING), max_size=3))]
    return tokens, events


@given(streams(), st.integers(0, 3), st.integers(1, 3))
def test_however_it_was_cut_into_chunks_it_is_one_call(
    stream: tuple[list[TokenLogprob], list[Event]], end: int, told: int
) -> None:
    tokens, events = stream
    ends: list[Any] = [
        None,  # a provider's error before any merge
        ended(tokens),
        ended(tokens[-1:]),  # the v3 protocol: the last chunk's alone
        ended(None),
    ]
    # A handler that is listed twice in the callbacks is told everything twice.
    call = open_call(*[event for event in events for _ in range(told)], told=told)

    of = finished(call, ends[end])

    (completion,) = of.call.completions
    assert untimed(completion.tokens) == tokens
    assert (of.call.source, of.call.truncated) == ("stream", 0)
    assert completion.text == "".join(token.text for token in tokens) or end > 1
    at_end = finished(open_call(), ended(tokens))
    assert call_report(of.call).confidence == call_report(at_end.call).confidence
    assert of.unavailable == at_end.unavailable
    assert call.events[0] == events[0]


@given(streams())
def test_each_token_arrived_when_its_chunk_did(
    stream: tuple[list[TokenLogprob], list[Event]],
) -> None:
    tokens, events = stream

    (completion,) = finished(open_call(*events)).call.completions

    expected = [at for at, *_ in events for _ in event_tokens(events[at])]
    assert [of.at_ns for of in completion.tokens] == expected
    assert len(expected) == len(tokens)


def merged(entries: Sequence[dict[str, Any]]) -> ChatGeneration:
    """What LangChain makes of these at the end of a stream."""
    info = {"logprobs": {"content": list(entries), "refusal": None}}
    return ChatGeneration(
        message=AIMessage("".join(of["token"] for of in entries)), generation_info=info
    )


def streamed(entry: dict[str, Any], at: int, text: str | None = None) -> Event:
    """The event of one entry."""
    text = entry["token"] if text is None else text
    info = {"logprobs": {"content": [entry], "refusal": None}}
    chunk = ChatGenerationChunk(message=AIMessageChunk(text), generation_info=info)
    return (at, text, chunk, None)


def entries_of(texts: str) -> list[dict[str, Any]]:
    """An entry for each character, with itself and another as its candidates."""
    tops = [
        [
            {"token": text, "logprob": logprob, "bytes": list(text.encode())}
            for text, logprob in ((text, -0.1 - at), ("#", -999.0))
        ]
        for at, text in enumerate(texts)
    ]
    return [{**top[0], "top_logprobs": top} for top in tops]


@given(st.text("ab?", min_size=1, max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_what_the_end_has_together_is_what_was_streamed(texts: str, silent: list[int]) -> None:
    entries = entries_of(texts)
    events = [streamed(entry, at) for at, entry in enumerate(entries)]
    for at in silent:  # a role, the finish, the usage
        events.insert(at, (1000, "", ChatGenerationChunk(message=AIMessageChunk("")), None))

    together = read_together(events, merged(entries), SHAPES)

    assert together == read_events(events, SHAPES).tokens
    assert len(together) == len(texts)


@pytest.mark.parametrize("unusual", [{"bytes": None}, {"logprob": None}, {"logprob": -1}])
def test_an_unusual_entry_is_read_off_the_end_as_any_other(unusual: dict[str, Any]) -> None:
    entries = entries_of("ab" * 100)
    entries[3].update(unusual)
    events = [streamed(entry, at) for at, entry in enumerate(entries)]

    together = read_together(events, merged(entries), SHAPES)

    assert isinstance(together, Tokens)
    assert together == read_events(events, SHAPES).tokens


@pytest.mark.parametrize("odd", [None, {"token": "?"}])
def test_an_entry_that_is_none_leaves_the_rest_in_columns(odd: object) -> None:
    events = [streamed(entry, at) for at, entry in enumerate(entries_of("ab" * 100))]
    chunk = ChatGenerationChunk(
        message=AIMessageChunk("?"), generation_info={"logprobs": {"content": [odd]}}
    )

    read = read_events([*events[:99], (99, "?", chunk, None), *events[99:]], SHAPES)

    assert isinstance(read.tokens, Tokens)
    assert read.tokens == read_events(events, SHAPES).tokens
    assert read.unreadable


def others() -> Iterator[tuple[list[Event], ChatGeneration]]:
    """Ends that are not what was streamed, or do not tell of which event an entry is."""
    entries = entries_of("ab" * 100)
    events = [streamed(entry, at) for at, entry in enumerate(entries)]
    yield events[1:], merged(entries)
    yield events, merged(entries[1:])
    yield events, merged([{**entry, "logprob": -1.0} for entry in entries])
    yield events, merged([*entries[:1], *entries[2:], entries[1]])
    yield events, merged([*entries[:-1], dict(entries[-1])])
    yield [streamed(entries[0], 0, "b"), *events[1:]], merged(entries)
    yield [streamed(entries[0], 0, ""), *events[1:]], merged(entries)
    yield [], merged(entries)


@pytest.mark.parametrize("case", range(8))
def test_only_what_was_streamed_is_read_off_the_end(case: int) -> None:
    events, end = list(others())[case]

    assert len(list(others())) == 8
    assert read_together(events, end, SHAPES) == ()
    assert read_together(events, end, (lambda _: None, *SHAPES)) == ()


@given(streams(), st.integers(1, 14), st.booleans())
def test_tokens_beyond_the_bound_are_counted_and_none_is_counted_twice(
    stream: tuple[list[TokenLogprob], list[Event]], most: int, with_end: object
) -> None:
    tokens, events = stream
    response = ended(tokens) if with_end else None

    for of in (
        finished(open_call(*events), response, max_tokens=most),
        finished(open_call(), ended(tokens), max_tokens=most),
    ):
        kept = tokens_of(of)
        assert untimed(kept) == tokens[:most]
        assert len(kept) + of.call.truncated == len(tokens)


@pytest.mark.parametrize("chunks", [(1,), (2,), (3, 1), (7,)])
@pytest.mark.parametrize("most", [1, 3, 6, 7, 100])
@pytest.mark.parametrize("way", ["stream", "invoke"])
def test_the_handler_keeps_as_many_as_it_may_and_counts_the_rest(
    way: str, most: int, chunks: tuple[int, ...]
) -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], max_tokens=most, raise_errors=True)
    model = ScriptedChatModel(answers=[answer(*"abcdefg", chunks=chunks)])

    for _ in getattr(model, way)("", {"callbacks": [handler]}):
        pass

    (report,) = sink.calls
    assert [of.text for of in report.tokens] == list("abcdefg")[:most]
    assert report.call.truncated == max(0, 7 - most)


def test_a_stream_far_beyond_the_bound_is_counted_to_the_last_token() -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], max_tokens=5, raise_errors=True)

    list(
        ScriptedChatModel(answers=[answer(*["t"] * 500, chunks=(2,))]).stream(
            "", {"callbacks": [handler]}
        )
    )

    (report,) = sink.calls
    assert (len(report.tokens), report.call.truncated) == (5, 495)
    assert report.call.source == "stream"


def test_a_handler_that_is_listed_twice_counts_everything_once() -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], raise_errors=True)
    chain = RunnableLambda(str) | ScriptedChatModel(answers=[answer("a", "b")])

    list(chain.stream("", {"callbacks": [handler, handler]}))
    chain.invoke("", {"callbacks": [handler, handler]})

    assert [[of.text for of in report.tokens] for report in sink.calls] == [["a", "b"]] * 2
    assert [len(tree.calls) for tree in sink.trees] == [1, 1]
    assert handler.is_idle()


# What wins


def test_the_end_counts_where_it_has_more() -> None:
    tokens = [said("a"), said("b"), said("c")]

    of = finished(open_call(heard(5, tokens[:2])), ended(tokens))

    assert tokens_of(of) == tokens
    assert of.call.source == "end"


def test_what_streamed_wins_where_the_end_has_other_numbers() -> None:
    of = finished(open_call(heard(5, [said("a", -1.0)])), ended([said("a", -2.0)]))

    assert tokens_of(of) == [replace(said("a", -1.0), at_ns=5)]


def test_an_end_that_only_seems_to_have_more_does_not_count() -> None:
    metadata = {"logprobs": {"content": [1, 2, 3]}}  # three entries that no reader knows
    end = LLMResult(
        generations=[[ChatGeneration(message=AIMessage("a", response_metadata=metadata))]]
    )

    of = finished(open_call(heard(5, [said("a")])), end)

    assert (untimed(tokens_of(of)), of.call.source) == ([said("a")], "stream")
    assert of.unavailable is None


@pytest.mark.parametrize(
    "more",
    [
        payload([said("a"), said("b")]),
        payload([said("a"), said("b")])["content"],
        {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.5]},
        SimpleNamespace(**payload([said("a"), said("b")])),
    ],
)
@pytest.mark.parametrize("key", ["logprobs", "logprobs_result", "log_probs"])
def test_an_end_has_more_in_whatever_shape_and_place(more: Any, key: str) -> None:
    empty = {"logprobs": {"content": []}}
    end = LLMResult(generations=[[Generation(text="ab", generation_info=empty | {key: more})]])

    of = finished(open_call(heard(5, [said("a")])), end)

    assert [token.text for token in tokens_of(of)] == ["a", "b"]


def test_each_answer_of_a_call_is_its_own_completion() -> None:
    of = finished(open_call(parameters={"n": 2}), ended([said("a")], [said("b"), said("c")]))

    assert [completion.text for completion in of.call.completions] == ["a", "bc"]
    assert of.unavailable is None


def test_an_empty_answer_keeps_its_place() -> None:
    generations = [[Generation(text=""), Generation(text="b")]]

    of = finished(open_call(), LLMResult(generations=generations))

    assert of.call.completions == (Completion(), Completion(text="b"))


def test_the_bound_is_for_all_answers_together() -> None:
    of = finished(open_call(), ended([said("a")] * 3, [said("b")] * 3), max_tokens=4)

    assert [len(completion.tokens) for completion in of.call.completions] == [3, 1]
    assert of.call.truncated == 2


def test_tokens_handed_over_without_a_chunk_are_read() -> None:
    logprobs = {"tokens": [" Hi"], "token_logprobs": [-0.4]}

    of = finished(open_call((3, " Hi", None, logprobs), operation="text_completion"))

    assert of.call.completions == (Completion((TokenLogprob(" Hi", -0.4, at_ns=3),), text=" Hi"),)
    assert of.unavailable is None


def test_without_an_end_the_text_is_what_streamed() -> None:
    blocks = [{"type": "text", "text": "x"}]
    events: list[Event] = [
        (1, "a", chunk("a"), None),
        (2, "b", None, None),
        (3, blocks, None, None),
        (4, "ignored", GenerationChunk(text="c"), None),
    ]

    assert finished(open_call(*events)).call.completions == (Completion(text="abc"),)


def test_a_call_that_nothing_was_heard_of_has_no_completions() -> None:
    of = finished(open_call(), outcome="abandoned")

    assert (of.call.completions, of.call.source) == ((), None)


# What the provider says of it


def test_the_end_describes_the_answer() -> None:
    usage = UsageMetadata(input_tokens=3, output_tokens=4, total_tokens=7)
    calls = [ToolCall(name="look", args={"at": "x"}, id="1")]
    message = AIMessage(
        "a",
        tool_calls=calls,
        usage_metadata=usage,
        response_metadata={"model_name": "m-2026", "id": "chatcmpl-1"},
    )
    end = LLMResult(
        generations=[[ChatGeneration(message=message, generation_info={"finish_reason": "stop"})]]
    )

    of = finished(open_call(), end, error="X", outcome="error").call

    assert (of.response_model, of.response_id) == ("m-2026", "chatcmpl-1")
    assert (of.input_tokens, of.output_tokens) == (3, 4)
    assert of.completions == (Completion((), "a", (("look", {"at": "x"}),), "stop"),)
    assert (of.started_ns, of.ended_ns, of.outcome, of.error) == (1, 99, "error", "X")


@pytest.mark.parametrize("key", ["finish_reason", "stop_reason", "done_reason"])
@pytest.mark.parametrize("place", ["generation_info", "response_metadata"])
def test_the_finish_reason_is_found(key: str, place: str) -> None:
    message = AIMessage("a", response_metadata={key: "end"} if place != "generation_info" else {})
    info = {key: "end"} if place == "generation_info" else None
    end = LLMResult(generations=[[ChatGeneration(message=message, generation_info=info)]])

    assert finished(open_call(), end).call.completions[0].finish_reason == "end"


def test_a_completion_models_usage_stands_in_the_output() -> None:
    output = {
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "model_name": "m",
        "id": "cmpl-1",
    }
    end = LLMResult(generations=[[Generation(text="a")]], llm_output=output)

    of = finished(open_call(), end).call

    assert (of.input_tokens, of.output_tokens) == (3, 4)
    assert (of.response_model, of.response_id) == ("m", "cmpl-1")


def test_a_whole_batchs_usage_is_not_one_calls() -> None:
    output = {"token_usage": {"prompt_tokens": 300, "completion_tokens": 400}, "model_name": "m"}
    end = LLMResult(generations=[[Generation(text="a")]], llm_output=output)

    of = finished(open_call(shares_usage=True), end).call

    assert (of.input_tokens, of.output_tokens, of.response_model) == (None, None, "m")


@pytest.mark.parametrize(
    "odd",
    [
        {"token_usage": 17},
        {"token_usage": SimpleNamespace(prompt_tokens=3)},
        {"token_usage": {"prompt_tokens": True, "completion_tokens": "4"}, "model_name": 5},
        {"token_usage": None, "id": ""},
        [1],
        None,
    ],
)
def test_an_odd_output_is_left_out(odd: Any) -> None:
    end = SimpleNamespace(generations=[[Generation(text="a")]], llm_output=odd)

    of = finished(open_call(), end).call

    assert (of.input_tokens, of.output_tokens, of.response_model, of.response_id) == (None,) * 4
    assert of.completions[0].text == "a"


@pytest.mark.parametrize(
    "odd",
    [
        SimpleNamespace(generations=None),
        SimpleNamespace(generations=[]),
        SimpleNamespace(generations=[[]]),
        SimpleNamespace(generations=[[None]]),
        SimpleNamespace(generations=[[SimpleNamespace(generation_info=[1], message=5, text=7)]]),
        SimpleNamespace(
            generations=[
                [SimpleNamespace(message=SimpleNamespace(tool_calls=[{"name": 1}, None, 3]))]
            ]
        ),
        object(),
        5,
    ],
)
def test_an_odd_end_raises_nothing_and_what_streamed_stays(odd: Any) -> None:
    of = finished(open_call(heard(5, [said("a")])), odd)

    assert untimed(tokens_of(of)) == [said("a")]
    assert finished(open_call(), odd).call.completions == ()


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.builds(object),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["logprobs", "content", "tokens", "token_logprobs", "logprob"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    ),
    st.booleans(),
)
def test_whatever_stands_for_logprobs_raises_nothing(anything: Any, streamed: Any) -> None:
    of = SimpleNamespace(
        text="a",
        generation_info={"logprobs": anything, "finish_reason": anything},
        message=SimpleNamespace(
            response_metadata=anything, tool_calls=None, usage_metadata=anything
        ),
    )
    events: list[Event] = [(1, anything, of, anything)]
    if streamed:
        events.append(heard(2, [said("a")]))
    end = SimpleNamespace(generations=[[of]], llm_output=anything)

    result = finished(open_call(*events), end)

    assert len(tokens_of(result)) >= streamed


# Why there are no numbers


def a_tool_call(**info: Any) -> LLMResult:
    message = AIMessage("", tool_calls=[ToolCall(name="look", args={}, id="1")])
    return LLMResult(generations=[[ChatGeneration(message=message, generation_info=info)]])


def cached(text: str, *known: TokenLogprob, version: str = "v1") -> LLMResult:
    """An answer as LangChain's v3 protocol leaves it: with the logprobs of its last chunk."""
    metadata = {"output_version": version, "logprobs": payload(known)}
    message = AIMessage([{"type": "text", "text": text}], response_metadata=metadata)
    return LLMResult(generations=[[ChatGeneration(message=message)]])


RESPONSES_API = LLMResult(
    generations=[[ChatGeneration(message=AIMessage("a", response_metadata={"object": "response"}))]]
)
LOST: Mapping[str, Unavailable] = {
    "responses_api": "dropped_by_langchain",
    "stream": "provider_omits_stream_logprobs",
}
REASONS: list[tuple[Unavailable | None, OpenCall, Any, Mapping[str, Any]]] = [
    (None, open_call(), ended([said("a")]), {}),
    (None, open_call(), ended([said("a", None), said("b")]), {}),
    (None, open_call(requested=False), ended([said("a")]), {}),
    ("not_requested", open_call(requested=False), ended(None), {}),
    ("not_requested", open_call(requested=False), a_tool_call(), {}),
    ("not_sent", open_call(), ended(None), {}),
    ("not_sent", open_call(), ended([]), {}),
    ("not_sent", open_call(), None, {}),
    ("dropped_by_langchain", open_call(lost=LOST), RESPONSES_API, {}),
    ("not_requested", open_call(requested=False, lost=LOST), RESPONSES_API, {}),
    ("not_sent", open_call(), RESPONSES_API, {}),  # with the patch in force
    ("not_sent", open_call(lost=LOST), ended(None), {}),
    (
        "provider_omits_stream_logprobs",
        open_call((1, "a", chunk("a"), None), lost=LOST),
        ended(None),
        {},
    ),
    (None, open_call(heard(1, [said("a")]), lost=LOST), ended(None), {}),  # it has them by now
    ("dropped_by_langchain", open_call(lost={"whole": "dropped_by_langchain"}), ended(None), {}),
    (
        "dropped_by_langchain",  # Ollama under the v3 protocol; its parameters tell nothing
        open_call((1, "a", None, None), requested=False),
        ended(None),
        {},
    ),
    (
        "not_sent",  # completion models have no chunk to show either way
        open_call((1, "a", None, None), operation="text_completion"),
        ended(None),
        {},
    ),
    ("provider_omits_tool_logprobs", open_call(), a_tool_call(), {}),
    (
        "provider_omits_tool_logprobs",
        open_call(),
        a_tool_call(logprobs={"content": None, "refusal": None}),
        {},
    ),
    (None, open_call(), a_tool_call(logprobs=payload([said("<tool_call>")])), {}),
    ("unreadable", open_call((1, "a", chunk("a", {"logprobs": "?"}), None)), None, {}),
    (None, open_call((1, "a", chunk("a", {"logprobs": -0.1}), None)), None, {}),  # Together's
    ("unreadable", open_call((1, "a", None, "?")), None, {"outcome": "error"}),
    ("refusal", open_call(), ended([said("no", channel="refusal")]), {}),
    ("refusal", open_call(heard(1, [said("no", channel="refusal")])), None, {"outcome": "error"}),
    (
        "choices_interleaved",
        open_call(heard(1, [said("a")]), parameters={"n": 2}),
        ended([said("a")]),
        {},
    ),
    ("incomplete", open_call(), cached("abc", said("c")), {}),
    ("incomplete", open_call(), cached("abc", said("b"), said("c")), {}),
    ("incomplete", open_call(), cached("a😀", token(b"\x98\x80")), {}),
    (None, open_call(), cached("abc", said("ab"), said("c")), {}),
    (None, open_call(), cached("abc", said("a"), said("b")), {}),  # an end that has no tokens
    (None, open_call(), cached("abc", said("c"), version="v0"), {}),
    (None, open_call(heard(1, [said("c")])), cached("abc", said("c")), {}),
    (None, open_call(heard(1, [said("a")]), parameters={"n": 1}), None, {}),
    (None, open_call(heard(1, [said("a")]), parameters={"n": None}), None, {}),
    ("no_numbers", open_call(), ended([said("a", None)]), {}),
    ("no_answer", open_call(), None, {"outcome": "error"}),
    ("no_answer", open_call(requested=False), None, {"outcome": "cancelled"}),
    (
        "no_answer",  # it was stopped while it still reasoned
        open_call(heard(1, [said("hm", channel="reasoning")])),
        None,
        {"outcome": "cancelled"},
    ),
    ("not_sent", open_call((1, "a", chunk("a"), None)), None, {"outcome": "cancelled"}),
    # The headline is the first answer's: what the others have does not stand for it.
    ("refusal", open_call(), ended([said("no", channel="refusal")], [said("b")]), {}),
    ("not_sent", open_call(), ended(None, [said("b")]), {}),
]


@pytest.mark.parametrize("case", range(len(REASONS)))
def test_the_reason_why_there_are_no_numbers(case: int) -> None:
    reason, call, response, others = REASONS[case]

    of = finished(call, response, **others)

    report = call_report(of.call, unavailable=of.unavailable)
    assert report.unavailable == reason
    assert (report.confidence.confidence is None) == (reason is not None)


def test_every_reason_has_its_case() -> None:
    assert {reason for reason, *_ in REASONS} == {None, *get_args(Unavailable)}


# Whether it was asked for


@pytest.mark.parametrize(
    "given_parameters",
    [
        {"logprobs": True},
        {"logprobs": 5},
        {"logprobs": 0},  # a completion model: the chosen tokens' alone
        {"top_logprobs": 3},
        {"response_logprobs": True},
        {"include": ["message.output_text.logprobs"]},
        {"model_kwargs": {"logprobs": True}},
        {"extra_body": {"logprobs": True, "top_logprobs": 2}},
    ],
)
def test_logprobs_were_asked_for(given_parameters: Mapping[str, Any]) -> None:
    assert asks_for_logprobs(given_parameters)
    assert asks_for_logprobs({}, given_parameters)


@pytest.mark.parametrize(
    "given_parameters",
    [
        {},
        {"logprobs": None, "top_logprobs": None, "include": None},
        {"logprobs": False},
        {"top_logprobs": 0},
        {"include": True},
        {"include": ["file_search_call.results"]},
        {"model_kwargs": None, "extra_body": "logprobs"},
        {"extra_body": {"logprobs": False}},
    ],
)
def test_logprobs_were_not_asked_for(given_parameters: Mapping[str, Any]) -> None:
    assert not asks_for_logprobs(given_parameters)


def test_a_completion_model_asked_for_no_alternatives_is_asked_for_logprobs() -> None:
    model = OpenAI(api_key="x", logprobs=0)

    assert asks_for_logprobs(model._identifying_params)
    assert not asks_for_logprobs(OpenAI(api_key="x")._identifying_params)


def test_a_token_that_came_without_text_is_not_passed_over_where_the_end_lacks_it() -> None:
    tokens = [said(f" {at}") for at in range(3)]
    thought = said("so", channel="reasoning")
    call = open_call(*(heard(at, [of]) for at, of in enumerate(tokens)), heard(9, [thought]))
    chunks = [of for _, _, of, _ in call.events]
    whole = chunks[0] + chunks[1] + chunks[2]

    (of,) = finished(call, LLMResult(generations=[[whole]])).call.completions

    assert [token.channel for token in of.tokens] == ["content"] * 3 + ["reasoning"]
