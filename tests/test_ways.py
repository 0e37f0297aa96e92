"""Every way of calling a model gives the same report and the same spans."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import pytest
from conftest import Observed, until
from langchain.agents import create_agent
from langchain_core.messages import ToolCall
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph

from langchain_logprobs import CallReport
from langchain_logprobs.testing import Answer, ScriptedChatModel, answer

pytestmark = [
    pytest.mark.anyio,
    # Ways that LangChain is giving up, or is not yet sure of, are ways all the same.
    pytest.mark.filterwarnings("ignore:astream_events version='v1' is deprecated"),
    pytest.mark.filterwarnings("ignore:.*in beta"),
    pytest.mark.filterwarnings("ignore:The v3 streaming protocol"),
]

SAID = answer(
    ("Syd", -0.6, {"Syd": -0.6, "Can": -1.2}),
    ("ney", -0.01, {"ney": -0.01, "ny": -5.0}),
    (".", -0.3, {".": -0.3, "!": -1.5}),
)
Way = Callable[[Runnable[Any, Any], Any, RunnableConfig], Awaitable[int]]
"""Calls a runnable, and says how many model calls that should have made."""


async def invoke(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    runnable.invoke(given, config)
    return 1


async def ainvoke(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    await runnable.ainvoke(given, config)
    return 1


async def stream(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    list(runnable.stream(given, config))
    return 1


async def astream(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    async for _ in runnable.astream(given, config):
        pass
    return 1


async def astream_events_v2(
    runnable: Runnable[Any, Any], given: Any, config: RunnableConfig
) -> int:
    async for _ in runnable.astream_events(given, config, version="v2"):
        pass
    return 1


async def batch(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    runnable.batch([given] * 3, config)
    return 3


async def abatch(runnable: Runnable[Any, Any], given: Any, config: RunnableConfig) -> int:
    await runnable.abatch([given] * 3, config)
    return 3


async def astream_events_v1(
    runnable: Runnable[Any, Any], given: Any, config: RunnableConfig
) -> int:
    async for _ in runnable.astream_events(given, config, version="v1"):
        pass
    return 1


WAYS: list[Way] = [
    invoke,
    ainvoke,
    stream,
    astream,
    astream_events_v1,
    astream_events_v2,
    batch,
    abatch,
]


async def stream_events_v3(runnable: Any, given: Any, config: RunnableConfig) -> int:
    list(runnable.stream_events(given, config, version="v3"))
    return 1


async def astream_events_v3(runnable: Any, given: Any, config: RunnableConfig) -> int:
    async for _ in await runnable.astream_events(given, config, version="v3"):
        pass
    return 1


def a_model(*answers: Answer) -> tuple[Runnable[Any, Any], Any]:
    return ScriptedChatModel(answers=answers or (SAID,)), "Capital of Australia?"


def a_chain() -> tuple[Runnable[Any, Any], Any]:
    prompt = ChatPromptTemplate.from_template("{question}")
    return prompt | a_model()[0] | StrOutputParser(), {"question": "Capital of Australia?"}


class State(TypedDict):
    question: str
    answer: str


def a_graph() -> tuple[Runnable[Any, Any], Any]:
    model, _ = a_model()

    def ask(state: State) -> dict[str, str]:
        return {"answer": model.invoke(state["question"]).text}  # no config handed on

    return _graph(ask), {"question": "Capital of Australia?"}


def an_async_graph() -> tuple[Runnable[Any, Any], Any]:
    model, _ = a_model()

    async def ask(state: State) -> dict[str, str]:
        return {"answer": (await model.ainvoke(state["question"])).text}

    return _graph(ask), {"question": "Capital of Australia?"}


def a_graph_with_branches() -> tuple[Runnable[Any, Any], Any]:
    """Two nodes at once; one of them is a graph itself."""
    graph = StateGraph(Both)
    for name, node in {"left": a_graph()[0], "right": a_graph()[0]}.items():
        graph.add_node(name, _inside(name, node))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile(), {"question": "Capital of Australia?"}


class Both(TypedDict):
    question: str
    left: str
    right: str


def _inside(name: str, node: Runnable[Any, Any]) -> Any:
    return lambda state: {name: node.invoke({"question": state["question"]})["answer"]}


def _graph(node: Any) -> Runnable[Any, Any]:
    graph = StateGraph(State)
    graph.add_node("ask", node)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("subject", [a_model, a_chain, a_graph])
async def test_every_way_of_calling_gives_the_same_report(
    observed: Observed, subject: Callable[[], Any], way: Way
) -> None:
    runnable, given = subject()
    handler = observed.handler(keep=10)

    calls = await way(runnable, given, {"callbacks": [handler]})

    handler.flush()
    assert [essence(of) for of in handler.reports] == [essence_of(SAID)] * calls
    assert [of.call.root_name is None for of in handler.reports] == [subject is a_model] * calls
    assert llm_trees(observed) == [["chat scripted-1", ["token"], ["token"], ["token"]]] * calls
    assert observed.total("langchain_logprobs.responses") == calls
    assert observed.total("langchain_logprobs.tokens") == 3 * calls
    assert observed.total("langchain_logprobs.token_spans", result="emitted") == 3 * calls
    assert handler.is_idle()


@pytest.mark.parametrize("way", [stream_events_v3, astream_events_v3])
@pytest.mark.parametrize("subject", [a_model, a_graph])
async def test_the_v3_protocol_gives_the_same_report_though_its_end_has_one_token(
    observed: Observed, subject: Callable[[], Any], way: Way
) -> None:
    runnable, given = subject()
    handler = observed.handler(keep=10)

    await way(runnable, given, {"callbacks": [handler]})
    await until(handler.is_idle)  # the model's run ends in a task of its own, after its events

    handler.flush()
    (report,) = handler.reports
    assert essence(report) == essence_of(SAID)
    assert report.call.source == "stream"
    assert llm_trees(observed) == [["chat scripted-1", ["token"], ["token"], ["token"]]]
    assert handler.is_idle()


MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]


@pytest.mark.parametrize("mode", MODES)
async def test_every_stream_mode_of_a_graph_gives_the_same_report(
    observed: Observed, mode: Any
) -> None:
    handler = observed.handler(keep=10)
    config: RunnableConfig = {"callbacks": [handler]}

    for graph, given in (a_graph(), an_async_graph()):
        async for _ in graph.astream(given, config, stream_mode=mode):
            pass
    graph, given = a_graph()
    list(graph.stream(given, config, stream_mode=mode))

    handler.flush()
    assert [essence(of) for of in handler.reports] == [essence_of(SAID)] * 3
    assert {of.call.source for of in handler.reports} == {"stream" if mode == "messages" else "end"}
    assert len(llm_trees(observed)) == 3
    assert handler.is_idle()


@pytest.mark.parametrize("way", WAYS)
async def test_parallel_nodes_and_graphs_inside_belong_to_one_tree(
    observed: Observed, way: Way
) -> None:
    graph, given = a_graph_with_branches()
    handler = observed.handler(keep=10)

    runs = await way(graph, given, {"callbacks": [handler]})

    handler.flush()
    call = ["chat scripted-1", ["token"], ["token"], ["token"]]
    assert observed.tree() == [["invoke_workflow LangGraph", call, call]] * runs
    assert [len(of.calls) for of in handler.trees] == [2] * runs
    assert handler.is_idle()


def test_generate_with_several_prompts_reports_each(observed: Observed) -> None:
    words = [answer("one"), answer("two"), answer("three")]
    handler = observed.handler(keep=10)

    ScriptedChatModel(answers=words).generate([[], [], []], callbacks=[handler])

    handler.flush()
    assert [of.text for of in handler.reports] == ["one", "two", "three"]
    assert observed.tree() == [["chat scripted-1", ["token"]]] * 3
    assert handler.is_idle()


@pytest.mark.parametrize("way", [ainvoke, astream, astream_events_v2, abatch])
async def test_async_nodes_of_a_graph_are_seen(observed: Observed, way: Way) -> None:
    runnable, given = an_async_graph()
    handler = observed.handler(keep=10)

    calls = await way(runnable, given, {"callbacks": [handler]})

    handler.flush()
    assert [essence(of) for of in handler.reports] == [essence_of(SAID)] * calls
    assert {of.call.metadata["langgraph_node"] for of in handler.reports} == {"ask"}


@pytest.mark.parametrize("way", [stream, astream, astream_events_v2])
async def test_what_streams_has_the_time_of_every_token(observed: Observed, way: Way) -> None:
    runnable, given = a_chain()
    handler = observed.handler(keep=1)

    await way(runnable, given, {"callbacks": [handler]})

    assert handler.last is not None
    times = [token.at_ns for token in handler.last.tokens]
    assert handler.last.call.source == "stream"
    assert all(at is not None for at in times)
    assert times == sorted(times)


@pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream])
async def test_every_call_of_an_agent_is_reported_in_one_tree(observed: Observed, way: Way) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    call = ToolCall(name="add", args={"a": 1, "b": 2}, id="call_1")
    model, _ = a_model(answer(tool_calls=(call,), finish_reason="tool_calls"), SAID)
    agent = create_agent(model, [add], name="adder")
    handler = observed.handler(keep=10)

    await way(agent, {"messages": [("user", "1 + 2?")]}, {"callbacks": [handler]})

    handler.flush()
    tools, said = handler.reports
    assert tools.unavailable == "provider_omits_tool_logprobs"
    assert tools.call.completions[0].tool_calls == (("add", {"a": 1, "b": 2}),)
    assert essence(said) == essence_of(SAID)
    (tree,) = handler.trees
    assert tree.name == "adder"
    assert tree.calls == (tools, said)
    assert tree.weakest is said
    assert observed.tree() == [
        [
            "invoke_workflow adder",
            ["chat scripted-1"],
            ["chat scripted-1", ["token"], ["token"], ["token"]],
        ]
    ]


def essence(report: CallReport) -> tuple[Any, ...]:
    """What of a report must not depend on how the model was called."""
    return (
        report.text,
        [(of.text, of.logprob, of.raw, of.candidates) for of in report.tokens],
        report.confidence.sum_logprob,
        report.confidence.mean_entropy,
        report.call.outcome,
        report.unavailable,
        report.call.model,
        report.call.provider,
        report.call.output_tokens,
        report.call.completions[0].finish_reason,
    )


def essence_of(script: Answer) -> tuple[Any, ...]:
    return (
        "Sydney.",
        [(of.text, of.logprob, of.raw, of.candidates) for of in script.tokens],
        pytest.approx(-0.91),
        pytest.approx(0.57135, abs=1e-4),
        "ok",
        None,
        "scripted-1",
        "scripted",
        3,
        "stop",
    )


def llm_trees(observed: Observed) -> list[Any]:
    """The LLM spans with what is under them, wherever they hang."""
    return [of for root in observed.tree() for of in _below(root) if of[0].startswith("chat ")]


def _below(tree: list[Any]) -> list[Any]:
    return [tree, *(of for child in tree[1:] for of in _below(child))]
