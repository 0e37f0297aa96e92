"""One handler for the whole process: by a line of code, or by no code at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conftest import Observed
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, MessagesState, StateGraph
from opentelemetry.sdk.trace import TracerProvider
from receiver import attributes, receiving
from theirs import Theirs

from langchain_logprobs import LogprobsCallbackHandler, SettingsError, instrument, uninstrument
from langchain_logprobs.settings import others_table, table
from langchain_logprobs.store.reader import StoredRuns
from langchain_logprobs.testing import ScriptedChatModel, answer

pytestmark = pytest.mark.anyio

MODEL = ScriptedChatModel(answers=[answer("a", "b")])


@pytest.fixture
def handler(observed: Observed) -> Iterator[LogprobsCallbackHandler]:
    yield instrument(
        tracer_provider=observed.tracer_provider,
        meter_provider=observed.meter_provider,
        keep=99,
        raise_errors=True,
    )
    uninstrument()


async def test_every_call_in_every_thread_and_task_is_reported(
    observed: Observed, handler: LogprobsCallbackHandler
) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("say", lambda state: {"messages": MODEL.invoke(state["messages"])})
    graph.add_edge(START, "say")
    graph.add_edge("say", END)
    chain = ChatPromptTemplate.from_template("{q}") | MODEL | StrOutputParser()

    MODEL.invoke("")
    thread = threading.Thread(target=list, args=(chain.stream({"q": ""}),))
    thread.start()
    thread.join()
    await asyncio.gather(chain.ainvoke({"q": ""}), MODEL.ainvoke(""))
    chain.batch([{"q": ""}] * 2)
    graph.compile().invoke({"messages": ["?"]})

    handler.flush()
    assert len(handler.reports) == 7
    assert {of.text for of in handler.reports} == {"ab"}
    assert len(observed.spans("chat")) == 7


def test_what_is_also_handed_the_handler_is_reported_once(
    handler: LogprobsCallbackHandler,
) -> None:
    MODEL.invoke("", {"callbacks": [handler]})
    (MODEL | StrOutputParser()).invoke("", {"callbacks": [handler]})

    assert len(handler.reports) == 2


def test_another_handler_reports_too(observed: Observed, handler: LogprobsCallbackHandler) -> None:
    other = observed.handler(keep=9)

    MODEL.invoke("", {"callbacks": [other]})

    assert (len(handler.reports), len(other.reports)) == (1, 1)


def test_instrumenting_twice_changes_nothing(
    handler: LogprobsCallbackHandler, caplog: pytest.LogCaptureFixture
) -> None:
    assert instrument() is handler
    assert not caplog.records

    assert instrument(low_token=0.1) is handler

    assert "change nothing: low_token" in caplog.text
    MODEL.invoke("")
    assert len(handler.reports) == 1


def test_after_uninstrument_nothing_is_heard_and_it_can_begin_anew(
    handler: LogprobsCallbackHandler,
) -> None:
    chain = ChatPromptTemplate.from_template("{q}") | MODEL
    stream = chain.stream({"q": ""})
    next(stream)

    assert uninstrument()
    assert uninstrument()
    list(stream)
    chain.invoke({"q": ""})
    chain.invoke({"q": ""}, {"callbacks": [handler]})

    (cut,) = handler.reports
    assert cut.call.outcome == "abandoned"
    assert handler.is_idle()
    again = instrument(sinks=[], keep=9)
    chain.invoke({"q": ""})
    assert again is not handler
    assert (len(handler.reports), len(again.reports)) == (1, 1)


def test_a_wrong_setting_raises_and_instruments_nothing() -> None:
    with pytest.raises(SettingsError, match="low_token is 2"):
        instrument(low_token=2)

    assert uninstrument()


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("lone", [True, False])
async def test_beside_a_handler_that_comes_first_tokens_hang_under_its_llm_span(
    observed: Observed, handler: LogprobsCallbackHandler, way: str, *, lone: bool
) -> None:
    scope, kind = "opentelemetry.instrumentation.langchain", {"gen_ai.operation.name": "chat"}
    theirs = Theirs(observed, scope, **kind)
    chain: Any = (
        MODEL if lone else ChatPromptTemplate.from_template("{q}") | MODEL | StrOutputParser()
    )
    given: Any = "" if lone else {"q": ""}
    config: Any = {"callbacks": [theirs]}

    match way:
        case "invoke":
            chain.invoke(given, config)
        case "stream":
            list(chain.stream(given, config))
        case "ainvoke":
            await chain.ainvoke(given, config)
        case _:
            assert [part async for part in chain.astream(given, config)]

    handler.flush()
    (llm,) = observed.spans("their llm")
    assert [of.parent.span_id for of in observed.spans("token")] == [llm.context.span_id] * 2
    # Their span had ended when the answer was known to us: what it could not be told is beneath it.
    (summary,) = observed.spans("logprobs")
    assert summary.parent.span_id == llm.context.span_id
    assert (summary.attributes or {})["langchain_logprobs.tokens.count"] == 2
    assert not observed.spans("chat") + observed.spans("invoke_workflow")


def test_a_call_that_was_left_open_takes_no_span_of_the_next(
    observed: Observed, handler: LogprobsCallbackHandler
) -> None:
    handler.on_chat_model_start({}, [], run_id=UUID(int=1))  # nothing ever ends it
    scope, kind = "opentelemetry.instrumentation.langchain", {"gen_ai.operation.name": "chat"}

    MODEL.invoke("", {"callbacks": [Theirs(observed, scope, **kind)]})

    handler.close()
    (llm,) = observed.spans("their llm")
    assert [of.parent.span_id for of in observed.spans("token")] == [llm.context.span_id] * 2
    assert [of.name for of in observed.spans("chat")] == ["chat"]  # that of the one left open


def test_a_call_made_before_spans_are_watched_finds_its_span_when_that_ends() -> None:
    observed = Observed()  # a tracer provider that nobody has seen yet
    handler = observed.handler()
    theirs = Theirs(observed, "openllmetry", **{"gen_ai.operation.name": "chat"})

    MODEL.invoke("", {"callbacks": [theirs, handler]})

    handler.flush()
    assert observed.tree() == [["their llm", ["logprobs"], ["token"], ["token"]]]
    observed.close()


class Unhashable(TracerProvider):
    """A provider that cannot be hashed, such as Logfire's."""

    __hash__ = None  # type: ignore[assignment]


def test_a_provider_that_cannot_be_hashed_is_as_good_as_any() -> None:
    observed = Observed()
    observed.tracer_provider.__class__ = Unhashable
    handler = observed.handler()
    theirs = Theirs(observed, "logfire", **{"gen_ai.operation.name": "chat"})

    MODEL.invoke("", {"callbacks": [handler, theirs]})

    handler.flush()
    assert observed.tree() == [["their llm", ["token"], ["token"]]]
    observed.close()


PROGRAM = """
from langchain_core.output_parsers import StrOutputParser
from langchain_logprobs.testing import ScriptedChatModel, answer

model = ScriptedChatModel(answers=[answer(("Syd", -0.5, {"Can": -1.2}), ("ney", -0.1))])
CODE
if FORK:
    import os
    child = os.fork()
    if child:
        os.waitpid(child, 0)
print("".join((model | StrOutputParser()).stream("?")))
"""


def run_instrumented(
    folder: Path, endpoint: str, *, code: str = "", fork: bool = False, **given: str
) -> str:
    """What a program that knows nothing of handlers prints under `opentelemetry-instrument`.

    Args:
        folder: Where to put the program.
        endpoint: The receiver.
        code: More of the program, before it asks its model.
        fork: Whether to do so in a child process too.
        given: Environment variables.
    """
    program = folder / "program.py"
    text = PROGRAM.replace("FORK", str(fork)).replace("CODE", textwrap.dedent(code))
    program.write_text(text)
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
    }
    ran = subprocess.run(
        [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, program],
        env={**os.environ, **variables, **given},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return ran.stdout + ran.stderr


def test_a_program_that_knows_nothing_of_us_is_seen(tmp_path: Path) -> None:
    with receiving() as received:
        said = run_instrumented(tmp_path, received.endpoint)

    assert said == "Sydney\n"
    (root,), (llm,) = received.spans("invoke_workflow"), received.spans("chat")
    tokens = sorted(received.spans("token"), key=lambda of: of.start_time_unix_nano)
    assert llm.parent_span_id == root.span_id
    assert [of.parent_span_id for of in tokens] == [llm.span_id] * 2
    logprobs = [attributes(of)["langchain_logprobs.token.logprob"] for of in tokens]
    assert logprobs == [-0.5, -0.1]
    assert "langchain_logprobs.response.uncertainty" in received.metrics()


def test_the_environment_sets_what_is_sent(tmp_path: Path) -> None:
    with receiving() as received:
        run_instrumented(
            tmp_path,
            received.endpoint,
            LANGCHAIN_LOGPROBS_TOKEN_SPANS="none",
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY",
        )

    (llm,) = received.spans("chat")
    assert not received.spans("token")
    assert attributes(llm)["langchain_logprobs.tokens.texts"] == ["Syd", "ney"]


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        (
            "LANGCHAIN_LOGPROBS_LOW_TOKEN",
            "often",
            "LANGCHAIN_LOGPROBS_LOW_TOKEN is 'often', but takes a probability",
        ),
        ("LANGCHAIN_LOGPROBS_STORE", "/dev/null/runs.db", "folder /dev/null cannot be made"),
    ],
)
def test_a_wrong_variable_is_said_and_the_program_runs(
    tmp_path: Path, variable: str, value: str, why: str
) -> None:
    with receiving() as received:
        said = run_instrumented(tmp_path, received.endpoint, **{variable: value})

    assert said.startswith("Sydney\n")
    assert why in said
    assert "Failed to" not in said
    assert not received.spans()


def test_a_child_process_is_seen_as_its_parent_is(tmp_path: Path) -> None:
    with receiving() as received:
        said = run_instrumented(tmp_path, received.endpoint, fork=True)

    assert said == "Sydney\nSydney\n"
    assert len(received.spans("chat")) == 2
    assert len(received.spans("token")) == 4


def test_the_entry_point_can_be_switched_off_by_its_name(tmp_path: Path) -> None:
    with receiving() as received:
        run_instrumented(
            tmp_path,
            received.endpoint,
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="langchain_logprobs",
        )

    assert not received.spans()


def test_the_instrumentor_installs_and_takes_away_the_same_handler() -> None:
    from langchain_logprobs.instrumentor import LangchainLogprobsInstrumentor  # noqa: PLC0415

    instrumentor = LangchainLogprobsInstrumentor()
    instrumentor.instrument(sinks=[], keep=9)
    handler = instrument()
    MODEL.invoke("")
    instrumentor.uninstrument()
    MODEL.invoke("")

    assert len(handler.reports) == 1


# Every variable of the table of settings, obeyed under `opentelemetry-instrument`. What can be seen
# from outside is looked for there; of bounds that take thousands of calls, the setting is shown.

LONG = """
model = ScriptedChatModel(answers=[answer(*[("a", -0.1 * n) for n in range(1, 9)], "b")])
"""
JSON = """
texts = ['{"', "city", '":"', ("Oslo", -0.4), '"}']
model = ScriptedChatModel(answers=[answer(*texts)])
"""
SETTINGS = """
from langchain_logprobs import instrument
of = instrument().settings
print((of.keep, of.max_open_calls, of.idle_timeout, of.raise_errors), end=" ")
"""


def spans_with(
    folder: Path, code: str = "", **given: str
) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """What was printed, the attributes of the LLM span, and those of the token spans in order."""
    with receiving() as received:
        said = run_instrumented(folder, received.endpoint, code=code, **given)
    (llm,) = received.spans("chat")
    tokens = [attributes(of) for of in received.spans("token")]
    return said, attributes(llm), sorted(tokens, key=lambda of: of[f"{PREFIX}token.index"])


PREFIX = "langchain_logprobs."


def test_which_tokens_become_spans_is_obeyed(tmp_path: Path) -> None:
    given = {
        "LANGCHAIN_LOGPROBS_TOKEN_SPANS": "low",
        "LANGCHAIN_LOGPROBS_LOW_TOKEN": "0.62",
        "LANGCHAIN_LOGPROBS_MAX_TOKEN_SPANS": "2",
        "LANGCHAIN_LOGPROBS_LOW_RESPONSE": "0.5",
        "LANGCHAIN_LOGPROBS_TOKEN_ARRAYS": "false",
    }

    _, llm, tokens = spans_with(tmp_path, LONG, **given)

    # Under 0.62 are the last four of e^-0.1 ... e^-0.8, and room is for the two least likely.
    assert [of[f"{PREFIX}token.index"] for of in tokens] == [6, 7]
    assert llm[f"{PREFIX}token_spans.omitted"] == 7
    assert llm[f"{PREFIX}tokens.low"] == 4
    assert llm[f"{PREFIX}response.low"] is False
    assert f"{PREFIX}tokens.logprobs" not in llm


def test_content_and_what_phoenix_shows_are_obeyed(tmp_path: Path) -> None:
    given = {"LANGCHAIN_LOGPROBS_OPENINFERENCE": "yes", "LANGCHAIN_LOGPROBS_CAPTURE_CONTENT": "1"}
    with receiving() as received:
        run_instrumented(tmp_path, received.endpoint, **given)

    named = {of.name: attributes(of) for of in received.spans()}
    assert named["'Syd' 0.61"]["openinference.span.kind"] == "CHAIN"
    assert named["chat scripted-1"]["openinference.span.kind"] == "LLM"
    assert named["'Syd' 0.61"][f"{PREFIX}token.candidates"] == ["Can"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENINFERENCE_HIDE_OUTPUTS", "true"),
        ("TRACELOOP_TRACE_CONTENT", "false"),
        ("LANGCHAIN_LOGPROBS_CAPTURE_CONTENT", "false"),
    ],
)
def test_what_forbids_content_is_obeyed(tmp_path: Path, variable: str, value: str) -> None:
    given = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", variable: value}

    _, llm, tokens = spans_with(tmp_path, **given)

    assert f"{PREFIX}tokens.texts" not in llm
    assert [f"{PREFIX}token.text" in of for of in tokens] == [False, False]


def test_what_becomes_a_dimension_is_obeyed(tmp_path: Path) -> None:
    code = JSON + "model = model.with_config(metadata={'tenant': 'a', 'thread': 'b'})"
    with receiving() as received:
        run_instrumented(
            tmp_path,
            received.endpoint,
            code=code,
            LANGCHAIN_LOGPROBS_METRIC_ATTRIBUTES="tenant",
            LANGCHAIN_LOGPROBS_METRIC_FIELDS="$.city",
        )

    metrics = received.metrics()
    (point,) = metrics[f"{PREFIX}response.uncertainty"].histogram.data_points
    assert attributes(point)["tenant"] == "a"
    assert "thread" not in attributes(point)
    (field,) = metrics[f"{PREFIX}field.uncertainty"].histogram.data_points
    assert attributes(field)["field"] == "$.city"


def test_how_much_is_kept_of_a_call_is_obeyed(tmp_path: Path) -> None:
    _, llm, tokens = spans_with(tmp_path, LONG, LANGCHAIN_LOGPROBS_MAX_TOKENS="3")

    assert len(tokens) == 3
    assert llm[f"{PREFIX}tokens.truncated"] == 6


def test_how_many_token_spans_may_wait_is_obeyed(tmp_path: Path) -> None:
    said, _, tokens = spans_with(tmp_path, LONG, LANGCHAIN_LOGPROBS_MAX_PENDING_SPANS="8")

    assert not tokens
    assert "9 token spans were lost" in said


def test_a_store_is_kept_too(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    spans_with(tmp_path, LANGCHAIN_LOGPROBS_STORE=str(path))

    (report,) = StoredRuns(path).reports()
    assert report.text == "Sydney"


def test_bounds_are_obeyed(tmp_path: Path) -> None:
    given = {
        "LANGCHAIN_LOGPROBS_KEEP": "7",
        "LANGCHAIN_LOGPROBS_MAX_OPEN_CALLS": "5",
        "LANGCHAIN_LOGPROBS_IDLE_TIMEOUT": "0.5",
        "LANGCHAIN_LOGPROBS_RAISE_ERRORS": "on",
    }

    said, _, _ = spans_with(tmp_path, SETTINGS, **given)

    assert said.splitlines()[0] == "(7, 5, 0.5, True) Sydney"


# And OpenTelemetry's own


def test_with_the_sdk_off_nothing_is_sent_and_the_program_runs(tmp_path: Path) -> None:
    with receiving() as received:
        said = run_instrumented(tmp_path, received.endpoint, OTEL_SDK_DISABLED="true")

    assert said == "Sydney\n"
    assert not received.messages


@pytest.mark.parametrize(("signal", "other"), [("TRACES", "METRICS"), ("METRICS", "TRACES")])
def test_a_signal_can_be_left_out(tmp_path: Path, signal: str, other: str) -> None:
    with receiving() as received:
        said = run_instrumented(tmp_path, received.endpoint, **{f"OTEL_{signal}_EXPORTER": "none"})

    assert said == "Sydney\n"
    sent = {"TRACES": bool(received.spans()), "METRICS": bool(received.metrics())}
    assert sent == {signal: False, other: True}


def test_what_is_not_sampled_is_not_sent_but_counted(tmp_path: Path) -> None:
    with receiving() as received:
        run_instrumented(tmp_path, received.endpoint, OTEL_TRACES_SAMPLER="always_off")

    assert not received.spans()
    (point,) = received.metrics()[f"{PREFIX}token_spans"].sum.data_points
    assert (attributes(point)["result"], point.as_int) == ("unsampled", 2)


def test_who_it_is_and_a_small_queue_are_obeyed(tmp_path: Path) -> None:
    code = "model = ScriptedChatModel(answers=[answer(*(['a', 'b'] * 300))])"
    with receiving() as received:
        run_instrumented(
            tmp_path,
            received.endpoint,
            code=code,
            OTEL_SERVICE_NAME="quiz",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            OTEL_BSP_MAX_QUEUE_SIZE="256",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="64",
        )

    (message, *_) = (of for of in received.messages if getattr(of, "resource_spans", ()))
    resource = attributes(message.resource_spans[0].resource)
    assert resource["service.name"] == "quiz"
    assert resource["deployment.environment.name"] == "test"
    assert len(received.spans("token")) == 600  # none was dropped


def test_everything_of_the_table_of_settings_is_tried_here() -> None:
    text = Path(__file__).read_text()
    settings = {variable for _, variable, _, _ in table()} | {of for of, _ in others_table()}

    assert {of for of in settings if of not in text} == set()
