"""The real clients of langchain-openai, against a server on loopback, in their own ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pytest
from cells import Said, assert_seen
from conftest import Observed, until
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI, OpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from openai import APIConnectionError
from openai_server import RECORD, Served, logprob, serving
from pydantic import BaseModel

from langchain_logprobs import Candidate, LogprobsCallbackHandler, TokenLogprob, with_logprobs
from langchain_logprobs.core.tokens import Channel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:.*in beta"),
    pytest.mark.filterwarnings("ignore:The v3 streaming protocol"),
]

NORWAY = ("Norway", ":", " a0", " b")
OTHER = ("Norway", ":", " a1", " b")
STREAMS = ["stream", "astream"]
WAYS = ["invoke", "ainvoke", *STREAMS]
V3 = ["v3", "async v3"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as of:
        yield of


@pytest.fixture
def handler(observed: Observed) -> LogprobsCallbackHandler:
    return observed.handler(keep=10)


def chat(served: Served, model: str = "says", **arguments: Any) -> ChatOpenAI:
    of = ChatOpenAI(
        model=model, base_url=served.base_url, api_key="none", max_retries=0, **arguments
    )
    return with_logprobs(of, top_logprobs=2)


def legacy(served: Served, **arguments: Any) -> OpenAI:
    of = OpenAI(model="says", base_url=served.base_url, api_key="none", max_retries=0, **arguments)
    return with_logprobs(of, top_logprobs=2)


async def call(way: str, runnable: Any, given: Any, handler: LogprobsCallbackHandler) -> None:
    config = {"callbacks": [handler]}
    match way:
        case "invoke":
            runnable.invoke(given, config)
        case "ainvoke":
            await runnable.ainvoke(given, config)
        case "stream":
            assert list(runnable.stream(given, config))
        case "astream":
            assert [of async for of in runnable.astream(given, config)]
        case "v3":
            assert list(runnable.stream_events(given, config, version="v3"))
        case _:
            events = await runnable.astream_events(given, config, version="v3")
            assert [of async for of in events]
            await until(handler.is_idle)


def spoken(
    words: tuple[str, ...], channel: Channel = "content", *, raw: bool = True
) -> tuple[TokenLogprob, ...]:
    """The tokens of an answer, as the server sends them."""

    def candidate(text: str, its: float) -> Candidate:
        return Candidate(text, its, text.encode() if raw else None)

    return tuple(
        TokenLogprob(
            text,
            logprob(at),
            text.encode() if raw else None,
            (candidate(text, logprob(at)), candidate("?", -3.0)),
            channel,
        )
        for at, text in enumerate(words)
    )


def says(*answers: tuple[str, ...], raw: bool = True, **others: Any) -> Said:
    return Said(
        **{
            "model": "says",
            "tokens": tuple(spoken(of, raw=raw) for of in answers),
            "texts": tuple(map("".join, answers)),
            **others,
        }
    )


def came(way: str) -> str:
    """Where the tokens come from, if nothing is set about streaming."""
    return "end" if way in ("invoke", "ainvoke") else "stream"


CALLED = Said(
    model="says",
    source=None,
    unavailable="provider_omits_tool_logprobs",
    tool_calls=(("City", {"city": "Oslo"}),),
    finish_reason="tool_calls",
)


@pytest.mark.parametrize("way", [*WAYS, *V3])
@pytest.mark.parametrize(
    "arguments", [{}, {"disable_streaming": True}, {"streaming": False}, {"streaming": True}]
)
async def test_however_streaming_is_set_the_report_is_the_same(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    way: str,
    arguments: dict[str, Any],
) -> None:
    await call(way, chat(served, **arguments), "Norway", handler)

    source = came(way)
    if arguments == {"streaming": True}:
        source = "stream"
    elif arguments and way not in V3:  # with streaming=False not even stream() does
        source = "end"
    assert_seen(observed, handler, [says(NORWAY, source=source)])


@pytest.mark.parametrize("way", [*WAYS, *V3])
@pytest.mark.parametrize("arguments", [{}, {"streaming": True}])
async def test_content_in_blocks_is_the_same_answer(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    way: str,
    arguments: dict[str, Any],
) -> None:
    model = chat(served, output_version="v1", **arguments)

    await call(way, model, "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, source="stream" if arguments else came(way))])


@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_streaming_disabled_for_tools_streams_all_else(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    model = chat(served, disable_streaming="tool_calling")

    await call(way, model, "Norway", handler)
    await call(way, model.bind_tools([City]), "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, source=came(way)), CALLED])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_legacy_completions_are_text_completions(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    way: str,
    *,
    streaming: bool,
) -> None:
    await call(way, legacy(served, streaming=streaming), "Norway", handler)

    source = "stream" if streaming else came(way)
    said = says(NORWAY, source=source, operation="text_completion", raw=False)
    assert_seen(observed, handler, [said])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("arguments", [{"n": 2}, {"n": 2, "best_of": 4}, {"best_of": 3}])
async def test_several_legacy_completions_are_told_apart(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    arguments: dict[str, int],
    way: str,
) -> None:
    await call(way, legacy(served, **arguments), "Norway", handler)

    answers = [NORWAY, OTHER] if "n" in arguments else [NORWAY]
    said = says(*answers, operation="text_completion", raw=False)
    assert_seen(observed, handler, [said])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_several_prompts_of_legacy_completions_are_calls_of_their_own(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, *, asynchronous: bool
) -> None:
    model, prompts = legacy(served, n=2), ["Norway", "Peru"]

    made: LLMResult
    if asynchronous:
        made = await model.agenerate(prompts, callbacks=[handler])
    else:
        made = model.generate(prompts, callbacks=[handler])

    assert [len(of) for of in made.generations] == [2, 2]
    peru = (("Peru", ":", " a0", " b"), ("Peru", ":", " a1", " b"))
    how: dict[str, Any] = {"operation": "text_completion", "raw": False}
    assert_seen(observed, handler, [says(NORWAY, OTHER, **how), says(*peru, **how)])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_several_answers_are_told_apart_when_invoked(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, n=2), "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, OTHER)])
    (report,) = handler.reports
    assert [of.completion for of in report.sequences] == [0, 1]


def interleaved(*, raw: bool = True, **others: Any) -> Said:
    words = [of for both in zip(NORWAY, OTHER, strict=True) for of in both]
    one, two = spoken(NORWAY, raw=raw), spoken(OTHER, raw=raw)
    tokens = tuple(of for both in zip(one, two, strict=True) for of in both)
    said = {"source": "stream", "unavailable": "choices_interleaved", "finish_reason": "stopstop"}
    return Said(model="says", tokens=(tokens,), texts=("".join(words),), **{**said, **others})


@pytest.mark.parametrize("way", [*STREAMS, *V3])
async def test_several_answers_streamed_as_one_have_no_confidence(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, n=2), "Norway", handler)

    # LangChain merges the reasons too.
    reason = "stop" if way in V3 else "stopstop"
    assert_seen(observed, handler, [interleaved(finish_reason=reason)])


@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_a_refusal_has_its_own_channel_and_no_headline(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, "refuses"), "Norway", handler)

    refusal = Said(
        model="refuses",
        tokens=(spoken(NORWAY, "refusal"),),
        source=came(way),
        unavailable="refusal",
    )
    assert_seen(observed, handler, [refusal])
    (sequence,) = handler.reports[0].sequences
    assert (sequence.channel, sequence.confidence.count) == ("refusal", 4)


@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_a_provider_that_sends_none_is_said_to(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, "silent"), "Norway", handler)

    none = Said(model="silent", texts=("".join(NORWAY),), source=None, unavailable="not_sent")
    assert_seen(observed, handler, [none])


class City(BaseModel):
    """A city."""

    city: str


@dataclass(frozen=True)
class Kind:
    """A model of some kind, and what it must be reported to have said.

    Attributes:
        make: Makes it.
        ended: As it is reported where the answer came whole.
        streamed: As it is reported where the answer was streamed; `None` if no way streams it.
        root: The name of its root run; `None` if that is the model's own.
        asked: What it is asked.
    """

    make: Callable[[Served], Any]
    ended: Said
    streamed: Said | None
    root: str | None = None
    asked: str = "Norway"


def _both(said: Said, **others: Any) -> dict[str, Any]:
    return {"ended": said, "streamed": said.but(source="stream"), **others}


def _structured(method: Any, said: Said) -> dict[str, Any]:
    def make(served: Served) -> Any:
        return chat(served).with_structured_output(City, method=method)

    of = {"ended": said, "streamed": said} if said is CALLED else _both(said)
    return {"make": make, "root": "RunnableSequence", "asked": "Norway in JSON", **of}


TEXT: dict[str, Any] = {"operation": "text_completion", "raw": False}
REFUSED = Said(
    model="refuses", tokens=(spoken(NORWAY, "refusal"),), source="end", unavailable="refusal"
)
SILENT = Said(model="silent", texts=("".join(NORWAY),), source=None, unavailable="not_sent")
KINDS = {
    "chat": Kind(chat, **_both(says(NORWAY))),
    "blocks": Kind(lambda of: chat(of, output_version="v1"), **_both(says(NORWAY))),
    "disabled": Kind(lambda of: chat(of, disable_streaming=True), says(NORWAY), None),
    "not streaming": Kind(lambda of: chat(of, streaming=False), says(NORWAY), None),
    "n=2": Kind(lambda of: chat(of, n=2), says(NORWAY, OTHER), interleaved()),
    "refuses": Kind(lambda of: chat(of, "refuses"), **_both(REFUSED)),
    "silent": Kind(lambda of: chat(of, "silent"), SILENT, SILENT),
    "tools": Kind(lambda of: chat(of).bind_tools([City]), CALLED, CALLED),
    "json_schema": Kind(**_structured("json_schema", says(RECORD))),
    "json_mode": Kind(**_structured("json_mode", says(RECORD))),
    "function_calling": Kind(**_structured("function_calling", CALLED)),
    "legacy": Kind(legacy, **_both(says(NORWAY, **TEXT))),
    "legacy n=2": Kind(
        lambda of: legacy(of, n=2), says(NORWAY, OTHER, **TEXT), interleaved(**TEXT)
    ),
    "fallback": Kind(
        lambda of: chat(of).with_fallbacks([chat(of)]),
        **_both(says(NORWAY), root="RunnableWithFallbacks"),
    ),
}


# langchain-openai's own, and there without us too.
PARSED = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


@PARSED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_structured_output_is_captured_in_every_method(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    method: Any,
    way: str,
    *,
    include_raw: bool,
) -> None:
    model = chat(served).with_structured_output(City, method=method, include_raw=include_raw)

    await call(way, model, "Norway in JSON", handler)

    said = CALLED if method == "function_calling" else says(RECORD, source=came(way))
    assert_seen(observed, handler, [said], roots=[("RunnableSequence", 1)])
    fields = {of.path: of.value for of in handler.reports[0].fields.leaves}
    assert fields == ({} if method == "function_calling" else {"$.city": "Oslo"})


@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_bound_tools_do_not_hide_what_is_said(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served).bind_tools([City]), "Norway", handler)

    assert_seen(observed, handler, [CALLED])


@PARSED
@pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated")
@pytest.mark.parametrize("way", ["batch", "abatch", "events v1", "events v2"])
@pytest.mark.parametrize("name", KINDS)
async def test_every_kind_of_model_is_seen_in_batches_and_events(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, name: str, way: str
) -> None:
    kind, config = KINDS[name], RunnableConfig(callbacks=[handler])
    model = kind.make(served)

    match way:
        case "batch":
            model.batch([kind.asked] * 3, config)
        case "abatch":
            await model.abatch([kind.asked] * 3, config)
        case _:
            events = model.astream_events(kind.asked, config, version=way.rsplit(maxsplit=1)[-1])
            assert [of async for of in events]

    is_batch = way.endswith("batch")
    said = kind.ended if is_batch or kind.streamed is None else kind.streamed
    runs = 3 if is_batch else 1
    assert_seen(
        observed, handler, [said] * runs, roots=[(kind.root, 1)] * runs if kind.root else []
    )


@PARSED
@pytest.mark.parametrize("way", [*WAYS, *V3])
@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
async def test_an_agent_with_a_response_format_is_captured(
    served: Served,
    observed: Observed,
    handler: LogprobsCallbackHandler,
    strategy: Any,
    way: str,
) -> None:
    agent = create_agent(chat(served), [], response_format=strategy(City), name="agent")

    await call(way, agent, {"messages": [HumanMessage("Norway")]}, handler)

    source = "stream" if way in V3 else "end"
    said = CALLED if strategy is ToolStrategy else says(RECORD, source=source)
    assert_seen(observed, handler, [said], roots=[("agent", 1)])


@PARSED
@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_an_agent_that_uses_a_tool_is_captured(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    def City(city: str) -> str:  # noqa: N802 - the name that the server calls
        """Says where a city is."""
        return f"{city} is in Norway"

    agent = create_agent(chat(served), [City], name="agent")

    await call(way, agent, {"messages": [HumanMessage("Norway")]}, handler)

    answer = says(NORWAY, source="stream" if way in V3 else "end")
    assert_seen(observed, handler, [CALLED, answer], roots=[("agent", 2)])


@pytest.mark.parametrize("way", WAYS)
async def test_what_comes_from_a_cache_is_reported_as_it_was_stored(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    asked = len(served.requests)
    model = chat(served, cache=InMemoryCache())

    model.invoke("Norway", {"callbacks": [handler]})
    await call(way, model, "Norway", handler)

    is_streamed = way in STREAMS  # streams ask no cache
    assert len(served.requests) == asked + 1 + is_streamed
    assert_seen(observed, handler, [says(NORWAY), says(NORWAY, source=came(way))])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_what_a_streaming_model_stored_in_a_cache_is_whole(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    model = chat(served, cache=InMemoryCache(), streaming=True)

    for _ in range(2):
        await call(way, model, "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, source="stream"), says(NORWAY)])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_of_several_prompts_those_that_are_not_in_the_cache_are_reported(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, *, asynchronous: bool
) -> None:
    model, prompts = legacy(served, cache=InMemoryCache()), ["Chile", "Peru", "Cuba"]
    model.invoke("Peru")

    made: LLMResult
    if asynchronous:
        made = await model.agenerate(prompts, callbacks=[handler])
    else:
        made = model.generate(prompts, callbacks=[handler])

    texts = [f"{of}: a0 b" for of in prompts]
    assert [of[0].text for of in made.generations] == texts
    asked = [says((of, *NORWAY[1:]), **TEXT) for of in ("Chile", "Cuba")]
    assert_seen(observed, handler, asked)


async def test_of_several_prompts_with_a_handler_each_every_one_hears_its_own(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler
) -> None:
    model, prompts, others = legacy(served), ["Chile", "Cuba"], Observed()
    other = others.handler(keep=9)
    configs = [RunnableConfig(callbacks=[of]) for of in (handler, other)]

    model.batch(prompts, configs)
    await model.abatch(prompts, configs)
    model.generate(prompts, callbacks=[[handler], [other]])

    for of, its, prompt in ((observed, handler, "Chile"), (others, other, "Cuba")):
        assert_seen(of, its, [says((prompt, *NORWAY[1:]), **TEXT)] * 3)
    others.close()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_several_prompts_that_cannot_be_streamed_have_failed_each(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, *, asynchronous: bool
) -> None:
    model, prompts = legacy(served, streaming=True), ["Chile", "Cuba"]

    generate: Any = model.agenerate if asynchronous else partial(asyncio.to_thread, model.generate)
    with pytest.raises(ValueError, match="multiple prompts"):
        await generate(prompts, callbacks=[handler])

    failed = FAILED.but(model="says", operation="text_completion", error="ValueError")
    assert_seen(observed, handler, [failed] * 2)


async def test_of_a_legacy_completion_from_a_cache_langchain_tells_nothing(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler
) -> None:
    model = legacy(served, cache=InMemoryCache())

    for way in ("invoke", "invoke", "ainvoke"):
        await call(way, model, "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, operation="text_completion", raw=False)])


def a_graph(model: ChatOpenAI) -> Any:
    def ask(state: MessagesState) -> Any:
        return {"messages": model.invoke(state["messages"])}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_what_v3_stored_in_a_cache_is_not_passed_off_as_the_whole(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    asked = len(served.requests)
    graph = a_graph(chat(served, cache=InMemoryCache()))
    given = {"messages": [HumanMessage("Norway")]}

    await call("v3", graph, given, handler)
    await call(way, graph, given, handler)

    assert len(served.requests) == asked + 1
    rest = says(NORWAY, tokens=(spoken(NORWAY)[-1:],), unavailable="incomplete")
    whole = says(NORWAY, source="stream")
    assert_seen(observed, handler, [whole, rest], roots=[("LangGraph", 1)] * 2)


@pytest.mark.parametrize("way", V3)
async def test_v3_on_a_model_stores_nothing_in_a_cache(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    model = chat(served, cache=InMemoryCache())

    await call(way, model, "Norway", handler)
    await call("invoke", model, "Norway", handler)

    assert_seen(observed, handler, [says(NORWAY, source="stream"), says(NORWAY)])


FAILED = Said(
    model="fails",
    source=None,
    outcome="error",
    unavailable="no_answer",
    finish_reason=None,
)


def roots_of_fallback(way: str, attempts: int) -> list[tuple[str, int]]:
    """The root runs: not streamed, LangChain makes a fallback's models no children of its run."""
    if way in STREAMS:
        return [("RunnableWithFallbacks", 2)]
    return [("ChatOpenAI", attempts)]


@pytest.mark.parametrize("way", WAYS)
async def test_retries_and_fallbacks_are_calls_of_their_own(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    failing = chat(served, "fails")
    retried = failing.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)

    await call(way, retried.with_fallbacks([chat(served)]), "Norway", handler)

    outcomes = [(of.call.model, of.call.outcome) for of in handler.reports]
    attempts = 1 if way in STREAMS else 2  # LangChain retries no stream
    assert outcomes == [*[("fails", "error")] * attempts, ("says", "ok")]
    failed = FAILED.but(error=handler.reports[0].call.error)
    expected = [*[failed] * attempts, says(NORWAY, source=came(way))]
    assert_seen(observed, handler, expected, roots=roots_of_fallback(way, attempts))


@pytest.mark.parametrize("way", [*WAYS, *V3])
async def test_a_provider_that_goes_away_half_way_leaves_what_arrived(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    with pytest.raises(APIConnectionError):
        await call(way, chat(served, "breaks", streaming=True), "Norway", handler)

    await until(handler.is_idle)
    half = says(
        NORWAY[:2],
        model="breaks",
        source="stream",
        outcome="error",
        error=handler.reports[0].call.error,  # langchain-openai has a subclass of its own
        finish_reason=None,
    )
    assert_seen(observed, handler, [half])


async def test_sixty_calls_at_once_in_every_way_are_told_apart(
    served: Served, observed: Observed
) -> None:
    handler = observed.handler(keep=99)
    config = RunnableConfig(callbacks=[handler])
    model = chat(served)

    async def one(number: int) -> None:
        asked = f"w{number}"
        match number % 4:
            case 0:
                await model.ainvoke(asked, config)
            case 1:
                assert [of async for of in model.astream(asked, config)]
            case 2:
                await asyncio.to_thread(lambda: list(model.stream(asked, config)))
            case _:
                assert [of async for of in model.astream_events(asked, config)]

    await asyncio.gather(*map(one, range(60)))

    expected = [
        says((f"w{of}", *NORWAY[1:]), source="stream" if of % 4 else "end") for of in range(60)
    ]
    assert_seen(observed, handler, expected)


@pytest.mark.parametrize("way", STREAMS)
async def test_wherever_a_stream_is_left_its_text_is_that_of_its_tokens(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    model, config = chat(served), RunnableConfig(callbacks=[handler])

    for parts in range(1, 6):
        if way == "stream":
            stream = model.stream("Norway", config)
            assert len(list(islice(stream, parts))) == parts
            stream.close()
        else:
            astream = model.astream("Norway", config)
            assert all([await anext(astream) for _ in range(parts)])
            await astream.aclose()

    left = [
        says(
            NORWAY[:parts],
            source="stream" if parts else None,
            outcome="cancelled",
            error="GeneratorExit",
            unavailable=None if parts else "no_answer",
            finish_reason=None,
        )
        for parts in range(5)  # the first piece says who speaks
    ]
    assert_seen(observed, handler, left)
