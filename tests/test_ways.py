"""Every way of calling a model gives the same report, the same spans and the same metrics."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from typing import Annotated, Any, TypedDict

import pytest
from cells import Said, assert_seen, said
from conftest import Observed, until
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
)
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from langchain_logprobs import LogprobsCallbackHandler, instrument, uninstrument
from langchain_logprobs.telemetry.metrics import metrics_of
from langchain_logprobs.testing import Answer, ScriptedChatModel, answer

pytestmark = [
    pytest.mark.anyio,
    # Ways that LangChain is giving up, or is not yet sure of, are ways all the same.
    pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
    pytest.mark.filterwarnings("ignore:.*in beta"),
    pytest.mark.filterwarnings("ignore:The v3 streaming protocol"),
]

SAID = answer(
    ("Syd", -0.6, {"Syd": -0.6, "Can": -1.2}),
    ("ney", -0.01, {"ney": -0.01, "ny": -5.0}),
    (".", -0.3, {".": -0.3, "!": -1.5}),
)
QUESTION = "Capital of Australia?"
Way = Callable[[Any, Any, RunnableConfig], Awaitable[int]]
"""Calls a runnable, and says how often it has run it."""


# Ways


async def invoke(runnable: Any, given: Any, config: RunnableConfig) -> int:
    runnable.invoke(given, config)
    return 1


async def ainvoke(runnable: Any, given: Any, config: RunnableConfig) -> int:
    await runnable.ainvoke(given, config)
    return 1


async def stream(runnable: Any, given: Any, config: RunnableConfig) -> int:
    assert list(runnable.stream(given, config))
    return 1


async def astream(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return await read(runnable.astream(given, config))


async def astream_events_v1(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return await read(runnable.astream_events(given, config, version="v1"))


async def astream_events_v2(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return await read(runnable.astream_events(given, config, version="v2"))


async def astream_log(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return await read(runnable.astream_log(given, config))


async def batch(runnable: Any, given: Any, config: RunnableConfig) -> int:
    runnable.batch([given] * 3, config)
    return 3


async def abatch(runnable: Any, given: Any, config: RunnableConfig) -> int:
    await runnable.abatch([given] * 3, config)
    return 3


async def batch_two_at_once(runnable: Any, given: Any, config: RunnableConfig) -> int:
    runnable.batch([given] * 5, {**config, "max_concurrency": 2}, return_exceptions=True)
    return 5


async def abatch_two_at_once(runnable: Any, given: Any, config: RunnableConfig) -> int:
    limited = RunnableConfig(**config, max_concurrency=2)
    await runnable.abatch([given] * 5, limited, return_exceptions=True)
    return 5


async def batch_as_completed(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return len(list(runnable.batch_as_completed([given] * 3, config)))


async def abatch_as_completed(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return len([of async for of in runnable.abatch_as_completed([given] * 3, config)])


async def transform(runnable: Any, given: Any, config: RunnableConfig) -> int:
    assert list(runnable.transform(iter([given]), config))
    return 1


async def atransform(runnable: Any, given: Any, config: RunnableConfig) -> int:
    async def inputs() -> AsyncIterator[Any]:
        yield given

    return await read(runnable.atransform(inputs(), config))


async def read(events: AsyncIterator[Any]) -> int:
    assert [of async for of in events]
    return 1


async def stream_events_v3(runnable: Any, given: Any, config: RunnableConfig) -> int:
    assert list(runnable.stream_events(given, config, version="v3"))
    return 1


async def astream_events_v3(runnable: Any, given: Any, config: RunnableConfig) -> int:
    return await read(await runnable.astream_events(given, config, version="v3"))


SYNC: list[Way] = [
    invoke,
    stream,
    batch,
    batch_two_at_once,
    batch_as_completed,
    transform,
]
ASYNC: list[Way] = [
    ainvoke,
    astream,
    astream_events_v1,
    astream_events_v2,
    astream_log,
    abatch,
    abatch_two_at_once,
    abatch_as_completed,
    atransform,
]
V3: list[Way] = [stream_events_v3, astream_events_v3]
LISTENING: list[Way] = [astream_events_v1, astream_events_v2, astream_log, *V3]
"""Ways that have every model stream, however it is called inside."""
STREAMING: list[Way] = [stream, astream, transform, atransform]
"""Ways that have a model stream where nothing between them and the model waits for the whole."""


# What is called


@dataclass(frozen=True)
class Subject:
    """Something to call.

    Attributes:
        runnable: It.
        given: What it is called with.
        calls: What its model says, a run.
        root: The name of its root run; `None` if that is the model's own.
        passes_streams: Whether its `stream()` streams the model.
        always_streams: Whether it streams the model however it is called.
    """

    runnable: Runnable[Any, Any]
    given: Any
    calls: tuple[Said, ...] = (said(SAID),)
    root: str | None = None
    passes_streams: bool = True
    always_streams: bool = False


def a_model(*answers: Answer) -> ScriptedChatModel:
    return ScriptedChatModel(answers=answers or (SAID,))


def a_lone_model() -> Subject:
    return Subject(a_model(), QUESTION)


def a_bound_model() -> Subject:
    return Subject(a_model().bind(stop=["?"]).with_config(tags=["a"]), QUESTION)


PROMPT = ChatPromptTemplate.from_template("{question}")


def a_chain() -> Subject:
    chain = PROMPT | a_model() | StrOutputParser()
    return Subject(chain, {"question": QUESTION}, root="RunnableSequence")


def a_chain_of_parallel_models() -> Subject:
    chain = RunnableParallel(one=a_model(), other=a_model() | StrOutputParser())
    return Subject(chain, QUESTION, (said(SAID),) * 2, "RunnableParallel<one,other>")


def a_function_that_passes_nothing_on() -> Subject:
    model = a_model()
    chain = RunnableLambda(lambda _: model.invoke("").text)
    return Subject(chain, "", root="RunnableLambda", passes_streams=False)


class State(TypedDict):
    question: str
    answer: str


def _graph(node: Any, **others: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", node)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(**others)


def _asks(model: Any) -> Any:
    def ask(state: State) -> dict[str, str]:
        return {"answer": model.invoke(state["question"]).text}  # no config handed on

    return ask


def _asks_async(model: Any) -> Any:
    async def ask(state: State) -> dict[str, str]:
        return {"answer": (await model.ainvoke(state["question"])).text}

    return ask


GIVEN = {"question": QUESTION}


def a_graph() -> Subject:
    return Subject(_graph(_asks(a_model())), GIVEN, root="LangGraph", passes_streams=False)


def an_async_graph() -> Subject:
    return Subject(_graph(_asks_async(a_model())), GIVEN, root="LangGraph", passes_streams=False)


def a_graph_whose_node_streams() -> Subject:
    model = a_model()

    def ask(state: State) -> dict[str, str]:
        return {"answer": "".join(of.text for of in model.stream(state["question"]))}

    return Subject(_graph(ask), GIVEN, root="LangGraph", always_streams=True)


def an_async_graph_whose_node_streams() -> Subject:
    model = a_model()

    async def ask(state: State) -> dict[str, str]:
        return {"answer": "".join([of.text async for of in model.astream(state["question"])])}

    return Subject(_graph(ask), GIVEN, root="LangGraph", always_streams=True)


def a_graph_that_passes_config_on() -> Subject:
    model = a_model()

    def ask(state: State, config: RunnableConfig) -> dict[str, str]:
        return {"answer": model.invoke(state["question"], config).text}

    return Subject(_graph(ask), GIVEN, root="LangGraph", passes_streams=False)


class Both(TypedDict):
    question: str
    answers: Annotated[list[str], operator.add]


def a_graph_with_branches() -> Subject:
    """Two nodes at once, each of which is a graph itself; then four more, sent to one node."""
    graph = StateGraph(Both)
    inner = _graph(_asks(a_model()))
    model = a_model()

    def send(_: Both) -> list[Send]:
        return [Send("each", {"question": QUESTION}) for _ in range(2)]

    for name in ("left", "right"):
        graph.add_node(name, lambda state: {"answers": [inner.invoke(state)["answer"]]})
        graph.add_edge(START, name)
    graph.add_node("each", lambda state: {"answers": [model.invoke(state["question"]).text]})
    graph.add_conditional_edges("left", send, ["each"])
    graph.add_edge("each", END)
    given = {"question": QUESTION, "answers": []}
    return Subject(graph.compile(), given, (said(SAID),) * 4, "LangGraph", passes_streams=False)


def a_workflow_of_tasks() -> Subject:
    """LangGraph's functional interface: a task runs in a thread of its own."""
    model = a_model()

    @task
    def ask(question: str) -> str:
        return model.invoke(question).text

    @entrypoint()
    def workflow(question: str) -> str:
        return ask(question).result()

    return Subject(workflow, QUESTION, root="LangGraph", passes_streams=False)


TOOLS = answer(
    tool_calls=(ToolCall(name="add", args={"a": 1, "b": 2}, id="call_1"),),
    finish_reason="tool_calls",
)
CALLED = said(TOOLS, source=None, unavailable="provider_omits_tool_logprobs")
SURE = answer(("Sure", -0.05), ("!", -0.02))


class Adding(ScriptedChatModel):
    """Calls its tool, and says something once that has answered, in any number of runs at once."""

    answers: Sequence[Answer] = (TOOLS, SAID)

    def _now(self, messages: list[BaseMessage]) -> ScriptedChatModel:
        return a_model(self.answers[isinstance(messages[-1], ToolMessage)])

    def _generate(self, messages: list[BaseMessage], *args: Any, **others: Any) -> ChatResult:
        return self._now(messages)._generate(messages, *args, **others)

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **others: Any
    ) -> ChatResult:
        return await self._now(messages)._agenerate(messages, *args, **others)

    def _stream(self, messages: list[BaseMessage], *args: Any, **others: Any) -> Any:
        return self._now(messages)._stream(messages, *args, **others)

    def _astream(self, messages: list[BaseMessage], *args: Any, **others: Any) -> Any:
        return self._now(messages)._astream(messages, *args, **others)


def an_agent() -> Subject:
    """An agent whose tool asks a model too, and hands no config on."""
    model = a_model(SURE)

    def add(a: int, b: int) -> str:
        """Adds."""
        return f"{a + b}: {model.invoke('sure?').text}"

    agent = create_agent(Adding(), [add], name="adder")
    calls = (CALLED, said(SURE), said(SAID))
    return Subject(
        agent, {"messages": [HumanMessage("1 + 2?")]}, calls, "adder", passes_streams=False
    )


def an_agent_with_an_async_tool() -> Subject:
    model = a_model(SURE)

    async def add(a: int, b: int) -> str:
        """Adds."""
        return f"{a + b}: {(await model.ainvoke('sure?')).text}"

    agent = create_agent(Adding(), [add], name="adder")
    calls = (CALLED, said(SURE), said(SAID))
    return Subject(
        agent, {"messages": [HumanMessage("1 + 2?")]}, calls, "adder", passes_streams=False
    )


class City(BaseModel):
    """A city."""

    name: str


FILLED = answer(
    tool_calls=(ToolCall(name="City", args={"name": "Canberra"}, id="call_1"),),
    finish_reason="tool_calls",
)


def an_agent_with_a_response_format() -> Subject:
    agent = create_agent(a_model(FILLED), [], response_format=ToolStrategy(City), name="asker")
    calls = (said(FILLED, source=None, unavailable="provider_omits_tool_logprobs"),)
    return Subject(agent, {"messages": [HumanMessage("?")]}, calls, "asker", passes_streams=False)


def a_structured_model() -> Subject:
    model = a_model(FILLED).with_structured_output(City, include_raw=True)
    calls = (said(FILLED, source=None, unavailable="provider_omits_tool_logprobs"),)
    return Subject(model, QUESTION, calls, "RunnableSequence")


def sources(subject: Subject, way: Way) -> list[Said]:
    """What the subject's calls must be reported as, called in this way."""
    passed = subject.passes_streams and way in STREAMING
    streamed = subject.always_streams or way in LISTENING or passed
    tokens = "stream" if streamed else "end"
    return [of if of.source is None else of.but(source=tokens) for of in subject.calls]


def assert_right(
    observed: Observed, handler: LogprobsCallbackHandler, subject: Subject, way: Way, runs: int
) -> None:
    roots = [] if subject.root is None else [(subject.root, len(subject.calls))] * runs
    assert_seen(observed, handler, sources(subject, way) * runs, roots=roots)


SUBJECTS = [
    a_lone_model,
    a_bound_model,
    a_chain,
    a_chain_of_parallel_models,
    a_function_that_passes_nothing_on,
    a_graph,
    a_graph_whose_node_streams,
    a_graph_that_passes_config_on,
    a_graph_with_branches,
    an_agent,
    an_agent_with_a_response_format,
    a_structured_model,
]


@pytest.mark.parametrize("way", SYNC + ASYNC)
@pytest.mark.parametrize("make", SUBJECTS)
async def test_every_way_of_calling_gives_the_same_report(
    observed: Observed, make: Callable[[], Subject], way: Way
) -> None:
    subject, handler = make(), observed.handler(keep=99)

    runs = await way(subject.runnable, subject.given, {"callbacks": [handler]})

    assert_right(observed, handler, subject, way, runs)


@pytest.mark.parametrize("way", ASYNC)
@pytest.mark.parametrize(
    "make", [an_async_graph, an_async_graph_whose_node_streams, an_agent_with_an_async_tool]
)
async def test_async_nodes_and_tools_that_hand_no_config_on_are_seen(
    observed: Observed, make: Callable[[], Subject], way: Way
) -> None:
    subject, handler = make(), observed.handler(keep=99)

    runs = await way(subject.runnable, subject.given, {"callbacks": [handler]})

    assert_right(observed, handler, subject, way, runs)
    if make is not an_agent_with_an_async_tool:
        assert {of.call.metadata["langgraph_node"] for of in handler.reports} == {"ask"}


@pytest.mark.parametrize("way", [invoke, stream, batch])
async def test_tasks_of_a_workflow_are_seen(observed: Observed, way: Way) -> None:
    subject, handler = a_workflow_of_tasks(), observed.handler(keep=99)

    runs = await way(subject.runnable, subject.given, {"callbacks": [handler]})

    assert_right(observed, handler, subject, way, runs)


async def test_a_graph_that_asks_a_human_has_not_failed(observed: Observed) -> None:
    model, handler = a_model(), observed.handler(keep=9)

    def ask(state: State) -> dict[str, str]:
        return {"answer": model.invoke(state["question"]).text + interrupt("Sure?")}

    graph = _graph(ask, checkpointer=InMemorySaver())
    config: RunnableConfig = {"callbacks": [handler], "configurable": {"thread_id": "1"}}

    assert graph.invoke(GIVEN, config)["__interrupt__"]
    assert (await graph.ainvoke(Command(resume="!"), config))["answer"] == "Sydney.!"

    assert [of.tree.outcome for of in handler.trees] == ["ok", "ok"]
    assert_seen(observed, handler, [said(SAID)] * 2, roots=[("LangGraph", 1)] * 2)


async def test_a_node_that_asks_a_human_is_stopped_and_has_not_failed(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    asking = StructuredTool.from_function(interrupt, name="human", description="Asks a human.")
    graph = _graph(
        lambda state: {"answer": asking.invoke(a_model().invoke(state["question"]).text)},
        checkpointer=InMemorySaver(),
    )
    config: RunnableConfig = {"callbacks": [handler], "configurable": {"thread_id": "1"}}

    graph.invoke(GIVEN, config)
    await graph.ainvoke(Command(resume="!"), config)

    asked, resumed = (
        {of.name: (of.outcome, of.error) for of in tree.tree.runs} for tree in handler.trees
    )
    stopped, done = ("cancelled", "GraphInterrupt"), ("ok", None)
    runs = ["ask", "human"]
    assert (asked, resumed) == (dict.fromkeys(runs, stopped), dict.fromkeys(runs, done))


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_a_node_leaves_to_ask_a_human_is_cancelled(
    observed: Observed, *, asynchronous: bool
) -> None:
    model, handler = a_model(), observed.handler(keep=9)

    def ask(_: State) -> dict[str, str]:
        stream = model.stream(QUESTION)
        said = [next(stream).text, next(stream).text, interrupt("Go on?")]
        return {"answer": "".join([*said, *(of.text for of in stream)])}

    async def aask(_: State) -> dict[str, str]:
        stream = model.astream(QUESTION)
        said = [(await anext(stream)).text, (await anext(stream)).text, interrupt("Go on?")]
        return {"answer": "".join([*said, *[of.text async for of in stream]])}

    graph = _graph(_graph(aask if asynchronous else ask), checkpointer=InMemorySaver())
    config: RunnableConfig = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    if asynchronous:
        await graph.ainvoke(GIVEN, config)
        assert (await graph.ainvoke(Command(resume=""), config))["answer"] == "Sydney."
    else:
        graph.invoke(GIVEN, config)
        assert graph.invoke(Command(resume=""), config)["answer"] == "Sydney."

    whole = said(SAID, source="stream")
    begun = Said(
        tokens=(SAID.tokens[:1],),
        texts=("Syd",),
        source="stream",
        outcome="cancelled",
        error="GraphInterrupt",
        finish_reason=None,
    )
    await until(handler.is_idle)
    assert_seen(observed, handler, [begun, whole], roots=[("LangGraph", 1)] * 2)


async def test_a_graph_left_for_the_one_around_it_has_not_failed(observed: Observed) -> None:
    model, handler = a_model(), observed.handler(keep=9)

    def leave(state: State) -> Command[str]:
        answer = model.invoke(state["question"]).text
        return Command(graph=Command.PARENT, goto="after", update={"answer": answer})

    graph = StateGraph(State)
    graph.add_node("inner", _graph(leave), destinations=("after",))
    graph.add_node("after", _asks(model))
    graph.add_edge(START, "inner")
    graph.add_edge("after", END)

    graph.compile().invoke(GIVEN, {"callbacks": [handler]})

    (tree,) = handler.trees
    assert (tree.tree.outcome, {(of.outcome, of.error) for of in tree.tree.runs}) == (
        "ok",
        {("ok", None)},
    )
    assert_seen(observed, handler, [said(SAID)] * 2, roots=[("LangGraph", 2)])


async def test_every_attempt_of_a_node_is_in_its_graphs_tree(observed: Observed) -> None:
    model, handler = a_model(), observed.handler(keep=9)
    failures = iter([ConnectionError(), ConnectionError()])

    def ask(state: State) -> dict[str, str]:
        answer = model.invoke(state["question"]).text
        for failure in failures:
            raise failure
        return {"answer": answer}

    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.01, max_attempts=3)
    graph.add_node("ask", ask, retry_policy=policy)
    graph.add_edge(START, "ask")

    await graph.compile().ainvoke(GIVEN, {"callbacks": [handler]})

    assert_seen(observed, handler, [said(SAID)] * 3, roots=[("LangGraph", 3)])


@pytest.mark.parametrize("way", SYNC + ASYNC)
async def test_a_handler_that_the_model_alone_has_sees_a_call_without_a_chain(
    observed: Observed, way: Way
) -> None:
    handler = observed.handler(keep=9)
    model = ScriptedChatModel(answers=[SAID], callbacks=[handler])
    subject = replace(a_chain(), runnable=PROMPT | model | StrOutputParser(), root=None)

    runs = await way(subject.runnable, subject.given, {})

    assert_right(observed, handler, subject, way, runs)


V3_SUBJECTS = [
    a_lone_model,
    a_bound_model,
    a_graph,
    a_graph_whose_node_streams,
    a_graph_that_passes_config_on,
    a_graph_with_branches,
    an_agent,
    an_agent_with_a_response_format,
]


@pytest.mark.parametrize(
    ("make", "way"),
    [
        *((make, way) for make in V3_SUBJECTS for way in V3),
        (an_async_graph, astream_events_v3),
        (an_async_graph_whose_node_streams, astream_events_v3),
        (an_agent_with_an_async_tool, astream_events_v3),
    ],
)
async def test_the_v3_protocol_gives_the_same_report_though_its_end_has_one_token(
    observed: Observed, make: Callable[[], Subject], way: Way
) -> None:
    subject, handler = make(), observed.handler(keep=99)

    await way(subject.runnable, subject.given, {"callbacks": [handler]})
    await until(handler.is_idle)  # the model's run ends in a task of its own, after its events

    assert_right(observed, handler, subject, way, 1)


@pytest.mark.parametrize("way", V3)
@pytest.mark.parametrize("make", [a_chain, a_structured_model, a_function_that_passes_nothing_on])
async def test_langchain_has_no_v3_for_a_plain_chain_and_the_handler_holds_nothing_of_it(
    observed: Observed, make: Callable[[], Subject], way: Way
) -> None:
    subject, handler = make(), observed.handler(keep=9)

    with pytest.raises(NotImplementedError, match="v3"):
        await way(subject.runnable, subject.given, {"callbacks": [handler]})

    assert_seen(observed, handler, [])


@pytest.mark.parametrize("way", V3)
async def test_a_chain_in_a_node_streams_under_v3_too(observed: Observed, way: Way) -> None:
    chain = a_chain().runnable
    graph = _graph(lambda state: {"answer": chain.invoke(state)})
    handler = observed.handler(keep=9)

    await way(graph, GIVEN, {"callbacks": [handler]})
    await until(handler.is_idle)

    assert_seen(observed, handler, [said(SAID, source="stream")], roots=[("LangGraph", 1)])


# LangGraph's stream modes

MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("mode", [*MODES, ["values", "tasks"], ["updates", "messages"], MODES])
async def test_every_stream_mode_of_a_graph_gives_the_same_report(
    observed: Observed, mode: Any, *, subgraphs: bool, asynchronous: bool
) -> None:
    model, handler = a_model(), observed.handler(keep=10)
    inner = _graph(_asks_async(model) if asynchronous else _asks(model))
    graph = _graph(inner, checkpointer=InMemorySaver())
    config: Any = {"callbacks": [handler], "configurable": {"thread_id": "1"}}
    asked = {"stream_mode": mode, "subgraphs": subgraphs}

    if asynchronous:
        events = [of async for of in graph.astream(GIVEN, config, **asked)]
    else:
        events = list(graph.stream(GIVEN, config, **asked))

    assert events or mode in ("custom", "messages")
    source = "stream" if "messages" in mode else "end"
    assert_seen(observed, handler, [said(SAID, source=source)], roots=[("LangGraph", 1)])


@pytest.mark.parametrize("context", [None, copy_context])
def test_a_thread_of_ones_own_has_the_handler_only_with_the_context(
    observed: Observed, context: Callable[[], Context] | None
) -> None:
    model, handler = a_model(), observed.handler(keep=9)

    def ask(_: str) -> None:
        target = model.invoke if context is None else partial(context().run, model.invoke)
        thread = Thread(target=target, args=("",))
        thread.start()
        thread.join()

    RunnableLambda(ask).invoke("", {"callbacks": [handler]})

    seen = context is not None
    assert_seen(observed, handler, [said(SAID)] * seen, roots=[("ask", 1)] * seen)


# Handlers in several places at once


@pytest.fixture
def installed(observed: Observed) -> Iterator[LogprobsCallbackHandler]:
    yield instrument(
        tracer_provider=observed.tracer_provider,
        meter_provider=observed.meter_provider,
        keep=99,
        raise_errors=True,
    )
    uninstrument()


@pytest.mark.parametrize("given_too", [False, True])
@pytest.mark.parametrize("way", SYNC + ASYNC)
@pytest.mark.parametrize("make", [a_lone_model, a_chain, a_graph, an_agent])
async def test_installed_globally_and_given_explicitly_a_handler_reports_once(
    observed: Observed,
    installed: LogprobsCallbackHandler,
    make: Callable[[], Subject],
    way: Way,
    *,
    given_too: bool,
) -> None:
    subject = make()

    runs = await way(
        subject.runnable, subject.given, {"callbacks": [installed]} if given_too else {}
    )

    assert_right(observed, installed, subject, way, runs)


@pytest.mark.parametrize("way", SYNC + ASYNC)
@pytest.mark.parametrize("make", [a_chain, a_graph])
async def test_two_handlers_report_twice(
    observed: Observed,
    installed: LogprobsCallbackHandler,
    make: Callable[[], Subject],
    way: Way,
) -> None:
    subject, other = make(), Observed()
    handler = other.handler(keep=99)

    runs = await way(subject.runnable, subject.given, {"callbacks": [handler]})

    for of, seen in ((observed, installed), (other, handler)):
        assert_right(of, seen, subject, way, runs)
    other.close()


# That a cell sees what is wrong


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [said(SAID), said(SAID)],
        [said(SURE)],
        [said(SAID, source="stream")],
        [said(SAID, outcome="cancelled")],
        [said(SAID, texts=("Sydney",))],
        [said(SAID, tokens=(SAID.tokens[:2],))],
        [said(SAID, model="another")],
        [said(SAID, unavailable="not_sent")],
        [said(SAID, finish_reason="length")],
    ],
)
def test_a_cell_tells_what_is_not_so(observed: Observed, wrong: list[Said]) -> None:
    handler = observed.handler(keep=9)
    a_model().invoke(QUESTION, {"callbacks": [handler]})

    assert_seen(observed, handler, [said(SAID)])
    with pytest.raises(AssertionError):
        assert_seen(observed, handler, wrong)


@pytest.mark.parametrize("strange", ["root", "span", "metric", "error"])
def test_a_cell_tells_what_is_too_much(observed: Observed, strange: str) -> None:
    handler = observed.handler(keep=9)
    a_model().invoke(QUESTION, {"callbacks": [handler]})
    match strange:
        case "span":
            observed.tracer.start_span("another").end()
        case "metric":
            observed.meter_provider.get_meter("another").create_counter("another").add(1)
        case "error":
            metrics_of(observed.meter_provider).count_error("sink")

    with pytest.raises(AssertionError):
        assert_seen(observed, handler, [said(SAID)], roots=[("a", 1)] * (strange == "root"))


# Models of their own interface


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_generate_with_several_prompts_reports_each(
    observed: Observed, *, asynchronous: bool
) -> None:
    words = [answer("one"), answer("two"), answer("three")]
    model, handler = a_model(*words), observed.handler(keep=10)

    if asynchronous:
        await model.agenerate([[], [], []], callbacks=[handler])
    else:
        model.generate([[], [], []], callbacks=[handler])

    assert_seen(observed, handler, list(map(said, words)))


async def test_of_a_batch_each_failure_and_each_answer_is_reported(observed: Observed) -> None:
    answers = [SURE, answer("no", error=ValueError()), SAID, answer("no", error=ValueError())]
    handler = observed.handler(keep=10)
    config: RunnableConfig = {"callbacks": [handler], "max_concurrency": 2}

    results = a_model(*answers).batch([""] * 4, config, return_exceptions=True)
    results += await a_model(*answers).abatch([""] * 4, config, return_exceptions=True)

    assert sum(isinstance(of, ValueError) for of in results) == 4
    assert_seen(observed, handler, [said(SURE), FAILED, said(SAID), FAILED] * 2)


FAILED = Said(
    source=None,
    outcome="error",
    error="ValueError",
    unavailable="no_answer",
    finish_reason=None,
)


# Retries and fallbacks


def a_retried_model() -> Subject:
    model = a_model(answer(error=ValueError()), answer(error=ValueError()), SAID)
    retried = model.with_retry(retry_if_exception_type=(ValueError,), wait_exponential_jitter=False)
    return Subject(retried, QUESTION, (FAILED, FAILED, said(SAID)), "ScriptedChatModel")


class Down(ScriptedChatModel):
    """Fails before its first chunk: later on, LangChain falls back to nothing."""

    answers: Sequence[Answer] = (answer(error=ValueError()),)

    def _stream(self, *_: Any, **__: Any) -> Any:
        raise ValueError

    def _astream(self, *_: Any, **__: Any) -> Any:
        raise ValueError


def a_model_with_a_fallback() -> Subject:
    return Subject(
        Down().with_fallbacks([a_model()]), QUESTION, (FAILED, said(SAID)), "RunnableWithFallbacks"
    )


def an_invoked_model_with_a_fallback() -> Subject:
    """Alone: not streamed, LangChain hands both models the config that it was given itself."""
    return replace(a_model_with_a_fallback(), root=None)


def a_chain_with_a_fallback() -> Subject:
    subject = a_model_with_a_fallback()
    chain = PROMPT | subject.runnable
    return Subject(chain, GIVEN, subject.calls, "RunnableSequence")


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (a_retried_model, invoke),  # LangChain retries no stream
        (a_retried_model, ainvoke),
        *((an_invoked_model_with_a_fallback, way) for way in (invoke, ainvoke)),
        *((a_model_with_a_fallback, way) for way in (stream, astream)),
        *((a_chain_with_a_fallback, way) for way in (invoke, ainvoke, stream, astream)),
        (a_chain_with_a_fallback, astream_events_v2),
    ],
)
async def test_every_attempt_is_a_call_of_its_own(
    observed: Observed, make: Callable[[], Subject], way: Way
) -> None:
    subject, handler = make(), observed.handler(keep=9)

    await way(subject.runnable, subject.given, {"callbacks": [handler]})

    outcomes = [of.call.outcome for of in handler.reports]
    assert outcomes == ["error"] * (len(outcomes) - 1) + ["ok"]
    assert_right(observed, handler, subject, way, 1)


# Where nothing is streamed, or nothing is asked


def not_streaming(*, disable: Any) -> ScriptedChatModel:
    return ScriptedChatModel(answers=[SAID], disable_streaming=disable)


@pytest.mark.parametrize("way", [stream, astream, astream_events_v2])
async def test_streaming_that_is_disabled_changes_the_source_alone(
    observed: Observed, way: Way
) -> None:
    handler = observed.handler(keep=9)
    tool_calling = not_streaming(disable="tool_calling")

    for model in (not_streaming(disable=True), tool_calling, tool_calling.bind_tools([City])):
        await way(model, QUESTION, {"callbacks": [handler]})

    assert [of.call.source for of in handler.reports] == ["end", "stream", "end"]
    ended, streamed = said(SAID), said(SAID, source="stream")
    assert_seen(observed, handler, [ended, streamed, ended])


@pytest.mark.parametrize("mode", ["values", "messages"])
async def test_in_a_graph_what_comes_from_a_cache_is_reported_as_it_was_stored(
    observed: Observed, mode: Any
) -> None:
    model = ScriptedChatModel(answers=[SAID], cache=InMemoryCache())
    graph, given = _graph(_asks(model)), {**GIVEN, "answer": ""}
    handler = observed.handler(keep=9)
    config: RunnableConfig = {"callbacks": [handler]}
    graph.invoke(given, config)

    list(graph.stream(given, config, stream_mode=mode))
    assert [of async for of in graph.astream(given, config, stream_mode=mode)]
    list(graph.stream_events(given, config, version="v3"))

    assert_seen(observed, handler, [said(SAID)] * 4, roots=[("LangGraph", 1)] * 4)


@pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream, astream_events_v2])
async def test_what_comes_from_a_cache_is_reported_as_it_was_stored(
    observed: Observed, way: Way
) -> None:
    model = ScriptedChatModel(answers=[SAID, answer("another")], cache=InMemoryCache())
    handler = observed.handler(keep=9)
    model.invoke(QUESTION, {"callbacks": [handler]})

    await way(model, QUESTION, {"callbacks": [handler]})

    again = said(SAID)
    if way in {stream, astream, astream_events_v2}:  # LangChain's streams ask no cache
        again = said(answer("another"), source="stream")
    assert_seen(observed, handler, [said(SAID), again])
