"""Which span a token hangs under: the call's own LLM span, in the application's trace."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from conftest import Observed, attributes_of
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from langchain_logprobs.testing import ScriptedChatModel, answer

pytestmark = pytest.mark.anyio


def a_chain(model: ScriptedChatModel) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_template("{q}") | model | StrOutputParser()


MODEL = ScriptedChatModel(answers=[answer("a", "b")])


def test_a_chain_without_a_span_around_it_gets_a_root_span(observed: Observed) -> None:
    handler = observed.handler()

    a_chain(MODEL).invoke({"q": ""}, {"callbacks": [handler]})

    handler.flush()
    assert observed.tree() == [
        ["invoke_workflow RunnableSequence", ["chat scripted-1", ["token"], ["token"]]]
    ]
    (root,), (llm,) = observed.spans("invoke"), observed.spans("chat")
    assert root.start_time <= llm.start_time <= llm.end_time <= root.end_time
    assert attributes_of(root)["langchain_logprobs.tree.calls"] == 1
    weakest = attributes_of(root)["langchain_logprobs.tree.weakest.run_id"]
    assert weakest == attributes_of(llm)["langchain_logprobs.run_id"]


def test_in_the_applications_trace_there_is_no_root_span_of_ours(observed: Observed) -> None:
    handler = observed.handler()

    with observed.tracer.start_as_current_span("request"):
        a_chain(MODEL).invoke({"q": ""}, {"callbacks": [handler]})

    handler.flush()
    assert observed.tree() == [["request", ["chat scripted-1", ["token"], ["token"]]]]


def test_the_span_current_when_the_call_starts_is_the_parent(observed: Observed) -> None:
    handler = observed.handler()
    stream = None

    with observed.tracer.start_as_current_span("asking"):
        stream = MODEL.stream("", {"callbacks": [handler]})
        next(stream)
    with observed.tracer.start_as_current_span("reading"):
        list(stream)

    handler.flush()
    assert observed.tree() == [["asking", ["chat scripted-1", ["token"], ["token"]]], ["reading"]]


def test_calls_of_one_chain_share_its_root_span(observed: Observed) -> None:
    handler = observed.handler()
    twice = RunnableLambda(lambda q: [MODEL.invoke(q), MODEL.invoke(q)])

    twice.invoke("", {"callbacks": [handler], "run_name": "twice"})

    handler.flush()
    call = ["chat scripted-1", ["token"], ["token"]]
    assert observed.tree() == [["invoke_workflow twice", call, call]]


class Instrumentation:
    """What other instrumentations do: a span for the chain and one for the model's run.

    Their handlers keep a span a run and attach nothing.
    """

    def __init__(
        self,
        observed: Observed,
        scope: str,
        *,
        kind: str = "openinference.span.kind",
        **kinds: str,
    ) -> None:
        self._kind = kind
        self._tracer = observed.tracer_provider.get_tracer(scope)
        self._kinds = kinds
        self._spans: dict[UUID, trace.Span] = {}

    def start(self, kind: str, run_id: UUID, parent_run_id: UUID | None) -> None:
        parent = self._spans.get(parent_run_id) if parent_run_id else None
        context = None if parent is None else trace.set_span_in_context(parent)
        attributes = {self._kind: self._kinds[kind]} if self._kinds else {}
        self._spans[run_id] = self._tracer.start_span(
            f"their {kind}", context=context, attributes=attributes
        )

    def end(self, run_id: UUID) -> None:
        self._spans.pop(run_id).end()


class TheirHandler(Instrumentation, BaseCallbackHandler):
    """One that is not inline: under async it runs in a copied context, after the inline ones."""

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: Any = None, **__: Any) -> None:
        self.start("chain", run_id, parent_run_id)

    def on_chat_model_start(
        self, *_: Any, run_id: UUID, parent_run_id: Any = None, **__: Any
    ) -> None:
        self.start("llm", run_id, parent_run_id)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.end(run_id)

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.end(run_id)


class TheirAsyncHandler(Instrumentation, AsyncCallbackHandler):
    """One that is asynchronous throughout."""

    async def on_chain_start(
        self, *_: Any, run_id: UUID, parent_run_id: Any = None, **__: Any
    ) -> None:
        self.start("chain", run_id, parent_run_id)

    async def on_chat_model_start(
        self, *_: Any, run_id: UUID, parent_run_id: Any = None, **__: Any
    ) -> None:
        self.start("llm", run_id, parent_run_id)

    async def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.end(run_id)

    async def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.end(run_id)


SCOPES = {
    "by scope": ("opentelemetry.instrumentation.langchain", {}),
    "by kind": ("somebody.unknown", {"chain": "CHAIN", "llm": "LLM"}),
    "by both": ("openinference.instrumentation.langchain", {"chain": "CHAIN", "llm": "LLM"}),
}


@pytest.mark.parametrize("theirs", [TheirHandler, TheirAsyncHandler])
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("scope", SCOPES)
async def test_tokens_hang_under_the_llm_span_of_another_instrumentation(
    observed: Observed, scope: str, way: str, theirs: Callable[..., Any]
) -> None:
    name, kinds = SCOPES[scope]
    handler = observed.handler()
    config = {"callbacks": [handler, theirs(observed, name, **kinds)]}
    chain = a_chain(MODEL)

    match way:
        case "invoke":
            chain.invoke({"q": ""}, config)
        case "stream":
            list(chain.stream({"q": ""}, config))
        case "ainvoke":
            await chain.ainvoke({"q": ""}, config)
        case _:
            assert [part async for part in chain.astream({"q": ""}, config)]

    handler.flush()
    (llm,) = observed.spans("their llm")
    assert [of.parent.span_id for of in observed.spans("token")] == [llm.context.span_id] * 2
    assert attributes_of(llm)["langchain_logprobs.tokens.count"] == 2
    assert not observed.spans("chat") + observed.spans("invoke_workflow")
    assert len(attributes_of(llm)) <= 40


@pytest.mark.parametrize("undecided", ["null", '"UNKNOWN"'])
def test_a_span_that_is_not_yet_told_its_kind_is_taken_by_its_scope(
    observed: Observed, undecided: str
) -> None:
    handler = observed.handler()
    kinds = {"llm": undecided, "chain": '"CHAIN"'}
    theirs = TheirHandler(observed, "mlflow.tracing.provider", kind="mlflow.spanType", **kinds)

    MODEL.invoke("", {"callbacks": [handler, theirs]})

    handler.flush()
    assert observed.tree() == [["their llm", ["token"], ["token"]]]


def test_an_http_clients_span_is_no_llm_span(observed: Observed) -> None:
    http = observed.tracer_provider.get_tracer("opentelemetry.instrumentation.httpx")

    class Calling(ScriptedChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            with http.start_as_current_span("POST"):
                return super()._generate(*args, **kwargs)

    handler = observed.handler()

    Calling(answers=[answer("a")]).invoke("", {"callbacks": [handler]})

    handler.flush()
    assert observed.tree() == [["chat scripted-1", ["token"]], ["POST"]]


def test_a_call_inside_a_call_has_a_span_of_its_own(observed: Observed) -> None:
    inner = ScriptedChatModel(answers=[answer("i")], model="inner")

    class Routing(ScriptedChatModel):
        def _generate(self, *args: Any, run_manager: Any = None, **kwargs: Any) -> Any:
            inside = CallbackManager(run_manager.handlers, parent_run_id=run_manager.run_id)
            inner.invoke("", {"callbacks": inside})
            return super()._generate(*args, **kwargs)

    handler = observed.handler()
    theirs = TheirHandler(observed, "openinference.instrumentation.langchain")

    Routing(answers=[answer("o", "p")], model="outer").invoke("", {"callbacks": [handler, theirs]})

    handler.flush()
    outer, inside = observed.spans("their llm")
    counts = [attributes_of(of)["langchain_logprobs.tokens.count"] for of in (outer, inside)]
    assert counts == [2, 1]


def test_a_chain_inside_a_call_belongs_to_the_tree_around_it(observed: Observed) -> None:
    handler = observed.handler(keep=9)
    outer, call, chain, inner = map(UUID, (f"{n:032x}" for n in range(1, 5)))
    handler.on_chain_start({}, {}, run_id=outer, name="outer")
    handler.on_chat_model_start({}, [], run_id=call, parent_run_id=outer)
    handler.on_chain_start({}, {}, run_id=chain, parent_run_id=call, name="inside")
    handler.on_chat_model_start({}, [], run_id=inner, parent_run_id=chain)

    handler.on_chain_end({}, run_id=outer)

    assert {of.call.root_run_id for of in handler.reports} == {outer}
    assert len(handler.trees) == 1
    assert handler.is_idle()


def test_an_llm_span_that_is_current_is_taken(observed: Observed) -> None:
    handler = observed.handler()
    attributes = {"gen_ai.operation.name": "chat"}

    with observed.tracer.start_as_current_span("manual", attributes=attributes):
        MODEL.invoke("", {"callbacks": [handler]})

    handler.flush()
    assert observed.tree() == [["manual", ["token"], ["token"]]]


async def test_thirty_calls_at_once_never_mix_their_tokens(observed: Observed) -> None:
    handler = observed.handler(keep=100, capture_content=True)
    models = [
        ScriptedChatModel(
            answers=[answer(*[f"{n}." for _ in range(20)], pause=0.001)], model=f"m{n}"
        )
        for n in range(30)
    ]

    def call(model: ScriptedChatModel) -> None:
        with observed.tracer.start_as_current_span(f"request {model.model}"):
            list(a_chain(model).stream({"q": ""}, {"callbacks": [handler]}))

    async def acall(model: ScriptedChatModel) -> None:
        with observed.tracer.start_as_current_span(f"request {model.model}"):
            async for _ in a_chain(model).astream({"q": ""}, {"callbacks": [handler]}):
                pass

    await asyncio.gather(*map(acall, models))
    with ThreadPoolExecutor(30) as pool:
        list(pool.map(call, models))

    handler.flush()
    assert len(handler.reports) == 60
    assert all(of.text == f"{of.call.model[1:]}." * 20 for of in handler.reports if of.call.model)
    by_id = {of.context.span_id: of for of in observed.spans()}
    tokens = observed.spans("token")
    assert len(tokens) == 30 * 20 * 2
    assert all(_number(of) == _number(by_id[of.parent.span_id]) for of in tokens)
    assert all(_number(of) == _number(by_id[of.parent.span_id]) for of in observed.spans("chat"))


def _number(span: ReadableSpan) -> str:
    """Which model a span speaks of: by its own text, or by its name."""
    said = attributes_of(span).get("langchain_logprobs.token.text", span.name)
    return re.findall(r"\d+", str(said))[0]


def test_a_sampled_out_trace_still_counts_in_the_metrics(
    observed: Observed, unsampled: Observed
) -> None:
    for of in (observed, unsampled):
        handler = of.handler()
        a_chain(MODEL).invoke({"q": ""}, {"callbacks": [handler]})
        list(MODEL.stream("", {"callbacks": [handler]}))
        handler.flush()

    sampled, not_sampled = observed.metrics(), unsampled.metrics()
    spans = "langchain_logprobs.token_spans"
    assert sampled.pop(spans) == {frozenset({("result", "emitted")}): 4}
    assert not_sampled.pop(spans) == {frozenset({("result", "unsampled")}): 4}
    assert sampled == not_sampled
    assert not unsampled.spans()
    assert observed.spans()
