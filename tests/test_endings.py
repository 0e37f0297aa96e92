"""However a call ends, it is reported once, with what arrived of it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypedDict
from uuid import UUID, uuid4

import pytest
from cells import assert_seen, reported
from conftest import PATIENCE, Observed, until
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph

from langchain_logprobs import CallReport, LogprobsCallbackHandler, OpenTelemetrySink, Report
from langchain_logprobs.testing import ScriptedChatModel, answer

pytestmark = pytest.mark.anyio

WORDS = [(f"t{n} ", -0.1) for n in range(6)]


class BrokenError(Exception):
    """What a provider fails with."""


def a_model(**others: Any) -> ScriptedChatModel:
    return ScriptedChatModel(answers=[answer(*WORDS, **others)])


def a_chain(**others: Any) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_template("{q}") | a_model(**others) | StrOutputParser()


def texts(report: CallReport) -> list[str]:
    return [of.text for of in report.tokens]


def only(observed: Observed, handler: LogprobsCallbackHandler) -> CallReport:
    """The only report there is, once its spans and metrics are seen to be the only ones too."""
    (report,) = handler.reports
    trees = [(of.name, len(of.calls)) for of in handler.trees]
    assert_seen(observed, handler, [reported(report)], roots=trees)
    return report


async def time_out(
    awaited: Coroutine[Any, Any, Any], handler: LogprobsCallbackHandler, calls: int = 1
) -> None:
    """Lets it time out as soon as it has begun so many calls."""

    async def expire() -> None:
        await until(lambda: len(handler.open_calls()) == calls)
        limit.reschedule(asyncio.get_running_loop().time())

    limit = asyncio.timeout(None)
    expiring = asyncio.create_task(expire())
    with pytest.raises(TimeoutError):
        async with limit:
            await awaited
    await expiring


def test_a_stream_left_early_is_cancelled_with_what_arrived(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    stream = a_model().stream("", {"callbacks": [handler]})
    for _ in range(3):
        next(stream)

    stream.close()

    report = only(observed, handler)
    assert (report.call.outcome, report.call.error) == ("cancelled", "GeneratorExit")
    assert texts(report) == ["t0 ", "t1 "]
    handler.flush()
    assert len(observed.spans("token")) == 2
    (span,) = observed.spans("chat")
    assert span.status.is_ok or span.status.is_unset


def test_a_stream_that_is_forgotten_is_reported_when_it_is_collected(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    stream = a_chain().stream({"q": ""}, {"callbacks": [handler]})
    next(stream)

    del stream
    gc.collect()

    assert only(observed, handler).call.outcome == "cancelled"


async def test_a_cancelled_task_is_reported_with_what_arrived(observed: Observed) -> None:
    handler = observed.handler(keep=9)

    async def read() -> None:
        async for _ in a_chain(pause=0.05).astream({"q": ""}, {"callbacks": [handler]}):
            pass

    task = asyncio.create_task(read())
    await until(lambda: any(len(of.events) > 2 for of in handler.open_calls()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    report = only(observed, handler)
    assert report.call.outcome == "cancelled"
    assert texts(report)[:2] == ["t0 ", "t1 "]
    assert len(report.tokens) < len(WORDS)


async def test_ainvoke_that_times_out_inside_a_chain_is_reported_at_the_chains_end(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)

    await time_out(a_chain(pause=3600).ainvoke({"q": ""}, {"callbacks": [handler]}), handler)

    report = only(observed, handler)  # LangChain tells of the model's run nothing at all
    assert (report.call.outcome, report.unavailable) == ("cancelled", "no_answer")
    (tree,) = handler.trees
    assert (tree.tree.outcome, tree.calls) == ("cancelled", (report,))


async def test_ainvoke_of_a_lone_model_that_times_out_is_abandoned_after_the_idle_timeout(
    observed: Observed,
) -> None:
    now = [time.time_ns()]
    handler = observed.handler(keep=9, idle_timeout=0.2, clock=lambda: now[0])

    await time_out(a_model(pause=3600).ainvoke("", {"callbacks": [handler]}), handler)

    assert not handler.is_idle()
    now[0] += 10**9
    await until(lambda: handler.reports)
    assert only(observed, handler).call.outcome == "abandoned"


def test_a_provider_error_half_way_is_an_error_with_what_arrived(observed: Observed) -> None:
    handler = observed.handler(keep=9)

    with pytest.raises(BrokenError):
        list(a_model(error=BrokenError()).stream("", {"callbacks": [handler]}))

    report = only(observed, handler)
    assert (report.call.outcome, report.call.error) == ("error", "BrokenError")
    assert texts(report) == [text for text, _ in WORDS]
    handler.flush()
    (span,) = observed.spans("chat")
    assert span.status.description == "BrokenError"
    assert (span.attributes or {})["error.type"] == "BrokenError"


class Kills(BaseCallbackHandler):
    """Ends a stream at its fourth piece, on purpose."""

    run_inline = raise_error = True

    def __init__(self) -> None:
        self.pieces = 0

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.pieces += 1
        if self.pieces == 4:
            raise BrokenError


async def _pieces(stream: Iterator[Any]) -> AsyncIterator[Any]:
    for piece in stream:
        yield piece


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_another_handler_ends_has_the_text_of_all_its_tokens(
    observed: Observed, *, asynchronous: bool
) -> None:
    handler = observed.handler(keep=9)
    config: RunnableConfig = {"callbacks": [handler, Kills()]}

    stream: Any = a_model().astream("", config)
    if not asynchronous:
        stream = _pieces(a_model().stream("", config))
    with pytest.raises(BrokenError):
        await leave(stream, len(WORDS))

    report = only(observed, handler)  # LangChain has not put the last piece to the others yet
    assert (report.call.outcome, texts(report)) == ("error", ["t0 ", "t1 ", "t2 "])
    assert report.text == "t0 t1 t2 "


def test_a_provider_error_before_the_first_token_says_there_was_no_answer(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)

    with pytest.raises(BrokenError):
        a_model(error=BrokenError()).invoke("", {"callbacks": [handler]})

    assert only(observed, handler).unavailable == "no_answer"
    assert observed.total("langchain_logprobs.responses", reason="no_answer") == 1


class MergeFails(ScriptedChatModel):
    """A provider whose chunks LangChain cannot put together: it then fires no end and no error."""

    def _stream(self, *_: Any, **__: Any) -> Any:
        for text, logprobs in [("a", {"content": []}), ("b", -0.1), ("c", -0.2)]:
            info = {"logprobs": logprobs}
            message = AIMessageChunk(content=text, additional_kwargs=info)
            yield ChatGenerationChunk(message=message, generation_info=info)


def test_chunks_that_cannot_be_merged_are_reported_at_the_chains_end(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    chain = ChatPromptTemplate.from_template("{q}") | MergeFails(answers=[answer()])

    with pytest.raises(TypeError):
        list(chain.stream({"q": ""}, {"callbacks": [handler]}))

    report = only(observed, handler)
    assert (report.call.outcome, report.unavailable, report.text) == ("error", None, "abc")
    assert [of.logprob for of in report.tokens] == [-0.1, -0.2]


def test_chunks_of_a_lone_model_that_cannot_be_merged_are_abandoned_with_what_arrived(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)

    with pytest.raises(TypeError):
        list(MergeFails(answers=[answer()]).stream("", {"callbacks": [handler]}))

    assert not handler.reports  # LangChain tells of it nothing at all, so time must
    handler.close()
    report = only(observed, handler)
    assert (report.call.outcome, report.call.source, report.text) == ("abandoned", "stream", "abc")


class State(TypedDict):
    said: str


def a_graph(**others: Any) -> Runnable[Any, Any]:
    model = a_model(**others)

    async def say(state: State) -> dict[str, str]:
        return {"said": "".join([of.text async for of in model.astream(state["said"])])}

    graph = StateGraph(State)
    graph.add_node("say", say)
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    return graph.compile()


@pytest.mark.parametrize("way", ["stream", "astream", "astream_events"])
async def test_a_provider_error_where_something_else_has_the_model_stream_leaves_what_arrived(
    observed: Observed, way: str
) -> None:
    handler = observed.handler(keep=9)
    model = a_model(error=BrokenError())

    def say(state: State) -> dict[str, str]:
        return {"said": model.invoke(state["said"]).text}  # LangChain tells of no part of it

    graph = StateGraph(State)
    graph.add_node("say", say)
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    compiled: Any = graph.compile()
    config = {"callbacks": [handler]}

    async def call() -> None:
        if way == "stream":
            list(compiled.stream({"said": ""}, config, stream_mode="messages"))
        elif way == "astream":
            stream = compiled.astream({"said": ""}, config, stream_mode="messages")
            assert [of async for of in stream]
        else:
            assert [of async for of in compiled.astream_events({"said": ""}, config)]

    with pytest.raises(BrokenError):
        await call()

    report = only(observed, handler)
    assert (report.call.outcome, report.call.error) == ("error", "BrokenError")
    assert (texts(report), report.text) == ([of for of, _ in WORDS], "t0 t1 t2 t3 t4 t5 ")


async def test_an_async_stream_that_is_forgotten_is_reported_when_it_is_collected(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    stream = a_chain().astream({"q": ""}, {"callbacks": [handler]})
    await anext(stream)

    del stream
    gc.collect()
    await until(handler.is_idle)

    assert only(observed, handler).call.outcome == "cancelled"


async def test_events_that_are_left_early_are_cancelled_with_what_arrived(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    events: Any = a_chain(pause=0.02).astream_events({"q": ""}, {"callbacks": [handler]})
    async for _ in events:
        if any(len(of.events) > 2 for of in handler.open_calls()):
            break

    await events.aclose()
    await until(handler.is_idle)

    report = only(observed, handler)
    assert (report.call.outcome, texts(report)[:2]) == ("cancelled", ["t0 ", "t1 "])
    assert len(report.tokens) < len(WORDS)


async def test_a_batch_of_which_one_fails_reports_every_call_that_began(observed: Observed) -> None:
    handler, started = observed.handler(keep=9), Started()
    said = [answer("a"), answer(error=BrokenError()), answer("b")]
    config: RunnableConfig = {"callbacks": [handler, started]}

    with pytest.raises(BrokenError):
        ScriptedChatModel(answers=said).batch([""] * 3, config)
    of_batch = len(started.calls)  # the error keeps those from beginning that have not begun
    with pytest.raises(BrokenError):
        await ScriptedChatModel(answers=said).abatch([""] * 3, config)

    await until(lambda: handler.is_idle() and len(handler.reports) == len(started.calls))
    assert (of_batch in {2, 3}, len(started.calls) - of_batch) == (True, 3)
    assert {of.call.run_id.int for of in handler.reports} == set(started.calls)
    outcomes = [(of.text, of.call.outcome) for of in handler.reports]
    assert sorted(outcomes)[:2] == [("", "error")] * 2
    assert set(outcomes[:of_batch]) <= {("a", "ok"), ("", "error"), ("b", "ok")}
    assert sorted(outcomes[of_batch:]) == sorted([("a", "ok"), ("", "error"), ("b", "ok")])
    assert_seen(observed, handler, [reported(of) for of in handler.reports])


async def test_a_batch_that_is_cancelled_reports_every_call_of_it(observed: Observed) -> None:
    handler = observed.handler(keep=9)

    batch = a_chain(pause=3600).abatch([{"q": ""}] * 3, {"callbacks": [handler]})
    await time_out(batch, handler, calls=3)
    await until(handler.is_idle)

    assert [of.call.outcome for of in handler.reports] == ["cancelled"] * 3
    roots = [("RunnableSequence", 1)] * 3
    assert_seen(observed, handler, [reported(of) for of in handler.reports], roots=roots)


async def test_a_step_of_a_graph_that_takes_too_long_is_reported(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    graph: Any = a_graph(pause=3600)
    graph.step_timeout = 3.0  # in which even a busy machine begins the call

    with pytest.raises(TimeoutError):
        await graph.ainvoke({"said": ""}, {"callbacks": [handler]})
    await until(handler.is_idle)

    report = only(observed, handler)
    assert (report.call.outcome, report.unavailable) == ("cancelled", "no_answer")


async def test_a_graph_that_is_left_with_break_is_reported(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    config = {"callbacks": [handler]}

    stream = a_graph(pause=0.02).astream({"said": ""}, config, stream_mode="messages")
    seen = 0
    async for _ in stream:
        seen += 1
        if seen == 3:
            break
    await stream.aclose()
    await until(handler.is_idle)

    report = only(observed, handler)
    assert report.call.outcome == "cancelled"
    assert 1 <= len(report.tokens) <= len(WORDS)
    assert len(handler.trees) == 1


async def test_a_graph_that_times_out_is_reported(observed: Observed) -> None:
    handler = observed.handler(keep=9)

    await time_out(a_graph(pause=3600).ainvoke({"said": ""}, {"callbacks": [handler]}), handler)
    await until(handler.is_idle)

    assert only(observed, handler).call.outcome == "cancelled"


def test_a_graphs_stream_closed_in_sync_code_is_reported_once_though_its_model_runs_on(
    observed: Observed,
) -> None:
    model = a_model(pause=0.02)
    ended = threading.Event()

    def say(state: State) -> dict[str, str]:
        said = "".join(of.text for of in model.stream(state["said"]))
        ended.set()
        return {"said": said}

    graph = StateGraph(State)
    graph.add_node("say", say)
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    handler = observed.handler(keep=9)
    stream = graph.compile().stream({"said": ""}, {"callbacks": [handler]}, stream_mode="messages")
    next(stream)

    stream.close()

    assert ended.wait(PATIENCE)
    report = only(observed, handler)
    assert report.call.outcome in {"ok", "cancelled"}
    assert texts(report) == [text for text, _ in WORDS][: len(report.tokens)]
    assert len(handler.trees) == 1


async def test_an_async_stream_left_early_is_cancelled_with_what_arrived(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    stream = a_model().astream("", {"callbacks": [handler]})
    for _ in range(3):
        await anext(stream)

    await stream.aclose()

    report = only(observed, handler)
    assert (report.call.outcome, texts(report)) == ("cancelled", ["t0 ", "t1 "])


V3 = pytest.mark.filterwarnings("ignore:.*in beta", "ignore:The v3 streaming protocol")


@V3
def test_a_v3_stream_left_early_fires_nothing_and_is_abandoned_with_what_arrived(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    stream: Any = a_model().stream_events("", {"callbacks": [handler]}, version="v3")
    events = iter(stream)
    for _ in range(4):
        next(events)

    del stream, events
    gc.collect()

    assert not handler.reports  # LangChain tells of it nothing at all, so time must
    handler.close()
    report = only(observed, handler)
    assert (report.call.outcome, report.call.source) == ("abandoned", "stream")
    assert texts(report) == [text for text, _ in WORDS][: len(report.tokens)]
    assert report.tokens


@V3
async def test_an_async_v3_stream_left_early_is_cancelled(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    stream: Any = await a_model(pause=0.02).astream_events(
        "", {"callbacks": [handler]}, version="v3"
    )
    async for _ in stream:
        if any(len(of.events) > 2 for of in handler.open_calls()):
            break
    await stream.aclose()
    await until(handler.is_idle)

    report = only(observed, handler)
    assert report.call.outcome == "cancelled"
    assert texts(report) == [text for text, _ in WORDS][: len(report.tokens)]
    assert report.tokens


def a_graph_that_invokes(*, asynchronous: bool) -> Any:
    """A graph whose node waits for the whole answer, which v3 streams nevertheless."""
    model = a_model(pause=0.03)

    def say(state: State) -> dict[str, str]:
        return {"said": model.invoke(state["said"]).text}

    async def asay(state: State) -> dict[str, str]:
        return {"said": (await model.ainvoke(state["said"])).text}

    graph = StateGraph(State)
    graph.add_node("say", asay if asynchronous else say)
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    return graph.compile()


@V3
def test_a_graphs_v3_stream_left_early_is_reported_once_its_node_has_answered(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9)
    stream = a_graph_that_invokes(asynchronous=False).stream_events(
        {"said": ""}, {"callbacks": [handler]}, version="v3"
    )
    for _ in stream:
        if any(len(of.events) > 2 for of in handler.open_calls()):
            break

    stream.abort()

    report = only(
        observed, handler
    )  # LangGraph has waited for the node: a thread cannot be stopped
    assert (report.call.outcome, texts(report)) == ("ok", [text for text, _ in WORDS])


@V3
async def test_a_graphs_async_v3_stream_left_early_is_cancelled(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    stream = await a_graph_that_invokes(asynchronous=True).astream_events(
        {"said": ""}, {"callbacks": [handler]}, version="v3"
    )
    async for _ in stream:
        if any(len(of.events) > 2 for of in handler.open_calls()):
            break

    await stream.abort()
    await until(handler.is_idle)

    report = only(observed, handler)
    assert report.call.outcome == "cancelled"
    assert texts(report) == [text for text, _ in WORDS][: len(report.tokens)]
    assert 1 <= len(report.tokens) < len(WORDS)


def test_an_error_after_the_message_had_finished_changes_nothing(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    run_id = UUID(int=1)
    handler.on_chat_model_start({}, [], run_id=run_id)
    handler.on_llm_end(None, run_id=run_id)

    handler.on_llm_error(asyncio.CancelledError(), run_id=run_id)

    assert only(observed, handler).call.outcome == "ok"
    handler.flush()
    assert len(observed.spans("chat")) == 1


def test_retries_and_fallbacks_are_calls_of_their_own(observed: Observed) -> None:
    failing = ScriptedChatModel(
        answers=[answer("no", error=BrokenError()), answer("no", error=BrokenError()), answer("ok")]
    )
    handler = observed.handler(keep=9)
    retried = failing.with_retry(
        retry_if_exception_type=(BrokenError,), wait_exponential_jitter=False
    )
    fallen = a_model(error=BrokenError()).with_fallbacks([a_model()])

    retried.invoke("", {"callbacks": [handler]})
    fallen.invoke("", {"callbacks": [handler]})

    outcomes = [of.call.outcome for of in handler.reports]
    assert outcomes == ["error", "error", "ok", "error", "ok"]


def test_a_token_that_comes_late_changes_nothing(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    run_id = UUID(int=1)
    handler.on_chat_model_start({}, [], run_id=run_id)
    handler.on_llm_error(asyncio.CancelledError(), run_id=run_id)

    handler.on_llm_new_token("late", run_id=run_id)
    handler.on_llm_error(RuntimeError(), run_id=run_id)
    handler.on_chain_end({}, run_id=UUID(int=2))

    assert only(observed, handler).call.completions == ()


def test_a_call_that_outlives_its_run_is_closed_with_it(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    chain, call = UUID(int=1), UUID(int=2)
    handler.on_chain_start({}, {}, run_id=chain, name="outer")
    handler.on_chat_model_start({}, [], run_id=call, parent_run_id=chain)

    handler.on_chain_end({}, run_id=chain)

    assert only(observed, handler).call.outcome == "cancelled"
    assert [of.name for of in observed.spans()] == ["invoke_workflow outer", "chat"]


def test_one_id_for_a_chain_and_the_call_in_it_is_no_reason_to_lose_either(
    observed: Observed,
) -> None:
    handler, given = observed.handler(keep=9), uuid4()
    chain = RunnableLambda(lambda q: a_model().invoke(q, {"run_id": given}))

    chain.invoke("", {"run_id": given, "callbacks": [handler]})

    report = only(observed, handler)
    assert (report.call.outcome, report.text) == ("ok", "".join(text for text, _ in WORDS))
    assert [of.calls for of in handler.trees] == [(report,)]


def test_one_id_for_a_chain_and_for_a_call_that_it_knows_nothing_of_loses_neither(
    observed: Observed,
) -> None:
    handler, given = observed.handler(keep=9), uuid4()
    both: RunnableConfig = {"run_id": given, "callbacks": [handler]}

    RunnableLambda(lambda q: a_model().invoke(q, both)).invoke("", both)

    assert [of.call.outcome for of in handler.reports] == ["ok"]
    assert handler.is_idle()


def test_too_many_open_calls_give_up_the_oldest(observed: Observed) -> None:
    handler = observed.handler(keep=9, max_open_calls=2)
    for number in range(3):
        handler.on_chat_model_start({}, [], run_id=UUID(int=number))

    assert [of.call.run_id for of in handler.reports] == [UUID(int=0)]
    assert handler.reports[0].call.outcome == "abandoned"
    handler.close()
    assert len(handler.reports) == 3


def test_tokens_beyond_the_bound_are_counted(observed: Observed) -> None:
    handler = observed.handler(keep=9, max_tokens=4)

    list(a_model().stream("", {"callbacks": [handler]}))

    report = only(observed, handler)
    assert (texts(report), report.call.truncated) == (["t0 ", "t1 ", "t2 ", "t3 "], 2)


# Thousands of them


class Tally:
    """A sink that counts reports, and keeps none."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self.trees: Counter[int] = Counter()

    def __call__(self, report: Report) -> None:
        if isinstance(report, CallReport):
            self.calls[report.call.run_id.int] += 1
        else:
            self.trees[report.tree.root_run_id.int] += 1


def a_handler(unsampled: Observed, **others: Any) -> tuple[LogprobsCallbackHandler, Tally, Any]:
    tally = Tally()
    telemetry = OpenTelemetrySink(
        tracer_provider=unsampled.tracer_provider, meter_provider=unsampled.meter_provider
    )
    handler = LogprobsCallbackHandler(sinks=[tally, telemetry], raise_errors=True, **others)
    return handler, tally, telemetry


def ours() -> Counter[str]:
    """The objects of this package's types, by type."""
    gc.collect()
    homes = [(type(of).__qualname__, str(type(of).__module__)) for of in gc.get_objects()]
    return Counter(
        name
        for name, home in homes
        if home.startswith("langchain_logprobs.") and home != "langchain_logprobs.testing"
    )


def test_ten_thousand_calls_of_every_ending_leave_nothing_behind(unsampled: Observed) -> None:
    handler, tally, telemetry = a_handler(unsampled)

    def end(run: UUID) -> None:
        handler.on_llm_end(None, run_id=run)

    def fail(run: UUID) -> None:
        handler.on_llm_error(GeneratorExit(), run_id=run)

    def say(run: UUID) -> None:
        handler.on_llm_new_token("late", run_id=run)

    endings: list[list[Callable[[UUID], None]]] = [
        [end],
        [fail],
        [],
        [end, fail],
        [fail, end],
        [fail, say],
        [end, end, say],
    ]
    held: list[Counter[str]] = []

    for number in range(10_000):
        if number % 4_999 == 1_000:
            handler.close()
            held.append(ours())
        chain, call = UUID(int=2 * number), UUID(int=2 * number + 1)
        alone = number % 2
        if not alone:
            handler.on_chain_start({}, {}, run_id=chain)
        handler.on_chat_model_start({}, [], run_id=call, parent_run_id=None if alone else chain)
        handler.on_llm_new_token("a", run_id=call)
        for ending in endings[number % len(endings)]:
            ending(call)
        if not alone:
            handler.on_chain_end({}, run_id=chain)
    handler.close()
    held.append(ours())

    assert (len(tally.calls), set(tally.calls.values())) == (10_000, {1})
    assert (len(tally.trees), set(tally.trees.values())) == (5_000, {1})
    assert handler.is_idle()
    assert not any((telemetry._links, telemetry._roots, telemetry._written))
    assert len(held) == 3
    # An earlier test may have left something to be sent, which is gone later: nothing is more.
    assert not held[1] - held[0]
    assert not held[2] - held[0]


class Started(BaseCallbackHandler):
    """Counts the calls that LangChain tells of."""

    run_inline = True

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.calls[run_id.int] += 1


async def cancel(awaited: Coroutine[Any, Any, Any], turns: int = 3) -> None:
    """Cancels what is awaited after so many turns of the loop."""
    task = asyncio.ensure_future(awaited)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def leave(stream: Any, parts: int = 2, *, closed: bool = True) -> None:
    """Takes so many parts of a stream and no more."""
    for _ in range(parts):
        await anext(stream)
    if closed:
        await stream.aclose()


async def every_ending(config: RunnableConfig) -> None:
    """A call, or some, of every ending that there is with LangChain's own callbacks."""
    lone, chain, graph, given = a_model(), a_chain(), a_graph(), {"q": ""}
    broken, broken_chain = a_model(error=BrokenError()), a_chain(error=BrokenError())
    lone.invoke("", config)
    await chain.ainvoke(given, config)
    list(chain.stream(given, config))
    chain.batch([given] * 2, config)
    lone.generate([[], []], callbacks=[*config["callbacks"]])
    for failing in (broken, broken_chain, MergeFails(answers=[answer()])):
        with suppress(BrokenError, TypeError):
            list(failing.stream(given if failing is broken_chain else "", config))
    with suppress(BrokenError):
        await broken.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).ainvoke(
            "", config
        )
    await broken_chain.abatch([given] * 2, config, return_exceptions=True)
    broken.with_fallbacks([lone]).invoke("", config)
    next(lone.stream("", config))  # and forgotten
    next(chain.stream(given, config))
    await leave(lone.astream("", config))
    await leave(chain.astream(given, config))
    await leave(chain.astream_events(given, config, version="v2"), 4)
    await leave(graph.astream({"said": ""}, config, stream_mode="messages"), 1)
    await leave(graph.astream({"said": ""}, config, stream_mode="messages"), 1, closed=False)
    await cancel(lone.ainvoke("", config))
    await cancel(chain.ainvoke(given, config))
    await cancel(graph.ainvoke({"said": ""}, config), 5)
    stream: Any = lone.stream_events("", config, version="v3")
    next(iter(stream))
    later: Any = await lone.astream_events("", config, version="v3")
    await anext(aiter(later))
    await later.aclose()


@V3
async def test_every_real_ending_many_times_leaves_nothing_behind(unsampled: Observed) -> None:
    handler, tally, telemetry = a_handler(unsampled)
    started = Started()
    held: list[Counter[str]] = []

    for turn in range(TURNS):
        await every_ending({"callbacks": [started, handler]})
        if turn % (TURNS // 3) == 2:
            await asyncio.sleep(0.2)  # until what was left has ended, and let go of its model
            gc.collect()
            handler.close()
            held.append(ours())
    await asyncio.sleep(0.05)
    gc.collect()
    handler.close()

    assert len(started.calls) > 20 * TURNS
    assert tally.calls == started.calls
    assert set(tally.trees.values()) == {1}
    assert handler.is_idle()
    assert not any((telemetry._links, telemetry._roots, telemetry._written))
    assert len(held) == 3
    # An earlier test may have left something to be sent, which is gone later: nothing is more.
    assert not held[1] - held[0]
    assert not held[2] - held[0]


TURNS = 12
