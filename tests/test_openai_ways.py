"""The real clients of langchain-openai, against a server on loopback, in their own ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Observed
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI, OpenAI
from openai import APIConnectionError
from openai_server import RECORD, Served, logprob, serving
from pydantic import BaseModel

from langchain_logprobs import CallReport, LogprobsCallbackHandler, with_logprobs

pytestmark = pytest.mark.anyio

SAID = ["Norway", ":", " a0", " b"]
WAYS = ["invoke", "ainvoke", "stream", "astream"]


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


async def call(way: str, runnable: Runnable[Any, Any], given: Any, **config: Any) -> None:
    match way:
        case "invoke":
            runnable.invoke(given, config)
        case "ainvoke":
            await runnable.ainvoke(given, config)
        case "stream":
            list(runnable.stream(given, config))
        case _:
            assert [of async for of in runnable.astream(given, config)]


def only(handler: LogprobsCallbackHandler) -> CallReport:
    handler.flush()
    assert handler.is_idle()
    (report,) = handler.reports
    return report


def texts(report: CallReport) -> list[str]:
    return [of.text for of in report.tokens]


def assert_right(report: CallReport, said: list[str]) -> None:
    assert texts(report) == said
    assert [of.logprob for of in report.tokens] == [logprob(at) for at in range(len(said))]
    assert (report.call.outcome, report.unavailable, report.text) == ("ok", None, "".join(said))
    assert report.confidence.with_candidates == len(said)


@pytest.mark.parametrize("way", WAYS)
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
    await call(way, chat(served, **arguments), "Norway", callbacks=[handler])

    report = only(handler)
    assert_right(report, SAID)
    assert observed.tree() == [["chat says", *[["token"]] * 4]]
    assert observed.total("langchain_logprobs.tokens") == 4
    # With streaming=False no token callback is fired, not even by stream().
    streams = way.endswith("stream") and arguments in ({}, {"streaming": True})
    streams = streams or arguments == {"streaming": True}
    assert report.call.source == ("stream" if streams else "end")


@pytest.mark.parametrize("way", WAYS)
async def test_legacy_completions_are_text_completions(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler, way: str
) -> None:
    model = with_logprobs(
        OpenAI(model="says", base_url=served.base_url, api_key="none", max_retries=0), 2
    )

    await call(way, model, "Norway", callbacks=[handler])

    report = only(handler)
    assert_right(report, [*SAID])
    assert report.call.operation == "text_completion"
    assert observed.tree() == [["text_completion says", *[["token"]] * 4]]


async def test_several_answers_are_told_apart_when_invoked(
    served: Served, observed: Observed, handler: LogprobsCallbackHandler
) -> None:
    await call("invoke", chat(served, n=2), "Norway", callbacks=[handler])

    report = only(handler)
    assert_right(report, SAID)
    assert [of.text for of in report.call.completions] == ["Norway: a0 b", "Norway: a1 b"]
    assert [of.completion for of in report.sequences] == [0, 1]
    tokens = observed.spans("token")
    completions = [(of.attributes or {})["langchain_logprobs.token.completion"] for of in tokens]
    assert sorted(completions) == [0] * 4 + [1] * 4


async def test_several_answers_streamed_as_one_have_no_confidence(
    served: Served, handler: LogprobsCallbackHandler
) -> None:
    await call("stream", chat(served, n=2), "Norway", callbacks=[handler])

    report = only(handler)
    assert report.unavailable == "choices_interleaved"
    assert report.confidence.confidence is None


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_has_its_own_channel_and_no_headline(
    served: Served, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, "refuses"), "Norway", callbacks=[handler])

    report = only(handler)
    assert report.unavailable == "refusal"
    assert report.confidence.confidence is None
    (sequence,) = report.sequences
    assert (sequence.channel, sequence.confidence.count) == ("refusal", 4)


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_sends_none_is_said_to(
    served: Served, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served, "silent"), "Norway", callbacks=[handler])

    report = only(handler)
    assert (report.unavailable, report.text) == ("not_sent", "Norway: a0 b")


class City(BaseModel):
    """A city."""

    city: str


# langchain-openai's own, and there without us too.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_structured_output_is_captured_in_every_method(
    served: Served, handler: LogprobsCallbackHandler, method: Any, way: str
) -> None:
    model = chat(served).with_structured_output(City, method=method)

    await call(way, model, "Norway in JSON", callbacks=[handler])

    report = only(handler)
    if method == "function_calling":
        assert report.unavailable == "provider_omits_tool_logprobs"
        assert report.call.completions[0].tool_calls == (("City", {"city": "Oslo"}),)
    else:
        assert_right(report, list(RECORD))


@pytest.mark.parametrize("way", WAYS)
async def test_bound_tools_do_not_hide_what_is_said(
    served: Served, handler: LogprobsCallbackHandler, way: str
) -> None:
    await call(way, chat(served).bind_tools([City]), "Norway", callbacks=[handler])

    assert only(handler).unavailable == "provider_omits_tool_logprobs"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
async def test_an_agent_with_a_response_format_is_captured(
    served: Served, handler: LogprobsCallbackHandler, strategy: Any, way: str
) -> None:
    agent = create_agent(chat(served), [], response_format=strategy(City))

    await call(way, agent, {"messages": [("user", "Norway")]}, callbacks=[handler])

    report = only(handler)
    if strategy is ToolStrategy:
        assert report.unavailable == "provider_omits_tool_logprobs"
    else:
        assert_right(report, list(RECORD))


async def test_what_comes_from_a_cache_is_reported_as_it_was_stored(
    served: Served, handler: LogprobsCallbackHandler
) -> None:
    asked = len(served.requests)
    model = chat(served, cache=InMemoryCache())

    for _ in range(3):
        model.invoke("Norway", {"callbacks": [handler]})

    assert len(served.requests) == asked + 1
    assert len(handler.reports) == 3
    for report in handler.reports:
        assert_right(report, SAID)


@pytest.mark.filterwarnings("ignore:.*is in beta")
async def test_what_v3_stored_in_a_cache_is_not_passed_off_as_the_whole(
    served: Served, handler: LogprobsCallbackHandler
) -> None:
    model = chat(served, cache=InMemoryCache())
    list(model.stream_events("Norway", {"callbacks": [handler]}, version="v3"))

    model.invoke("Norway", {"callbacks": [handler]})

    whole, again = handler.reports
    assert_right(whole, SAID)
    assert texts(again) in ([], SAID)


async def test_retries_and_fallbacks_are_calls_of_their_own(
    served: Served, handler: LogprobsCallbackHandler
) -> None:
    fallen = (
        chat(served, "fails")
        .with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        .with_fallbacks([chat(served)])
    )

    await fallen.ainvoke("Norway", {"callbacks": [handler]})

    outcomes = [(of.call.model, of.call.outcome) for of in handler.reports]
    assert outcomes == [("fails", "error"), ("fails", "error"), ("says", "ok")]
    assert_right(handler.reports[-1], SAID)
    assert handler.is_idle()


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_provider_that_goes_away_half_way_leaves_what_arrived(
    served: Served, handler: LogprobsCallbackHandler, way: str
) -> None:
    with pytest.raises(APIConnectionError):
        await call(way, chat(served, "breaks"), "Norway", callbacks=[handler])

    report = only(handler)
    assert (report.call.outcome, texts(report)) == ("error", SAID[:2])
