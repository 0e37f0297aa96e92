"""How the public names are typed: nothing here runs, mypy and pyright read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_type
from uuid import UUID

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from langchain_logprobs import (
    CallReport,
    CallWatcher,
    Candidate,
    Completion,
    Confidence,
    LogprobsCallbackHandler,
    LogprobsUnsupportedError,
    ModelCall,
    OpenTelemetrySink,
    Processor,
    Report,
    Run,
    RunTree,
    SequenceConfidence,
    Settings,
    SettingsError,
    Shape,
    Sink,
    Store,
    TokenLogprob,
    TokenMeasures,
    TreeReport,
    confidence_of,
    get_logprobs_callback,
    keep_lowest,
    measure,
    redact,
    sample,
    through,
    with_logprobs,
)
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.testing import (
    Answer,
    CollectingSink,
    FixedClock,
    FixedIds,
    ScriptedChatModel,
    answer,
    token,
)


def handlers(tracers: TracerProvider, meters: MeterProvider) -> None:
    """A handler takes settings by name, and plain callables."""

    def sink(report: Report) -> None: ...

    def process(report: Report) -> Report | None:
        return report

    def read(payload: object) -> Iterable[TokenLogprob] | None: ...

    handler = LogprobsCallbackHandler(
        tracer_provider=tracers,
        meter_provider=meters,
        processors=[process, redact(), sample(0.5), through(keep_lowest(3))],
        sinks=[sink, CollectingSink(), OpenTelemetrySink(), Store("runs.db")],
        shapes=[read],
        on_report=print,
        on_low_confidence=lambda report: assert_type(report, CallReport),
        on_token=lambda token, run_id: (
            assert_type(token, TokenLogprob),
            assert_type(run_id, UUID),
        ),
        clock=FixedClock(),
        token_spans="low",
        max_token_spans=None,
        capture_content=None,
        metric_attributes=("langgraph_node",),
        keep=10,
        labels={"mood": ["good", "bad"]},
        thresholds={"$.total": 0.9},
    )
    assert_type(handler.reports, tuple[CallReport, ...])
    assert_type(handler.trees, tuple[TreeReport, ...])
    assert_type(handler.last, CallReport | None)
    assert_type(handler.settings, Settings)
    assert_type(handler.flush(), bool)
    assert_type(handler.close(timeout=1.0), bool)
    LogprobsCallbackHandler(token_spans="some")  # type: ignore[arg-type]
    LogprobsCallbackHandler(max_token=1)  # type: ignore[call-arg]
    LogprobsCallbackHandler(keep="1")  # type: ignore[arg-type]
    with get_logprobs_callback(labels={"mood": ["good"]}) as collected:
        assert_type(collected, LogprobsCallbackHandler)


def models(
    chat: ChatOpenAI, azure: AzureChatOpenAI, completion: OpenAI, bound: RunnableBinding[str, str]
) -> None:
    """`with_logprobs` gives the type it is given."""
    assert_type(with_logprobs(chat), ChatOpenAI)
    assert_type(with_logprobs(azure, top_logprobs=20), AzureChatOpenAI)
    assert_type(with_logprobs(completion, 3), OpenAI)
    assert_type(with_logprobs(bound), RunnableBinding[str, str])
    tools: Runnable[LanguageModelInput, AIMessage] = with_logprobs(chat).bind_tools([])
    assert_type(tools.invoke(""), AIMessage)
    with_logprobs("gpt-4o-mini")  # type: ignore[type-var]


def values(report: CallReport, tree: TreeReport, one: TokenLogprob) -> None:
    """What a report holds."""
    assert_type(report.call, ModelCall)
    assert_type(report.confidence, Confidence)
    assert_type(report.confidence.confidence, float | None)
    assert_type(report.confidence.uncertainty, float | None)
    assert_type(report.tokens, tuple[TokenLogprob, ...])
    assert_type(report.text, str)
    assert_type(report.low, bool)
    assert_type(report.fields["$.total"].confidence, Confidence)
    assert_type(report.sequences, tuple[SequenceConfidence, ...])
    assert_type(report.call.completions, tuple[Completion, ...])
    assert_type(report.call.metadata, Mapping[str, Any])
    assert_type(tree.tree, RunTree)
    assert_type(tree.tree.runs, tuple[Run, ...])
    assert_type(tree.calls, tuple[CallReport, ...])
    assert_type(tree.weakest, CallReport | None)
    assert_type(tree.name, str)
    assert_type(one.candidates, tuple[Candidate, ...])
    assert_type(one.logprob, float | None)
    assert_type(one.raw, bytes | None)
    assert_type(measure(one), TokenMeasures)
    assert_type(confidence_of([one], low_token=0.3), Confidence)
    report.low = True  # type: ignore[misc]
    TokenLogprob(text="a")  # type: ignore[call-arg]
    Confidence(5)  # type: ignore[call-arg]


def steps(report: Report, watcher: CallWatcher) -> None:
    """Processors and sinks are plain callables."""
    processor: Processor = through(redact(r"\d+"), sample(1))
    assert_type(processor(report), CallReport | TreeReport | None)
    into: Sink = CollectingSink()
    into(report)
    shape: Shape = read_tokens
    assert_type(shape({}), Iterable[TokenLogprob] | None)
    watcher.call_started(UUID(int=0), None)
    watching: CallWatcher = OpenTelemetrySink()
    watching.after_fork()


def settings() -> None:
    """Settings are values that cannot be changed."""
    assert_type(Settings(keep=1).max_token_spans, int | None)
    assert_type(Settings.from_environment({}, keep=3), Settings)
    raised: Callable[[str], ValueError] = SettingsError
    unsupported: Callable[[str], TypeError] = LogprobsUnsupportedError
    del raised, unsupported


def tests_of_users() -> None:
    """What `testing` offers."""
    model = ScriptedChatModel(answers=[answer("a", ("b", -0.5), token(b"\xf0"))])
    assert_type(model.invoke(""), AIMessage)
    assert_type(answer(), Answer)
    assert_type(CollectingSink().calls, list[CallReport])
    assert_type(FixedClock()(), int)
    assert_type(FixedIds().generate_trace_id(), int)
