"""The scripted model is a real chat model, and clocks, ids and sinks stand still."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
)
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from langchain_core.tools import tool
from langchain_core.tracers.context import collect_runs
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel, ValidationError

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.core.report import TreeReport
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.testing import (
    Answer,
    CollectingSink,
    FixedClock,
    FixedIds,
    ScriptedChatModel,
    answer,
    token,
)

pytestmark = pytest.mark.anyio

SAID = (("Syd", -0.6, {"Syd": -0.6, "Can": -1.2}), ("ney", -0.01))


class ScriptError(Exception):
    """What the script says to raise."""


def a_model(*tokens: Any, **given: Any) -> ScriptedChatModel:
    return ScriptedChatModel(answers=[answer(*(tokens or SAID), **given)])


async def chunks_of(model: Any, way: str) -> list[AIMessageChunk]:
    if way == "stream":
        return list(model.stream(""))
    return [chunk async for chunk in model.astream("")]


async def message_of(model: Any, way: str) -> AIMessage:
    match way:
        case "invoke":
            return model.invoke("")  # type: ignore[no-any-return]
        case "ainvoke":
            return await model.ainvoke("")  # type: ignore[no-any-return]
    return sum_of(await chunks_of(model, way))


def sum_of(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole, *others = chunks
    for chunk in others:
        whole = whole + chunk  # type: ignore[assignment]
    return whole


# Tokens and answers


def test_a_token_is_given_by_its_text_or_its_bytes() -> None:
    assert token("é") == TokenLogprob("é", -0.1, "é".encode())
    assert token(b"\xc3", None) == TokenLogprob("\ufffd", None, b"\xc3")
    assert token("a", -1.0, {"b": -2.0}, channel="refusal") == TokenLogprob(
        "a", -1.0, b"a", (Candidate("b", -2.0, b"b"),), "refusal"
    )


def test_an_answers_tokens_are_given_as_texts_tuples_or_tokens() -> None:
    said = answer("a", ("b", -1.0), token("c", -2.0), finish_reason="length")

    assert said.tokens == (token("a"), token("b", -1.0), token("c", -2.0))
    assert (said.text, said.finish_reason) == ("abc", "length")


def test_an_answers_text_is_its_content() -> None:
    said = answer(
        token("hm", channel="reasoning"),
        token(b"\xc3"),
        token(b"\xa9"),
        token("no", channel="refusal"),
    )

    assert said.text == "é"
    assert Answer().text == ""


# The model


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_it_says_what_it_is_told_however_it_is_called(way: str) -> None:
    message = await message_of(a_model(), way)

    assert message.text == "Sydney"
    assert message.response_metadata["model_name"] == "scripted-1"
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    assert read_tokens(message.response_metadata["logprobs"]) == (
        token("Syd", -0.6, {"Syd": -0.6, "Can": -1.2}),
        token("ney", -0.01),
    )


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_it_streams_as_providers_do(way: str) -> None:
    chunks = await chunks_of(a_model(*"abcde", chunks=(1, 3)), way)

    assert [chunk.text for chunk in chunks if chunk.text] == ["a", "bcd", "e"]
    first, *_, last = [chunk for chunk in chunks if chunk.response_metadata]
    assert first.text == ""  # the role
    assert first.response_metadata["logprobs"]["content"] == []
    assert last.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 2), (9,), (0,), (-3,)])
@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_no_token_is_lost_or_told_twice_whatever_the_chunks(
    way: str, sizes: tuple[int, ...]
) -> None:
    message = await message_of(a_model(*"abcde", chunks=sizes), way)

    tokens = read_tokens(message.response_metadata["logprobs"])
    assert tokens == tuple(map(token, "abcde"))
    assert message.text == "abcde"


async def test_a_character_split_over_tokens_comes_whole() -> None:
    euro = "€".encode()
    chunks = await chunks_of(a_model(token(euro[:1]), token(euro[1:2]), token(euro[2:])), "stream")

    assert [chunk.text for chunk in chunks if chunk.text] == ["€"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_each_channel_stands_under_its_own_name(way: str) -> None:
    model = a_model(token("hm", channel="reasoning"), token("no", channel="refusal"), token("yes"))

    message = await message_of(model, way)

    lists = message.response_metadata["logprobs"]
    said = {key: [of["token"] for of in entries] for key, entries in lists.items() if entries}
    assert said == {"reasoning_content": ["hm"], "refusal": ["no"], "content": ["yes"]}
    assert message.text == "yes"


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("silent", ["asked", "sent"])
async def test_without_logprobs_there_are_none(way: str, silent: str) -> None:
    said = answer("a", with_logprobs=silent != "sent")
    model = ScriptedChatModel(answers=[said], logprobs=silent != "asked")

    message = await message_of(model, way)

    assert message.text == "a"
    assert "logprobs" not in message.response_metadata


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_it_calls_the_tools_it_is_told_to(way: str) -> None:
    calls = (
        ToolCall(name="look", args={"at": "x"}, id="1"),
        ToolCall(name="ask", args={}, id="2"),
    )

    message = await message_of(a_model(tool_calls=calls), way)

    assert [(of["name"], of["args"], of["id"]) for of in message.tool_calls] == [
        ("look", {"at": "x"}, "1"),
        ("ask", {}, "2"),
    ]


def test_it_takes_tools_and_a_schema() -> None:
    @tool
    def look(at: str) -> str:
        """Looks."""
        return at

    class City(BaseModel):
        name: str

    call = ToolCall(name="City", args={"name": "Sydney"}, id="1")
    model = ScriptedChatModel(answers=[answer(tool_calls=(call,))])

    assert model.bind_tools([look]).invoke("").tool_calls[0]["name"] == "City"
    assert model.with_structured_output(City).invoke("") == City(name="Sydney")


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_it_raises_what_it_is_told_to(way: str) -> None:
    with pytest.raises(ScriptError):
        await message_of(a_model(error=ScriptError()), way)


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_an_error_in_a_stream_comes_after_its_tokens(way: str) -> None:
    seen: list[str] = []

    async def read() -> None:
        model = a_model("a", "b", error=ScriptError())
        if way == "stream":
            for chunk in model.stream(""):
                seen.append(chunk.text)  # noqa: PERF401 - what came before the error is wanted
        else:
            async for chunk in model.astream(""):
                seen.append(chunk.text)  # noqa: PERF401

    with pytest.raises(ScriptError):
        await read()

    assert "".join(seen) == "ab"


def test_answers_are_given_in_turn_and_begin_anew() -> None:
    model = ScriptedChatModel(answers=[answer("a"), answer("b")])

    assert [model.invoke("").text for _ in range(5)] == ["a", "b", "a", "b", "a"]
    assert sorted(of.text for of in model.batch([""] * 4)) == ["a", "a", "b", "b"]


def test_a_model_without_an_answer_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="answers"):
        ScriptedChatModel(answers=[])


async def test_pauses_are_made_sync_and_async() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    await asyncio.gather(*(a_model(pause=0.05).ainvoke("") for _ in range(5)))
    together = loop.time() - began
    for way in ("invoke", "stream", "astream"):
        before = loop.time()
        await message_of(a_model("a", pause=0.01), way)
        assert loop.time() - before >= 0.01

    assert together >= 0.05


def test_it_tells_langchain_what_it_is() -> None:
    with collect_runs() as runs:
        a_model().invoke("", stop=["x"])

    (run,) = runs.traced_runs
    metadata = (run.extra or {})["metadata"]
    assert (metadata["ls_provider"], metadata["ls_model_name"]) == ("scripted", "scripted-1")
    assert (run.extra or {})["invocation_params"]["logprobs"] is True
    assert a_model()._llm_type == "scripted"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_it_can_be_asked_without_any_callbacks(way: str) -> None:
    model = a_model("a")

    if way == "stream":
        chunks: list[ChatGenerationChunk] = list(model._stream([]))
    else:
        chunks = [chunk async for chunk in model._astream([])]

    assert "".join(chunk.text for chunk in chunks) == "a"


class Told(BaseCallbackHandler):
    """What token callbacks say."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


async def test_it_tells_each_token_once_when_it_is_told_to_tell_them_itself() -> None:
    # As the v3 protocol has models do.
    told, run = Told(), uuid4()
    manager = CallbackManagerForLLMRun(run_id=run, handlers=[told], inheritable_handlers=[])
    later = AsyncCallbackManagerForLLMRun(run_id=run, handlers=[told], inheritable_handlers=[])

    list(a_model("a", "b")._stream([], run_manager=manager))
    async for _ in a_model("c")._astream([], run_manager=later):
        pass

    assert "".join(told.tokens) == "abc"


# Things that stand still


def test_the_sink_keeps_calls_and_trees_apart() -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], raise_errors=True)
    chain = a_model() | (lambda of: of)

    chain.invoke("", {"callbacks": [handler]})

    (call,), (tree,) = sink.calls, sink.trees
    assert isinstance(tree, TreeReport)
    assert tree.calls == (call,)


def test_the_clock_goes_on_by_its_step() -> None:
    clock = FixedClock(now_ns=100, step_ns=5)

    assert [clock(), clock(), clock()] == [105, 110, 115]
    assert clock.now_ns == 115


def test_a_handler_tells_the_time_by_the_clock_it_is_given() -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(
        sinks=[sink], clock=FixedClock(now_ns=0, step_ns=10), raise_errors=True
    )
    run = uuid4()

    handler.on_chat_model_start({}, [], run_id=run)
    handler.on_llm_new_token("a", run_id=run)
    handler.on_llm_end(LLMResult(generations=[[]]), run_id=run)

    assert (sink.calls[0].call.started_ns, sink.calls[0].call.ended_ns) == (10, 30)


def test_ids_are_counted() -> None:
    ids = FixedIds()
    tracer = TracerProvider(id_generator=ids).get_tracer("t")

    spans = [tracer.start_span("a").get_span_context() for _ in range(2)]

    assert [(of.trace_id, of.span_id) for of in spans] == [(1, 1), (2, 2)]
    assert (ids.generate_span_id(), ids.generate_trace_id()) == (3, 3)
