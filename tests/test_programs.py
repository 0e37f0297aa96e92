"""Programs as applications write them, unusual ones too: what was said is what is reported."""

from __future__ import annotations

import asyncio
import gc
import operator
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Annotated, Any, TypedDict

import pytest
from cells import Said, assert_seen, said
from conftest import Observed, until
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatResult
from langchain_core.runnables import (
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import StructuredTool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, Send

from langchain_logprobs.testing import Answer, ScriptedChatModel, answer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:.*in beta"),
    pytest.mark.filterwarnings("ignore:The v3 streaming protocol"),
]

SAID = answer(("a", -0.1), ("b", -0.6), ("c", -0.2))
LONG = answer(*[(f"t{n} ", -0.1) for n in range(40)], pause=0.02)


def a_model(*answers: Answer) -> ScriptedChatModel:
    return ScriptedChatModel(answers=answers or (SAID,))


class Asked(ScriptedChatModel):
    """A model whose answer depends on the last message alone, in any number of runs at once."""

    answers: Any = (SAID,)

    def _model(self, messages: list[BaseMessage]) -> ScriptedChatModel:
        return a_model(echo(messages[-1].text))

    def _generate(self, messages: Any, *args: Any, **others: Any) -> ChatResult:
        return self._model(messages)._generate(messages, *args, **others)

    async def _agenerate(self, messages: Any, *args: Any, **others: Any) -> ChatResult:
        return await self._model(messages)._agenerate(messages, *args, **others)

    def _stream(self, messages: Any, *args: Any, **others: Any) -> Any:
        return self._model(messages)._stream(messages, *args, **others)

    def _astream(self, messages: Any, *args: Any, **others: Any) -> Any:
        return self._model(messages)._astream(messages, *args, **others)


def echo(question: str) -> Answer:
    """What `Asked` says to a number: five tokens that no other number gets."""
    tokens = [(f"{question}.{at} ", -0.01 * (int(question) + at + 1)) for at in range(5)]
    return answer(*tokens, pause=0.001)


def echoed(*numbers: int, source: str = "stream") -> list[Said]:
    return [said(echo(str(of)), source=source) for of in numbers]


def begun(script: Answer, tokens: int, **others: Any) -> Said:
    """A call that was stopped after so many tokens."""
    text = "".join(of.text for of in script.tokens[:tokens])
    stopped = {"outcome": "cancelled", "source": "stream", "finish_reason": None}
    return Said(tokens=(script.tokens[:tokens],), texts=(text,), **{**stopped, **others})


# Many at once


async def test_of_streams_in_a_group_one_that_fails_cancels_the_others(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    config: RunnableConfig = {"callbacks": [handler]}
    slow, failing = a_model(LONG), a_model(answer(("x", -0.3), error=ValueError()))

    async def read(model: Any) -> None:
        assert [of async for of in model.astream("", config)]

    async def fail() -> None:
        await until(lambda: [len(of.events) > 2 for of in handler.open_calls()] == [True] * 2)
        await read(failing)

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for of in (read(slow), read(slow | StrOutputParser()), fail()):
                group.create_task(of)

    with pytest.raises(ExceptionGroup):
        await all_at_once()
    await until(handler.is_idle)

    by = {of.call.root_name or of.call.outcome: of for of in handler.reports}
    half, chained = (len(by[of].tokens) for of in ("cancelled", "RunnableSequence"))
    expected = [
        begun(answer(("x", -0.3)), 1, outcome="error", error="ValueError"),
        *(begun(LONG, of, error="CancelledError") for of in (half, chained)),
    ]
    assert 2 <= min(half, chained) <= max(half, chained) < 40
    assert_seen(observed, handler, expected, roots=[("RunnableSequence", 1)])


@pytest.mark.parametrize("streams", [False, True])
def test_callers_in_a_pool_of_threads_have_a_report_each(
    observed: Observed, *, streams: bool
) -> None:
    handler, model = observed.handler(keep=99), Asked()
    config: RunnableConfig = {"callbacks": [handler]}

    def call(number: int) -> None:
        if streams:
            assert list(model.stream(str(number), config))
        else:
            model.invoke(str(number), config)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(40)))

    source = "stream" if streams else "end"
    assert_seen(observed, handler, echoed(*range(40), source=source))


def test_streams_that_are_read_by_turns_are_told_apart(observed: Observed) -> None:
    handler, model = observed.handler(keep=9), Asked()
    config: RunnableConfig = {"callbacks": [handler]}

    assert list(zip_longest(*[model.stream(str(of), config) for of in range(3)]))

    assert_seen(observed, handler, echoed(0, 1, 2))


async def test_streams_of_one_chain_that_run_side_by_side_are_told_apart(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    config: RunnableConfig = {"callbacks": [handler]}
    chain = RunnableParallel(
        one=RunnableLambda(lambda _: "1") | Asked() | StrOutputParser(),
        two=RunnableLambda(lambda _: "2") | Asked(),
        three=RunnablePassthrough.assign(x=RunnableLambda(lambda _: "3") | Asked()),
    )

    assert [of async for of in chain.astream({}, config)]
    assert list(chain.stream({}, config))

    roots = [("RunnableParallel<one,two,three>", 3)] * 2
    assert_seen(observed, handler, echoed(1, 2, 3) * 2, roots=roots)


def test_one_handler_serves_several_event_loops_at_once(observed: Observed) -> None:
    handler = observed.handler(keep=99)
    config: RunnableConfig = {"callbacks": [handler]}

    async def call(number: int) -> None:
        assert [of async for of in Asked().astream(str(number), config)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda of: asyncio.run(call(of)), range(12)))

    assert_seen(observed, handler, echoed(*range(12)))


async def test_of_a_batch_with_a_config_each_every_handler_hears_its_own() -> None:
    each = [Observed() for _ in range(3)]
    handlers = [of.handler(keep=9) for of in each]
    configs: Any = [{"callbacks": [of]} for of in handlers]

    Asked().batch(["0", "1", "2"], configs)
    await Asked().abatch(["0", "1", "2"], configs)

    for number, (observed, handler) in enumerate(zip(each, handlers, strict=True)):
        assert_seen(observed, handler, echoed(number, number, source="end"))
        observed.close()


# Streams that are not read to their end


def test_a_stream_may_be_closed_by_another_thread(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    stream = a_model().stream("", {"callbacks": [handler]})
    for _ in range(3):
        next(stream)

    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()

    assert_seen(observed, handler, [begun(SAID, 2, error="GeneratorExit")])


def test_a_stream_may_be_closed_long_after_others_have_come_and_gone(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    config: RunnableConfig = {"callbacks": [handler]}
    chain = a_model() | StrOutputParser()
    late = chain.stream("", config)
    assert [next(late), next(late)] == ["", "a"]
    for _ in range(3):
        chain.invoke("", config)
    handler.flush()

    late.close()

    expected = [*[said(SAID)] * 3, begun(SAID, 1)]  # LangChain ends the chain first, and well
    assert_seen(observed, handler, expected, roots=[("RunnableSequence", 1)] * 4)


async def test_events_that_are_forgotten_are_reported_once_collected(observed: Observed) -> None:
    handler = observed.handler(keep=9)

    async def look() -> None:
        events: Any = (a_model(LONG) | StrOutputParser()).astream_events(
            "", {"callbacks": [handler]}, version="v2"
        )
        async for _ in events:
            if any(len(of.events) > 2 for of in handler.open_calls()):
                break

    await look()
    gc.collect()
    await until(handler.is_idle)

    (report,) = handler.reports
    expected = begun(LONG, len(report.tokens), error="CancelledError")
    assert 2 <= len(report.tokens) < 40
    assert_seen(observed, handler, [expected], roots=[("RunnableSequence", 1)])


async def test_generators_of_ones_own_stream_and_are_left(observed: Observed) -> None:
    model, handler = a_model(), observed.handler(keep=99)
    config: RunnableConfig = {"callbacks": [handler]}

    def say(_: Any) -> Iterator[str]:
        yield from (of.text for of in model.stream(""))

    async def asay(_: Any) -> AsyncIterator[str]:
        async for of in model.astream(""):
            yield of.text

    both: Any = RunnableLambda(say, asay)
    assert both.invoke("", config) == await both.ainvoke("", config) == "abc"
    assert "".join(both.stream("", config)) == "abc"
    assert "".join([of async for of in both.astream("", config)]) == "abc"
    left, aleft = both.stream("", config), both.astream("", config)
    assert [next(left), next(left)] == [await anext(aleft), await anext(aleft)] == ["", "a"]
    left.close()
    await aleft.aclose()
    gc.collect()
    await until(handler.is_idle)

    cut = [begun(SAID, 1, error=error) for error in (None, "GeneratorExit")]
    expected = [*[said(SAID, source="stream")] * 4, *cut]
    assert_seen(observed, handler, expected, roots=[("say", 1)] * 6)


async def test_a_task_that_outlives_its_chain_is_cut_at_the_chains_end(observed: Observed) -> None:
    handler, tasks, started = observed.handler(keep=9), set[Any](), asyncio.Event()

    async def say() -> list[str]:
        words = []
        async for of in a_model(LONG).astream(""):
            words.append(of.text)
            if len(words) == 3:
                started.set()
        return words

    async def begin(_: str) -> str:
        tasks.add(asyncio.create_task(say()))
        await started.wait()
        return "begun"

    await RunnableLambda(begin).ainvoke("", {"callbacks": [handler]})
    (words,) = await asyncio.gather(*tasks)

    assert "".join(words) == LONG.text
    tokens = len(handler.reports[0].tokens)
    assert 2 <= tokens < 40
    assert_seen(observed, handler, [begun(LONG, tokens)], roots=[("begin", 1)])


# Other handlers that fail


class Fails(BaseCallbackHandler):
    """Raises at the third piece of a stream, and at every later one."""

    def __init__(self, *, kills: bool, inline: bool) -> None:
        self.raise_error, self.run_inline, self.pieces = kills, inline, 0

    def on_llm_new_token(self, *_: Any, **__: Any) -> Any:
        self.pieces += 1
        if self.pieces > 2:
            raise OSError


class FailsLater(AsyncCallbackHandler, Fails):
    async def on_llm_new_token(self, *args: Any, **others: Any) -> None:
        await asyncio.sleep(0)
        Fails.on_llm_new_token(self, *args, **others)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("kind", [Fails, FailsLater])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_where_another_handler_fails_everything_that_came_is_reported(
    observed: Observed,
    kind: Callable[..., Any],
    *,
    first: bool,
    kills: bool,
    inline: bool,
    asynchronous: bool,
) -> None:
    handler, other = observed.handler(keep=9), kind(kills=kills, inline=inline)
    config: RunnableConfig = {"callbacks": [other, handler] if first else [handler, other]}
    model, raised = a_model(), False

    try:
        if asynchronous:
            assert [of async for of in model.astream("", config)]
        else:
            assert list(model.stream("", config))
    except OSError:
        raised = True

    assert raised is (kills and (asynchronous or kind is Fails))  # else LangChain logs it alone
    # Under async the inline ones come first; from those after it, one that kills keeps a piece.
    heard = 1 if first and (inline or not asynchronous) else 2
    cut = begun(SAID, heard, outcome="error", error="OSError")
    assert_seen(observed, handler, [cut if raised else said(SAID, source="stream")])


# Graphs


class Inner(TypedDict):
    number: int
    answers: Annotated[list[str], operator.add]


class Outer(TypedDict):
    answers: Annotated[list[str], operator.add]


def a_graph_that_sends(*, asynchronous: bool) -> Any:
    """Sends three numbers to a graph of its own, which sends two more of each to its node."""
    model = Asked()

    def ask(state: Any) -> Any:
        return {"answers": [model.invoke(str(state["number"])).text]}

    async def aask(state: Any) -> Any:
        return {"answers": [(await model.ainvoke(str(state["number"]))).text]}

    def send_on(state: Inner) -> list[Send]:
        return [Send("ask", {"number": 10 * state["number"] + of}) for of in range(2)]

    inner = StateGraph(Inner)
    inner.add_node("ask", aask if asynchronous else ask)
    inner.add_conditional_edges(START, send_on, ["ask"])
    inner.add_edge("ask", END)
    graph = StateGraph(Outer)
    graph.add_node("each", inner.compile())
    every: list[Any] = [Send("each", {"number": of, "answers": []}) for of in range(3)]
    graph.add_conditional_edges(START, lambda _: every, ["each"])
    graph.add_edge("each", END)
    return graph.compile()


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("mode", [None, "values", "messages", ["updates", "messages"]])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_graphs_in_graphs_that_send_are_told_apart(
    observed: Observed, mode: Any, limit: int | None, *, asynchronous: bool
) -> None:
    handler = observed.handler(keep=99)
    graph, given = a_graph_that_sends(asynchronous=asynchronous), {"answers": []}
    config: Any = {"callbacks": [handler], **({"max_concurrency": limit} if limit else {})}
    how = {"stream_mode": mode, "subgraphs": True}

    if mode is None:
        done = await graph.ainvoke(given, config) if asynchronous else graph.invoke(given, config)
        assert len(done["answers"]) == 6
    elif asynchronous:
        assert [of async for of in graph.astream(given, config, **how)]
    else:
        assert list(graph.stream(given, config, **how))

    source = "stream" if "messages" in (mode or ()) else "end"
    expected = echoed(0, 1, 10, 11, 20, 21, source=source)
    assert_seen(observed, handler, expected, roots=[("LangGraph", 6)])


def test_a_node_out_of_a_cache_asks_no_model_and_reports_nothing(observed: Observed) -> None:
    model, handler = a_model(), observed.handler(keep=9)
    graph = StateGraph(Outer)
    graph.add_node(
        "ask", lambda _: {"answers": [model.invoke("").text]}, cache_policy=CachePolicy(ttl=60)
    )
    graph.add_edge(START, "ask")
    compiled = graph.compile(cache=InMemoryCache())

    for _ in range(3):
        answers = compiled.invoke({"answers": []}, {"callbacks": [handler]})["answers"]
        assert answers == ["abc"]

    assert_seen(observed, handler, [said(SAID)], roots=[("LangGraph", 1)])


# Agents

LOOK = answer(
    tool_calls=tuple(
        ToolCall(name="look", args={"word": word}, id=f"call_{word}") for word in ("1", "2")
    ),
    finish_reason="tool_calls",
)
LOOKED = said(LOOK, source=None, unavailable="provider_omits_tool_logprobs")


class Looks(Asked):
    """Calls its tool twice at once, and says something once that has answered."""

    def _model(self, messages: list[BaseMessage]) -> ScriptedChatModel:
        return a_model(SAID if isinstance(messages[-1], ToolMessage) else LOOK)


def an_agent(model: Any, **others: Any) -> Any:
    """An agent whose tool is an agent too."""
    inner = create_agent(model, [], name="inner")

    def ask(word: str) -> str:
        answered: str = inner.invoke({"messages": [HumanMessage(word)]})["messages"][-1].text
        return answered

    async def aask(word: str) -> str:
        answered = await inner.ainvoke({"messages": [HumanMessage(word)]})
        return str(answered["messages"][-1].text)

    look = StructuredTool.from_function(ask, aask, name="look", description="Looks.")
    return create_agent(Looks(), [look], name="agent", **others)


MESSAGES = {"messages": [HumanMessage("?")]}


async def read(way: str, agent: Any, given: Any, config: Any) -> None:
    """Runs an agent in some way, as its users would read it."""
    how = {"stream_mode": ["updates", "messages"], "subgraphs": True}
    match way:
        case "invoke":
            agent.invoke(given, config)
        case "ainvoke":
            await agent.ainvoke(given, config)
        case "stream":
            assert list(agent.stream(given, config, **how))
        case "astream":
            assert [of async for of in agent.astream(given, config, **how)]
        case "v3 messages":
            run = agent.stream_events(given, config, version="v3")
            assert ["".join(of.text) for of in run.messages][-1] == "abc"
        case "async v3 messages":
            arun = await agent.astream_events(given, config, version="v3")
            read = [[text async for text in of.text] async for of in arun.messages]
            assert "".join(read[-1]) == "abc"
        case "async v3 output":
            arun = await agent.astream_events(given, config, version="v3")
            assert (await arun.output())["messages"][-1].text == "abc"


READS = [
    "invoke",
    "ainvoke",
    "stream",
    "astream",
    "v3 messages",
    "async v3 messages",
    "async v3 output",
]


@pytest.mark.parametrize("way", READS)
async def test_tools_that_run_side_by_side_and_are_agents_are_told_apart(
    observed: Observed, way: str
) -> None:
    handler = observed.handler(keep=99)

    await read(way, an_agent(Asked()), MESSAGES, {"callbacks": [handler]})
    await until(handler.is_idle)

    source = "end" if "invoke" in way else "stream"
    expected = [LOOKED, *echoed(1, 2, source=source), said(SAID, source=source)]
    assert_seen(observed, handler, expected, roots=[("agent", 4)])


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "v3 messages"])
async def test_an_agent_that_asks_a_human_goes_on_where_it_was(
    observed: Observed, way: str
) -> None:
    handler, asks = observed.handler(keep=99), HumanInTheLoopMiddleware(interrupt_on={"look": True})
    agent = an_agent(Asked(), middleware=[asks], checkpointer=InMemorySaver())
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    verdicts = [{"type": "approve"}, {"type": "reject", "message": "no"}]

    assert agent.invoke(MESSAGES, config)["__interrupt__"]
    await read(way, agent, Command(resume={"decisions": verdicts}), config)
    await until(handler.is_idle)

    source = "end" if "invoke" in way else "stream"
    expected = [LOOKED, *echoed(1, source=source), said(SAID, source=source)]
    assert [of.tree.outcome for of in handler.trees] == ["ok", "ok"]
    assert_seen(observed, handler, expected, roots=[("agent", 1), ("agent", 2)])


@pytest.mark.parametrize("way", READS)
async def test_what_middleware_asks_tries_again_and_falls_back_to_is_reported(
    observed: Observed, way: str
) -> None:
    broken, summary = answer(("x", -1.0), error=ValueError()), answer(("sum", -0.1), ("up", -0.2))
    handler, failing = observed.handler(keep=99), a_model(broken)
    middleware: list[Any] = [
        SummarizationMiddleware(a_model(summary), trigger=("messages", 2), keep=("messages", 1)),
        ModelFallbackMiddleware(a_model()),
        ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False, on_failure="error"),
    ]
    agent = create_agent(failing, [], name="agent", middleware=middleware)
    given = {"messages": [HumanMessage("one"), HumanMessage("two")]}

    await read(way, agent, given, {"callbacks": [handler]})
    await until(handler.is_idle)

    source = "end" if "invoke" in way else "stream"
    failed = begun(broken, 1, outcome="error", error="ValueError")
    if source == "end":
        failed = failed.but(tokens=((),), texts=("",), source=None, unavailable="no_answer")
    expected = [
        said(summary, source=source),
        failed,
        failed,
        said(SAID, source=source),
    ]
    assert_seen(observed, handler, expected, roots=[("agent", 4)])


# Odd answers


@pytest.mark.parametrize("streams", [False, True])
def test_tokens_without_text_count_like_any(observed: Observed, *, streams: bool) -> None:
    handler = observed.handler(keep=9)
    empty = answer(("", -0.1), ("", -0.2), ("x", -0.3), ("", -0.4))

    if streams:
        assert list(a_model(empty).stream("", {"callbacks": [handler]}))
    else:
        a_model(empty).invoke("", {"callbacks": [handler]})

    (report,) = handler.reports
    assert [(of.text, of.logprob) for of in report.tokens] == [
        ("", -0.1),
        ("", -0.2),
        ("x", -0.3),
        ("", -0.4),
    ]
    assert (report.text, report.confidence.count) == ("x", 4)
    assert handler.flush()
    assert len(observed.spans("token")) == 4
