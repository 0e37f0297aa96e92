"""Whatever users hand in may fail: the application goes on, and the failure is counted and told."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from conftest import Observed
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, LLMResult
from opentelemetry.metrics import NoOpMeterProvider

from langchain_logprobs import (
    CallReport,
    CallWatcher,
    LogprobsCallbackHandler,
    Report,
    Settings,
    TokenLogprob,
)
from langchain_logprobs.core.model import Completion, ModelCall, RunTree
from langchain_logprobs.core.report import Unavailable, call_report, tree_report
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.delivery import Delivery
from langchain_logprobs.telemetry.sink import OpenTelemetrySink
from langchain_logprobs.telemetry.spans import Options
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer

ERRORS = "langchain_logprobs.errors"


class BrokenError(Exception):
    """What the user's part fails with."""


def broken(*_: Any) -> Any:
    raise BrokenError("my own fault")


def run(handler: LogprobsCallbackHandler, *words: str, times: int = 1) -> str:
    """What the application gets: the same, whatever the handler is up to."""
    model = ScriptedChatModel(answers=[answer(*(words or ("sure",)))])
    said = [model.invoke("", {"callbacks": [handler]}).text for _ in range(times)]
    return said[-1]


class Listener(logging.Handler):
    """A log handler that keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def run_chain(handler: LogprobsCallbackHandler) -> None:
    model = ScriptedChatModel(answers=[answer("a")])
    (model | StrOutputParser()).invoke("", {"callbacks": [handler]})


@pytest.fixture
def told() -> Iterator[list[logging.LogRecord]]:
    """What is logged."""
    listener, logger = Listener(), logging.getLogger("langchain_logprobs")
    logger.addHandler(listener)
    yield listener.records
    logger.removeHandler(listener)


PLACES: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("sink", lambda: {"sinks": [broken]}),
    ("processor", lambda: {"processors": [broken]}),
    ("on_report", lambda: {"on_report": broken}),
    ("on_low_confidence", lambda: {"on_low_confidence": broken, "low_response": 1.0}),
]


@pytest.mark.parametrize(("where", "arguments"), PLACES, ids=[where for where, _ in PLACES])
def test_what_raises_never_reaches_the_caller_and_is_counted_each_time_and_told_once(
    observed: Observed,
    told: list[logging.LogRecord],
    where: str,
    arguments: Callable[[], dict[str, Any]],
) -> None:
    handler = observed.handler(raise_errors=False, **arguments())

    assert run(handler, times=3) == "sure"

    assert observed.total(ERRORS) == observed.total(ERRORS, where=where) == 3
    (record,) = told
    assert (record.name, record.levelname) == ("langchain_logprobs", "WARNING")
    assert f"Error in {where}" in record.getMessage()
    assert ERRORS in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is BrokenError


class Labels(list[str]):
    """Labels that can be read once."""

    def __iter__(self) -> Iterator[str]:
        yield from [self.pop() for _ in range(len(self))] or broken()


def test_closing_raises_nothing(observed: Observed) -> None:
    handler = observed.handler(raise_errors=False, labels={"$": Labels(["yes", "no"])})
    run_id = uuid4()
    handler.on_chat_model_start({}, [], run_id=run_id)
    handler.on_llm_new_token("yes", run_id=run_id)

    assert handler.close()

    assert observed.total(ERRORS) == observed.total(ERRORS, where="handler") == 1


def test_a_report_that_cannot_be_made_takes_no_other_with_it(observed: Observed) -> None:
    class Once(list[str]):
        def __iter__(self) -> Iterator[str]:
            return iter(["yes", "no"]) if times.pop() else broken()

    times = [True, False, True]  # checked; read at the end of one call, and of the other
    handler = observed.handler(raise_errors=False, labels={"$": Once()}, keep=9)
    root, calls = uuid4(), [uuid4(), uuid4()]
    handler.on_chain_start({}, {}, run_id=root, name="chain")
    for run_id in calls:
        handler.on_chat_model_start({}, [], run_id=run_id, parent_run_id=root)
        handler.on_llm_new_token("yes", run_id=run_id)

    handler.on_chain_end({}, run_id=root)

    assert [of.call.run_id for of in handler.reports] == calls[1:]
    assert [len(of.calls) for of in handler.trees] == [1]
    assert observed.tree() == [["invoke_workflow chain", ["chat"]]]
    assert observed.total(ERRORS) == observed.total(ERRORS, where="handler") == 1


@pytest.mark.parametrize(("where", "arguments"), PLACES, ids=[where for where, _ in PLACES])
def test_in_tests_it_is_raised(
    observed: Observed, where: str, arguments: Callable[[], dict[str, Any]]
) -> None:
    handler = observed.handler(raise_errors=True, **arguments())

    with pytest.raises(BrokenError, match="my own fault"):
        run(handler)

    assert observed.total(ERRORS, where=where) == 1


def test_what_is_live_and_raises_is_swallowed_too(
    observed: Observed, told: list[logging.LogRecord]
) -> None:
    handler = observed.handler(raise_errors=False, on_token=broken, keep=1)

    list(ScriptedChatModel(answers=[answer("a", "b")]).stream("", {"callbacks": [handler]}))

    assert observed.total(ERRORS, where="on_token") == 2
    assert len(told) == 1
    assert len(handler.reports[0].tokens) == 2


def test_a_sink_that_fails_takes_nothing_from_the_others(observed: Observed) -> None:
    before, after = CollectingSink(), CollectingSink()
    seen: list[CallReport] = []
    handler = observed.handler(
        raise_errors=False, sinks=[before, broken, after], on_report=seen.append, keep=1
    )

    run(handler)

    assert before.calls == after.calls == seen == list(handler.reports)


def test_errors_of_another_kind_or_in_another_place_are_told_too(
    told: list[logging.LogRecord],
) -> None:
    errors = iter([BrokenError(), BrokenError(), ValueError(), BrokenError()])

    def failing(_: Report) -> None:
        raise next(errors)

    handler = LogprobsCallbackHandler(sinks=[failing], on_report=broken)

    run(handler, times=4)

    kinds = [record.exc_info and record.exc_info[0] for record in told]
    assert kinds == [BrokenError, BrokenError, ValueError]  # of the sink, of the hook, of the sink


def test_of_many_threads_one_tells(told: list[logging.LogRecord], observed: Observed) -> None:
    handler = observed.handler(raise_errors=False, sinks=[broken])
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        run(handler)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told) == 1
    assert observed.total(ERRORS) == 8


def test_no_more_than_a_thousand_things_are_told(told: list[logging.LogRecord]) -> None:
    delivery = a_delivery()
    for number in range(1010):
        call = a_call(model=f"m{number}")
        delivery.call(call_report(call, unavailable="not_sent"), requested=True)

    assert len(told) == 1000


def test_a_meter_provider_that_fails_is_no_trouble(told: list[logging.LogRecord]) -> None:
    class Failing(NoOpMeterProvider):
        get_meter = broken  # type: ignore[assignment]

    seen: list[CallReport] = []
    handler = LogprobsCallbackHandler(
        meter_provider=Failing(), sinks=[broken], on_report=seen.append
    )

    assert run(handler) == "sure"

    assert len(seen) == len(told) == 1


# Processors


def test_processors_come_before_every_sink_and_hook(observed: Observed) -> None:
    sink, hooked = CollectingSink(), []

    def hide(report: Report) -> Report | None:
        return report if not isinstance(report, CallReport) else call_report(a_call(model="hidden"))

    handler = observed.handler(processors=[hide], sinks=[sink], on_report=hooked.append, keep=2)
    run(handler)

    models = [of.call.model for of in (*sink.calls, *hooked, *handler.reports)]
    assert models == ["hidden"] * 3


@pytest.mark.parametrize("drop", [lambda _: None, broken])
def test_a_dropped_report_reaches_nobody_and_its_watchers_are_told_that_it_is_done(
    drop: Any,
) -> None:
    watcher, hooked = Watcher(), []
    handler = LogprobsCallbackHandler(
        processors=[drop], sinks=[watcher], on_report=hooked.append, keep=2
    )

    run_chain(handler)

    told = ["run_started", "call_started", "call_finished", "tree_finished"]
    assert list(dict.fromkeys(watcher.told)) == told
    assert (hooked, handler.reports, handler.trees) == ([], (), ())


# Hooks


def test_on_low_confidence_sees_the_low_ones_alone() -> None:
    low: list[CallReport] = []
    handler = LogprobsCallbackHandler(sinks=[], on_low_confidence=low.append, low_response=0.5)
    answers = [answer(("a", -0.1)), answer(("b", -2.0)), answer("c", with_logprobs=False)]
    model = ScriptedChatModel(answers=answers)

    for _ in answers:
        model.invoke("", {"callbacks": [handler]})

    assert [report.text for report in low] == ["b"]


def test_the_last_reports_are_kept_and_no_more() -> None:
    handler = LogprobsCallbackHandler(sinks=[], keep=2)
    model = ScriptedChatModel(answers=[answer(text) for text in "abc"])

    for _ in range(3):
        model.invoke("", {"callbacks": [handler]})

    assert [report.text for report in handler.reports] == ["b", "c"]
    assert handler.last == handler.reports[-1]
    assert LogprobsCallbackHandler(sinks=[]).last is None


# Readers of payloads


def test_a_users_reader_is_asked_first_and_may_fail(
    observed: Observed, told: list[logging.LogRecord]
) -> None:
    def half(payload: object) -> Iterator[TokenLogprob]:
        yield TokenLogprob("mine", -1.0)
        raise BrokenError(repr(payload))

    handler = observed.handler(raise_errors=False, shapes=[broken, half], keep=1)

    assert run(handler) == "sure"

    assert [of.text for of in handler.reports[0].tokens] == ["sure"]
    assert observed.total(ERRORS, where="shape") == 2
    assert len(told) == 1


def test_a_users_reader_wins() -> None:
    handler = LogprobsCallbackHandler(
        sinks=[], shapes=[lambda _: iter([TokenLogprob("mine", -1.0)])], keep=1
    )
    other = LogprobsCallbackHandler(sinks=[], shapes=[lambda _: None], keep=1)
    model = ScriptedChatModel(answers=[answer("sure")])

    model.invoke("", {"callbacks": [handler, other]})

    assert [of.text for of in handler.reports[0].tokens] == ["mine"]
    assert [of.text for of in other.reports[0].tokens] == ["sure"]
    assert read_tokens({"content": []}) == ()


# Watchers


class Watcher:
    """A sink that is told when calls begin and end."""

    def __init__(self, *, failing: bool = False) -> None:
        self.told: list[str] = []
        self.failing = failing

    def tell(self, what: str) -> None:
        self.told.append(what)
        if self.failing:
            raise BrokenError

    def __call__(self, report: Report) -> None:
        self.tell(type(report).__name__)

    def run_started(self, run_id: UUID) -> None:
        del run_id
        self.tell("run_started")

    def call_started(self, run_id: UUID, inside: UUID | None) -> None:
        del run_id, inside
        self.tell("call_started")

    def call_finished(self, run_id: UUID) -> None:
        del run_id
        self.tell("call_finished")

    def tree_finished(self, root_run_id: UUID, ended_ns: int) -> None:
        del root_run_id, ended_ns
        self.tell("tree_finished")

    def after_fork(self) -> None:
        self.tell("after_fork")


@pytest.mark.parametrize("failing", [False, True])
def test_a_watcher_is_told_in_order_even_if_it_fails_each_time(
    observed: Observed, *, failing: bool
) -> None:
    watcher = Watcher(failing=failing)
    handler = observed.handler(sinks=[watcher], raise_errors=False)

    run_chain(handler)
    handler.after_fork()

    assert isinstance(watcher, CallWatcher)
    assert watcher.told == [
        "run_started",  # the chain
        "call_started",
        "CallReport",
        "call_finished",
        "run_started",  # what follows the model
        "TreeReport",
        "tree_finished",
        "after_fork",
    ]
    assert observed.total(ERRORS, where="sink") == (8 if failing else 0)


def test_a_run_without_model_calls_is_no_tree_but_is_told_of() -> None:
    watcher = Watcher()
    delivery = a_delivery(sinks=[watcher])

    delivery.tree(RunTree(root_run_id=UUID(int=1), name="r", started_ns=0, ended_ns=1), None)

    assert watcher.told == ["tree_finished"]


def test_a_plain_sink_needs_no_more_than_to_be_called() -> None:
    reports: list[Report] = []
    delivery = a_delivery(sinks=[reports.append])
    tree = RunTree(root_run_id=UUID(int=1), name="r", started_ns=0, ended_ns=1)

    delivery.call_started(UUID(int=1), None)
    delivery.call(call_report(a_call()), requested=False)
    delivery.tree(tree, tree_report(tree, []))
    delivery.after_fork()

    assert [type(report).__name__ for report in reports] == ["CallReport", "TreeReport"]
    assert delivery.flush(1.0)


# Flushing


class Flushing:
    """A sink that may take all the time there is."""

    def __init__(self, *, answer: Any = True, slow: bool = False) -> None:
        self.answer, self.slow = answer, slow
        self.timeouts: list[float] = []

    def __call__(self, report: Report) -> None: ...

    def flush(self, timeout: float) -> bool:
        self.timeouts.append(timeout)
        time.sleep(timeout if self.slow else 0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)


def test_every_sink_is_flushed_and_one_that_fails_or_is_late_is_told_by_the_answer() -> None:
    good, late, failing = Flushing(), Flushing(answer=False), Flushing(answer=BrokenError())

    assert LogprobsCallbackHandler(sinks=[good, print]).flush(1.0)
    assert not LogprobsCallbackHandler(sinks=[late, good]).flush(1.0)
    assert not LogprobsCallbackHandler(sinks=[failing, good]).close(1.0)
    assert len(good.timeouts) == 3


def test_sinks_share_the_time_there_is() -> None:
    slow, patient = Flushing(slow=True), Flushing()

    LogprobsCallbackHandler(sinks=[slow, patient]).flush(1.0)

    assert 0 < slow.timeouts[0] <= 1.0
    assert patient.timeouts == [0.0]


# What is said where there is no confidence


def a_call(**given: Any) -> ModelCall:
    return ModelCall(
        **{
            "run_id": UUID(int=1),
            "root_run_id": UUID(int=1),
            "started_ns": 0,
            "ended_ns": 1,
            "completions": (Completion(text="a"),),
            **given,
        }
    )


def a_delivery(**given: Any) -> Delivery:
    return Delivery(
        given.pop("settings", Settings()),
        **{
            "processors": (),
            "sinks": (),
            "on_report": None,
            "on_low_confidence": None,
            "meter_provider": None,
            **given,
        },
    )


@pytest.mark.parametrize(
    ("reason", "way_out"),
    [
        ("not_sent", "drop them without a word"),
        ("dropped_by_langchain", "patches.openai_responses"),
        ("provider_omits_stream_logprobs", "disable_streaming=True"),
        ("unreadable", "shapes="),
        ("choices_interleaved", "n=1"),
        ("incomplete", "cache=False"),
    ],
)
def test_who_asked_and_got_nothing_is_told_the_way_out_once_a_model(
    told: list[logging.LogRecord], reason: Unavailable, way_out: str
) -> None:
    delivery = a_delivery()

    for model in ("one", "two", "one"):
        report = call_report(a_call(model=model), unavailable=reason)
        delivery.call(report, requested=True)
        delivery.call(report, requested=False)

    assert [record.levelname for record in told] == ["WARNING"] * 2
    assert all(way_out in record.getMessage() for record in told)
    assert [repr(model) in told[at].getMessage() for at, model in enumerate(("one", "two"))]
    assert all(reason in record.getMessage() for record in told)


def test_reasons_that_need_nothing_done_are_not_told(told: list[logging.LogRecord]) -> None:
    delivery = a_delivery()
    silent = {
        "not_requested",
        "provider_omits_tool_logprobs",
        "refusal",
        "no_numbers",
        "no_answer",
    }

    for reason in silent & set(get_args(Unavailable)):
        delivery.call(call_report(a_call(), unavailable=reason), requested=True)
    delivery.call(call_report(a_call()), requested=True)

    assert told == []
    assert len(silent) == 5


Seen = list[tuple[str, ...]]


def candidates(report: Report) -> tuple[str, ...]:
    """The texts of the first token's alternatives."""
    assert isinstance(report, CallReport)
    return tuple(of.text for of in report.tokens[0].candidates)


class Deriving(OpenTelemetrySink):
    """Another sink that looks at what it is handed."""

    def __init__(self, look: Callable[[Report], object]) -> None:
        super().__init__()
        self.look = look

    def __call__(self, report: Report) -> None:
        self.look(report)
        super().__call__(report)


class Wrapping:
    """A sink that has the attributes of the one it wraps."""

    def __init__(self, look: Callable[[Report], object]) -> None:
        self.look = look
        self.inner = OpenTelemetrySink()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, report: Report) -> None:
        self.look(report)


LOOKING: dict[str, Callable[[Callable[[Report], Any]], dict[str, Any]]] = {
    "on_report": lambda look: {"on_report": look},
    "on_low_confidence": lambda look: {"on_low_confidence": look, "low_response": 1.0},
    "processor": lambda look: {"processors": [lambda report: look(report) or report]},
    "sink": lambda look: {"sinks": [look]},
    "one of two sinks": lambda look: {"sinks": [OpenTelemetrySink(), look]},
    "a sink with content": lambda look: {
        "sinks": [OpenTelemetrySink(options=Options(capture_content=True)), look]
    },
    "a sink that derives from ours": lambda look: {"sinks": [Deriving(look)]},
    "a sink that wraps ours": lambda look: {"sinks": [Wrapping(look)]},
}
ANSWERS = {
    "text": answer(("Syd", -0.6, {"Can": -1.2}), ("ney", -0.01)),
    "JSON": answer(('{"a":', -0.6, {"Can": -1.2}), (" 1}", -0.01)),
}


@pytest.mark.parametrize("way", LOOKING)
@pytest.mark.parametrize("said", ANSWERS)
def test_whoever_looks_at_a_report_finds_its_candidates(way: str, said: str) -> None:
    seen: Seen = []
    handler = LogprobsCallbackHandler(**LOOKING[way](lambda of: seen.append(candidates(of))))

    ScriptedChatModel(answers=[ANSWERS[said]]).invoke("", {"callbacks": [handler]})

    assert seen == [("Can",)]


def test_a_report_that_is_kept_has_its_candidates() -> None:
    handler = LogprobsCallbackHandler(keep=1)

    ScriptedChatModel(answers=[ANSWERS["text"]]).invoke("", {"callbacks": [handler]})

    assert candidates(handler.reports[0]) == ("Can",)


@pytest.mark.parametrize("said", ANSWERS)
def test_where_numbers_alone_are_sent_they_are_what_they_are_with_candidates(
    said: str, observed: Observed
) -> None:
    def numbers(**given: Any) -> list[dict[str, Any]]:
        observed.exporter.clear()
        handler = observed.handler(**given)
        ScriptedChatModel(answers=[ANSWERS[said]]).invoke("", {"callbacks": [handler]})
        assert handler.flush()
        return [
            {
                name: value
                for name, value in (span.attributes or {}).items()
                if not name.endswith(("run_id", "text", "texts", "candidates", "_logprobs"))
            }
            for span in observed.spans()
        ]

    sent = numbers()
    assert sent == numbers(keep=1)
    assert [of.get("langchain_logprobs.token.rank") for of in sent[1:]] == [1, None]


@pytest.mark.parametrize("given", [{}, {"keep": 1}])
@pytest.mark.parametrize("text", ["Sydney", '{"a": 1}'])
def test_nothing_of_the_application_is_held_on_to_once_a_call_is_over(
    given: dict[str, Any], text: str, observed: Observed
) -> None:
    other = {"token": "x", "logprob": -2.0, "bytes": [120]}
    said = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    entry = {**said, "top_logprobs": [said, other]}
    chunk = ChatGenerationChunk(
        message=AIMessageChunk(content=text), generation_info={"logprobs": {"content": [entry]}}
    )
    held = [sys.getrefcount(of) for of in (other, other["bytes"], said, entry)]
    handler = observed.handler(**given)
    # It goes on, and holds the report.
    chain = CallbackManager.configure([handler]).on_chain_start({}, {})
    (run,) = chain.get_child().on_chat_model_start({}, [[]])
    run.on_llm_new_token(text, chunk=chunk)
    run.on_llm_end(LLMResult(generations=[[chunk]]))
    assert handler.flush()

    assert held == [sys.getrefcount(of) for of in (other, other["bytes"], said, entry)]
    chain.on_chain_end({})
