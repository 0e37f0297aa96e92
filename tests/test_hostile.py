"""What no application should do and some do: odd objects, odd orders, odd moments.

Whatever comes, in whatever order and from whatever thread: every call is reported exactly once,
nothing is raised, and in the end nothing is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from cells import assert_seen, said
from conftest import Observed
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.globals import set_debug, set_verbose
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel

from langchain_logprobs import CallReport, LogprobsCallbackHandler, OpenTelemetrySink, Report
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer

pytestmark = pytest.mark.anyio

SAID = answer(("a", -0.1), ("b", -0.2))


def a_model(**others: Any) -> ScriptedChatModel:
    return ScriptedChatModel(answers=[SAID], **others)


# Copies, and handlers given in many places


def test_a_copy_of_a_handler_is_the_handler(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    config: Any = copy.deepcopy({"callbacks": [handler], "tags": ["a"]})
    model = FakeListChatModel(responses=["a"], callbacks=[handler])

    copy.deepcopy(model).invoke("", config)
    model.model_copy(deep=True).invoke("", {"callbacks": [copy.copy(handler)]})

    assert [(of.text, of.unavailable) for of in handler.reports] == [("a", "not_requested")] * 2
    assert handler.is_idle()


def test_a_handler_cannot_go_to_another_process_and_says_so() -> None:
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps({"callbacks": [LogprobsCallbackHandler(sinks=[])]})


def given_everywhere(handler: LogprobsCallbackHandler) -> list[tuple[Runnable[Any, Any], Any]]:
    """The ways to give a handler, and all of them at once."""
    both: Any = {"callbacks": [handler]}
    return [
        (a_model(), both),
        (a_model(), {"callbacks": CallbackManager([handler])}),
        (a_model(), {"callbacks": [handler, handler]}),
        (a_model(callbacks=[handler]), None),
        (a_model(callbacks=CallbackManager([handler])), both),
        (a_model().with_config(both), None),
        (a_model(callbacks=[handler]).with_config(both), both),
        (a_model(callbacks=[handler]).with_config(both).with_config(both).bind(stop=["?"]), both),
    ]


@pytest.mark.parametrize("way", range(8))
@pytest.mark.parametrize("streams", [False, True])
def test_however_often_a_handler_is_given_it_reports_once(
    observed: Observed, way: int, *, streams: bool
) -> None:
    handler = observed.handler(keep=9)
    model, config = given_everywhere(handler)[way]

    if streams:
        list(model.stream("", config))
    else:
        model.invoke("", config)

    assert_seen(observed, handler, [said(SAID, source="stream" if streams else "end")])


def test_two_handlers_report_twice_each_its_own(observed: Observed) -> None:
    other = Observed()
    one, two = observed.handler(keep=9), other.handler(keep=9)

    a_model(callbacks=[one]).invoke("", {"callbacks": [two]})

    for of, handler in ((observed, one), (other, two)):
        assert_seen(of, handler, [said(SAID)])
    other.close()


async def test_debugging_changes_nothing(
    observed: Observed, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = observed.handler(keep=9)
    chain = ChatPromptTemplate.from_template("{q}") | a_model() | StrOutputParser()
    set_debug(True)
    set_verbose(True)
    try:
        chain.invoke({"q": ""}, {"callbacks": [handler]})
        await chain.ainvoke({"q": ""}, {"callbacks": [handler]})
    finally:
        set_debug(False)
        set_verbose(False)

    assert "RunnableSequence" in capsys.readouterr().out
    assert_seen(observed, handler, [said(SAID)] * 2, roots=[("RunnableSequence", 1)] * 2)


def test_callbacks_that_change_under_way_are_heard_as_they_are(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    callbacks: list[BaseCallbackHandler] = [handler]
    stream = a_model().stream("", {"callbacks": callbacks})
    next(stream)

    callbacks.clear()
    list(stream)

    assert_seen(observed, handler, [said(SAID, source="stream")])


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("lone", [False, True])
async def test_a_run_may_be_given_a_string_for_an_id(
    observed: Observed, way: str, *, lone: bool
) -> None:
    handler, run_id = observed.handler(keep=9), uuid4()
    chain = a_model() if lone else ChatPromptTemplate.from_template("{q}") | a_model()
    config: Any = {"callbacks": [handler], "run_id": str(run_id)}

    asked: Any = "" if lone else {"q": ""}
    match way:
        case "invoke":
            chain.invoke(asked, config)
        case "stream":
            list(chain.stream(asked, config))
        case "ainvoke":
            await chain.ainvoke(asked, config)
        case _:
            assert [of async for of in chain.astream(asked, config)]

    source = "stream" if way.endswith("stream") else "end"
    roots = [] if lone else [("RunnableSequence", 1)]
    assert_seen(observed, handler, [said(SAID, source=source)], roots=roots)
    assert handler.reports[0].call.root_run_id == run_id


@pytest.mark.parametrize("given_id", ["request 1", 7])
def test_an_id_that_is_no_uuid_is_one_for_us(observed: Observed, given_id: Any) -> None:
    handler = observed.handler(keep=9)

    list(a_model().stream("", {"callbacks": [handler], "run_id": given_id}))

    assert_seen(observed, handler, [said(SAID, source="stream")])
    assert isinstance(handler.reports[0].call.run_id, UUID)


# Objects that raise wherever they are looked at


class Raises(Exception):  # noqa: N818
    """What they raise."""


class Shy:
    """Has no attribute that can be asked for."""

    def __getattr__(self, name: str) -> Any:
        raise Raises(name)


class ShyDict(dict[str, Any]):
    """Hands nothing out."""

    def get(self, *_: Any) -> Any:
        raise Raises

    def __getitem__(self, _: Any) -> Any:
        raise Raises


class ShyList(list[Any]):
    """Cannot be gone through."""

    def __iter__(self) -> Any:
        raise Raises

    def __len__(self) -> int:
        raise Raises


class Incomparable:
    """Is neither true nor false, and equal to nothing."""

    def __eq__(self, _: object) -> bool:
        raise Raises

    def __bool__(self) -> bool:
        raise Raises

    __hash__ = None  # type: ignore[assignment]


ODD: list[Any] = [Shy(), ShyDict(a=1), ShyList([1]), Incomparable(), float("nan"), b"\xff", 10**400]


def odd_things() -> list[Any]:
    """Odd objects, and objects that have them where a chunk or a generation has its parts."""
    within = [
        SimpleNamespace(**{"text": "", "generation_info": {}, "message": None, **part})
        for odd in ODD
        for part in (
            {"text": odd},
            {"generation_info": odd},
            {"generation_info": {"logprobs": odd}},
            {"generation_info": {"logprobs": [odd]}},
            {"generation_info": {"logprobs": {"content": odd}}},
            {"generation_info": {"logprobs": {"content": [odd]}}},
            {"generation_info": {"logprobs": {"tokens": odd, "token_logprobs": odd}}},
            {"generation_info": {"finish_reason": odd}},
            {"message": odd},
            {"message": SimpleNamespace(response_metadata=odd)},
            {"message": SimpleNamespace(tool_calls=odd)},
            {"message": SimpleNamespace(tool_calls=[odd])},
            {"message": SimpleNamespace(usage_metadata=odd)},
        )
    ]
    return [*ODD, *within]


PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "token": lambda odd: {"token": odd},
    "chunk": lambda odd: {"chunk": odd},
    "logprobs": lambda odd: {"logprobs": odd},
    "response": lambda odd: {"response": odd},
    "generations": lambda odd: {"response": SimpleNamespace(generations=odd)},
    "generation": lambda odd: {"response": SimpleNamespace(generations=[[odd]])},
    "output": lambda odd: {"response": SimpleNamespace(generations=[], llm_output=odd)},
}


@pytest.mark.parametrize("place", PLACES)
def test_whatever_an_answer_is_made_of_it_is_reported_once(unsampled: Observed, place: str) -> None:
    sink = CollectingSink()
    telemetry = a_telemetry(unsampled)
    tokens: list[str] = []
    handler = LogprobsCallbackHandler(
        sinks=[sink, telemetry],
        max_tokens=1,
        on_token=lambda token, _: tokens.append(token.text),
        meter_provider=unsampled.meter_provider,
    )
    things = odd_things()

    for number, odd in enumerate(things):
        chain, call = UUID(int=2 * number), UUID(int=2 * number + 1)
        what = PLACES[place](odd)
        response = what.pop("response", None)
        handler.on_chain_start({}, {}, run_id=chain)
        handler.on_chat_model_start({}, [], run_id=call, parent_run_id=chain)
        for _ in range(70):  # more than are kept
            handler.on_llm_new_token(**{"token": "a", **what}, run_id=call)
        handler.on_llm_end(response, run_id=call)
        handler.on_chain_end(odd, run_id=chain)

    assert len({of.call.run_id for of in sink.calls}) == len(sink.calls) == len(things)
    assert len(sink.trees) == len(things)
    assert_holds_nothing(handler, telemetry)


def test_of_an_answer_that_cannot_be_looked_at_what_was_streamed_is_reported(
    observed: Observed,
) -> None:
    handler = observed.handler(keep=9, raise_errors=False)
    run = uuid4()
    handler.on_chat_model_start({}, [], run_id=run)
    one = {"content": [{"token": "a", "logprob": -0.1}]}
    handler.on_llm_new_token("a", run_id=run, logprobs=one)

    handler.on_llm_end(Shy(), run_id=run)

    (report,) = handler.reports
    assert ([of.text for of in report.tokens], report.call.outcome) == (["a"], "ok")
    assert observed.total("langchain_logprobs.errors", where="handler") == 1


def test_a_call_nothing_of_which_can_be_looked_at_is_unreadable(observed: Observed) -> None:
    handler = observed.handler(keep=9, raise_errors=False)
    run = uuid4()
    handler.on_chat_model_start({}, [], run_id=run)
    handler.on_llm_new_token("a", chunk=Shy(), run_id=run)

    handler.on_llm_end(None, run_id=run)

    (report,) = handler.reports
    assert (report.unavailable, report.call.outcome) == ("unreadable", "ok")
    assert len(observed.spans("chat")) == 1


# Moments at which two threads meet


def a_telemetry(observed: Observed) -> OpenTelemetrySink:
    return OpenTelemetrySink(
        tracer_provider=observed.tracer_provider, meter_provider=observed.meter_provider
    )


def assert_holds_nothing(handler: LogprobsCallbackHandler, telemetry: OpenTelemetrySink) -> None:
    assert handler.is_idle()
    assert not handler._capture._trees
    assert not handler._capture._events
    assert not handler.open_calls()
    assert not any((telemetry._links, telemetry._roots, telemetry._written))


@dataclass
class Meanwhile:
    """A sink that does something when it hears of a call: what another thread may just do."""

    at_start: Callable[[], object] = lambda: None
    at_report: Callable[[], object] = lambda: None

    def __call__(self, report: Report) -> None:
        if isinstance(report, CallReport):
            self.at_report()

    def run_started(self, run_id: UUID) -> None:
        """Does nothing."""

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        """Does it."""
        del run_id, inside
        self.at_start()

    def call_finished(self, run_id: UUID) -> None:
        """Does nothing."""

    def tree_finished(self, root_run_id: UUID, ended_ns: int) -> None:
        """Does nothing."""

    def after_fork(self) -> None:
        """Does nothing."""


def test_a_chain_that_ends_while_its_call_is_starting_leaves_nothing(observed: Observed) -> None:
    chain, call = uuid4(), uuid4()
    telemetry, meanwhile, sink = a_telemetry(observed), Meanwhile(), CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[meanwhile, telemetry, sink], raise_errors=True)
    meanwhile.at_start = lambda: handler.on_chain_end({}, run_id=chain)
    handler.on_chain_start({}, {}, run_id=chain, name="outer")

    handler.on_chat_model_start({}, [], run_id=call, parent_run_id=chain)
    handler.on_llm_end(None, run_id=call)

    assert [of.call.outcome for of in sink.calls] == ["cancelled"]
    assert_holds_nothing(handler, telemetry)
    assert [of.name for of in observed.spans()] == ["invoke_workflow outer", "chat"]


def test_a_chain_that_ends_while_its_call_is_reported_leaves_nothing(observed: Observed) -> None:
    chain, call = uuid4(), uuid4()
    telemetry, meanwhile, sink = a_telemetry(observed), Meanwhile(), CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[meanwhile, telemetry, sink], raise_errors=True)
    meanwhile.at_report = lambda: handler.on_chain_end({}, run_id=chain)
    handler.on_chain_start({}, {}, run_id=chain, name="outer")
    handler.on_chat_model_start({}, [], run_id=call, parent_run_id=chain)

    handler.on_llm_end(None, run_id=call)

    assert [of.call.outcome for of in sink.calls] == ["ok"]
    assert_holds_nothing(handler, telemetry)
    # The root's span has ended, or it would not be here.
    assert [of.name for of in observed.spans()] == ["invoke_workflow outer", "chat"]


# Any order of callbacks


@dataclass
class Expecting:
    """What a handler must have heard of one call."""

    tokens: list[str] = field(default_factory=list)


class Callbacks(RuleBasedStateMachine):
    """Callbacks of any run in any order: told twice, too late, out of order, of unknown runs."""

    runs = st.integers(0, 5)
    calls = st.integers(4, 9)  # some share their ids with runs
    parents = st.none() | st.integers(0, 10)

    def __init__(self) -> None:
        super().__init__()
        self.observed = Observed()
        self.sink = CollectingSink()
        self.telemetry = a_telemetry(self.observed)
        self.handler = LogprobsCallbackHandler(
            sinks=[self.sink, self.telemetry],
            raise_errors=True,
            max_open_calls=4,
            clock=lambda: self.now_ns,
        )
        self.now_ns = 10**18
        self.started: Counter[UUID] = Counter()
        self.open: dict[UUID, Expecting] = {}
        self.ended: list[tuple[UUID, list[str]]] = []
        self.seen = 0

    def settle(self) -> None:
        """Compares the reports that came since with what was told of their calls."""
        for report in self.sink.calls[self.seen :]:
            expected = self.open.pop(report.call.run_id)
            assert [of.text for of in report.tokens] == expected.tokens
            self.ended.append((report.call.run_id, expected.tokens))
        self.seen = len(self.sink.calls)

    @rule(
        run=runs,
        parent=parents,
        kind=st.sampled_from(["chain", "tool", "retriever"]),
        serialized=st.sampled_from([None, {}, {"name": "n"}, {"id": ["a", "b"]}]),
    )
    def a_run_starts(self, run: int, parent: int | None, kind: str, serialized: Any) -> None:
        told = getattr(self.handler, f"on_{kind}_start")
        told(serialized, "", run_id=uid(run), parent_run_id=None if parent is None else uid(parent))

    @rule(call=calls, parent=parents, chat=st.booleans())
    def a_call_starts(self, call: int, parent: int | None, *, chat: bool) -> None:
        told = self.handler.on_chat_model_start if chat else self.handler.on_llm_start
        if uid(call) not in self.open:
            self.open[uid(call)] = Expecting()
            self.started[uid(call)] += 1
            told({}, [], run_id=uid(call), parent_run_id=None if parent is None else uid(parent))
            self.settle()

    @rule(call=calls, text=st.sampled_from("abc"))
    def a_token_comes(self, call: int, text: str) -> None:
        if uid(call) in self.open:
            self.open[uid(call)].tokens.append(text)
        logprobs = {"content": [{"token": text, "logprob": -0.1}]}
        self.handler.on_llm_new_token(text, run_id=uid(call), logprobs=logprobs)

    @rule(
        call=calls,
        error=st.sampled_from([None, ValueError(), GeneratorExit(), asyncio.CancelledError()]),
    )
    def a_call_ends(self, call: int, error: BaseException | None) -> None:
        if error is None:
            self.handler.on_llm_end(None, run_id=uid(call))
        else:
            self.handler.on_llm_error(error, run_id=uid(call))
        self.settle()

    @rule(
        run=st.integers(0, 9),
        kind=st.sampled_from(["chain", "tool", "retriever"]),
        error=st.none() | st.builds(ValueError),
    )
    def a_run_ends(self, run: int, kind: str, error: BaseException | None) -> None:
        if error is None:
            getattr(self.handler, f"on_{kind}_end")({}, run_id=uid(run))
        else:
            getattr(self.handler, f"on_{kind}_error")(error, run_id=uid(run))
        self.settle()

    @rule(seconds=st.sampled_from([-30, 0, 1, 400, 700]))
    def time_passes_and_the_worker_looks(self, seconds: int) -> None:
        self.now_ns += seconds * 10**9  # a clock may be set back
        self.handler.tick()
        self.settle()

    @rule()
    def everything_is_closed(self) -> None:
        assert self.handler.close()
        self.settle()
        assert not self.open
        assert_holds_nothing(self.handler, self.telemetry)

    @invariant()
    def what_is_open_is_what_has_not_been_reported(self) -> None:
        assert {of.run_id for of in self.handler.open_calls()} == set(self.open)
        assert set(self.telemetry._links) == set(self.open)
        assert not self.telemetry._written

    def teardown(self) -> None:
        self.everything_is_closed()
        assert Counter(run for run, _ in self.ended) == self.started
        # A tree is one report, and each of its calls is in it: no call is in two.
        known = [of.call.run_id.int for tree in self.sink.trees for of in tree.calls]
        assert len(known) <= len(self.ended)
        roots = self.observed.spans("invoke_workflow")
        assert len(self.observed.spans("chat") + self.observed.spans("text_completion")) == len(
            self.ended
        )
        # A call with the id of a run is in no tree's list, and may outlive the tree that it names.
        namesakes = sum(run in {uid(4), uid(5)} for run, _ in self.ended)
        assert len(roots) <= len(self.sink.trees) + namesakes
        self.observed.close()


def uid(number: int) -> UUID:
    return UUID(int=number)


Callbacks.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCallbacks = Callbacks.TestCase


def one_step(handler: LogprobsCallbackHandler, random: Random, mine: UUID, theirs: UUID) -> None:
    """A thread's own call, beside runs that all threads start and end, and calls of the others."""
    shared = uid(random.randrange(8))
    match random.randrange(3):
        case 0:
            handler.on_chain_start({}, {}, run_id=shared, name="shared")
        case 1:
            handler.on_chain_end({}, run_id=shared)
        case _:
            handler.on_chain_error(ValueError(), run_id=shared)
    handler.on_chat_model_start({}, [], run_id=mine, parent_run_id=shared)
    handler.on_llm_new_token("a", run_id=random.choice([mine, theirs]))
    for call in random.sample([mine, theirs], random.randrange(3)):
        handler.on_llm_end(None, run_id=call)
    if random.random() < 0.1:
        handler.tick()


@given(st.integers(0, 2**32))
@settings(max_examples=4, deadline=None)
def test_from_any_thread_in_any_order_every_call_is_reported_once(seed: int) -> None:
    observed, sink = Observed(), CollectingSink()
    telemetry = a_telemetry(observed)
    handler = LogprobsCallbackHandler(
        sinks=[sink, telemetry], raise_errors=True, max_open_calls=40, idle_timeout=3600
    )
    threads, steps = 6, 60
    barrier = threading.Barrier(threads)
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        random = Random(seed + thread)
        barrier.wait()
        try:
            for number in range(steps):
                theirs = 1000 * random.randrange(1, threads + 1) + random.randrange(steps)
                one_step(handler, random, uid(1000 * (thread + 1) + number), uid(theirs))
        except BaseException as error:  # noqa: BLE001 - it is the test's to say
            failed.append(error)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    handler.close()

    assert not failed
    reported = Counter(of.call.run_id for of in sink.calls)
    assert set(reported.values()) == {1}
    assert len(reported) == threads * steps
    assert len(observed.spans("chat")) == threads * steps
    assert_holds_nothing(handler, telemetry)
    observed.close()


# Any program of LangChain's


class Counting(BaseCallbackHandler):
    """What LangChain tells of, by its own count."""

    run_inline = True

    def __init__(self) -> None:
        self.calls: Counter[UUID] = Counter()

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.calls[run_id] += 1


class Breaks(Exception):  # noqa: N818
    """What a provider fails with."""


def models() -> st.SearchStrategy[Runnable[Any, Any]]:
    tokens = [(text, -0.1) for text in "abc"]
    answers = st.sampled_from(
        [
            answer(*tokens),
            answer(),
            answer(*tokens, chunks=(2,)),
            answer(*tokens, with_logprobs=False),
            answer(*tokens, error=Breaks()),
            answer(error=Breaks()),
        ]
    )
    return st.builds(
        lambda said, disabled: ScriptedChatModel(answers=[said], disable_streaming=disabled),
        answers,
        st.booleans(),
    )


def calls_inside(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A function that calls what is inside it, and hands no config on."""
    return RunnableLambda(lambda given: inner.invoke(given))  # noqa: PLW0108 - invoke takes config


def streams_a_part(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A function that takes the first part of a stream, and leaves the rest."""
    return RunnableLambda(lambda given: next(iter(inner.stream(given)), ""))


def programs() -> st.SearchStrategy[Runnable[Any, Any]]:
    as_text = RunnableLambda(lambda _: "again")
    return st.recursive(
        models(),
        lambda inner: st.one_of(
            st.builds(lambda one, two: one | as_text | two, inner, inner),
            st.builds(lambda one, two: RunnableParallel(a=one, b=two) | as_text, inner, inner),
            st.builds(
                lambda one, two: one.with_fallbacks([two], exceptions_to_handle=(Breaks,)),
                inner,
                inner,
            ),
            st.builds(
                lambda one: one.with_retry(
                    stop_after_attempt=2,
                    wait_exponential_jitter=False,
                    retry_if_exception_type=(Breaks,),
                ),
                inner,
            ),
            st.builds(calls_inside, inner),
            st.builds(streams_a_part, inner),
            st.builds(lambda one: one.with_config(tags=["a"]), inner),
        ),
        max_leaves=4,
    )


async def cancelled(program: Runnable[Any, Any], turns: int, config: Any) -> None:
    """Runs a program, and cancels it after so many turns of the loop."""
    task = asyncio.create_task(program.ainvoke("", config))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def streamed(program: Runnable[Any, Any], parts: int, config: Any) -> None:
    """Takes so many parts of a program's stream, and closes it."""
    stream: Any = program.astream("", config)
    async for _ in stream:
        parts -= 1
        if parts < 0:
            break
    await stream.aclose()


def run_sync(program: Runnable[Any, Any], way: str, cut: int, config: Any) -> None:
    """Runs a program in a way that is not asynchronous; of a stream, `cut` parts."""
    with contextlib.suppress(Breaks):
        match way:
            case "invoke":
                program.invoke("", config)
            case "batch":
                program.batch(["", ""], config, return_exceptions=True)
            case _:
                deque(islice(program.stream("", config), cut), maxlen=0)


async def run(program: Runnable[Any, Any], way: str, cut: int, config: Any) -> None:
    """Runs a program in some way, and `cut` says how far."""
    with contextlib.suppress(Breaks):
        match way:
            case "ainvoke":
                await program.ainvoke("", config)
            case "abatch":
                await program.abatch(["", ""], config, return_exceptions=True)
            case "astream":
                await streamed(program, cut, config)
            case "cancelled":
                await cancelled(program, cut, config)
            case _:
                await asyncio.to_thread(run_sync, program, way, cut, config)


WAYS = ["invoke", "ainvoke", "batch", "abatch", "stream", "astream", "cancelled"]


@given(st.lists(st.tuples(programs(), st.sampled_from(WAYS), st.integers(0, 8)), max_size=4))
@settings(max_examples=80, deadline=None)
def test_whatever_is_run_at_once_in_whatever_way_every_call_is_reported_once(
    runs: list[tuple[Runnable[Any, Any], str, int]],
) -> None:
    observed, counting, sink = Observed(), Counting(), CollectingSink()
    telemetry = a_telemetry(observed)
    handler = LogprobsCallbackHandler(sinks=[sink, telemetry], raise_errors=True)
    config = {"callbacks": [counting, handler]}

    async def all_at_once() -> None:
        await asyncio.gather(*(run(*one, config) for one in runs))

    asyncio.run(all_at_once())
    gc.collect(0)  # a stream that was left is closed when it is collected
    handler.close()

    assert set(counting.calls.values()) <= {1}
    assert Counter(of.call.run_id for of in sink.calls) == counting.calls
    assert len(observed.spans("chat")) == len(counting.calls)
    assert_holds_nothing(handler, telemetry)
    observed.close()
