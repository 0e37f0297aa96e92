"""What LangChain drops, and that a patch keeps it: real client code, answered in its transport."""

import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import langchain_openai.chat_models.base as openai_base
import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from langchain_logprobs import CallReport, get_logprobs_callback, with_logprobs
from langchain_logprobs.patches import (
    Edit,
    Patch,
    gemini,
    google_genai,
    litellm_stream,
    llama_cpp_chat,
    ollama_v3,
    openai_responses,
    together_stream,
    vertexai_stream,
)

pytestmark = [
    pytest.mark.anyio,
    # v3 says of itself that it is in beta.
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

SAID = (("Syd", -0.6), ("ney", -0.01), (".", -0.2))
WEB_SEARCH: dict[str, Any] = {"type": "web_search"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_patch_is_in_force_before_or_after() -> Iterator[None]:
    for patch in (openai_responses, ollama_v3):
        patch.revert()
    yield
    for patch in (openai_responses, ollama_v3):
        patch.revert()


def numbers(report: CallReport) -> list[tuple[str, float | None]]:
    return [(of.text, of.logprob) for each in report.call.completions for of in each.tokens]


# OpenAI's Responses API


def entry(text: str, logprob: float) -> dict[str, Any]:
    token = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    return {**token, "top_logprobs": [token]}


def response(request: dict[str, Any], *, done: bool = True) -> dict[str, Any]:
    asked = "message.output_text.logprobs" in (request.get("include") or ())
    text = '{"name": "Sydney"}' if "text" in request else "".join(of for of, _ in SAID)
    part = {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": [entry(*of) for of in SAID] if asked else [],
    }
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed" if done else "in_progress",
        "model": request["model"],
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "text": request.get("text") or {"format": {"type": "text"}},
        "usage": {
            "input_tokens": 3,
            "output_tokens": 3,
            "total_tokens": 6,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def response_events(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    asked = "message.output_text.logprobs" in (request.get("include") or ())
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": response(request, done=False)}
    for text, logprob in SAID:
        tokens = [entry(text, logprob)] if asked else []
        yield {"type": "response.output_text.delta", "delta": text, "logprobs": tokens, **place}
    whole = [entry(*of) for of in SAID] if asked else []
    yield {"type": "response.output_text.done", "text": "Sydney.", "logprobs": whole, **place}
    yield {"type": "response.completed", "response": response(request)}


def answer_as_openai(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    if not asked.get("stream"):
        return httpx.Response(200, json=response(asked))
    lines = [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': place})}\n\n"
        for place, event in enumerate(response_events(asked))
    ]
    return httpx.Response(200, text="".join(lines), headers={"content-type": "text/event-stream"})


def openai(**given: Any) -> ChatOpenAI:
    transport = httpx.MockTransport(answer_as_openai)
    return ChatOpenAI(
        model="gpt-4o-mini",
        api_key=SecretStr("none"),
        http_client=httpx.Client(transport=transport),
        http_async_client=httpx.AsyncClient(transport=transport),
        **given,
    )


def responses() -> ChatOpenAI:
    return openai(use_responses_api=True, include=["message.output_text.logprobs"], top_logprobs=1)


def invoke(model: Any) -> None:
    model.invoke("hello")


def stream(model: Any) -> None:
    list(model.stream("hello"))


def v3(model: Any) -> None:
    list(model.stream_events("hello", version="v3"))


WAYS = pytest.mark.parametrize("way", [invoke, stream, v3])


@WAYS
def test_the_responses_api_loses_its_logprobs_without_the_patch(
    way: Callable[[Any], None],
) -> None:
    with get_logprobs_callback() as captured:
        way(responses())

    assert captured.last is not None
    assert captured.last.unavailable == "dropped_by_langchain"
    assert numbers(captured.last) == []


@WAYS
@pytest.mark.parametrize("output_version", ["v0", "responses/v1", "v1"])
def test_the_patch_keeps_the_logprobs_of_the_responses_api(
    way: Callable[[Any], None], output_version: str
) -> None:
    model = responses().model_copy(update={"output_version": output_version})

    with openai_responses.applied(), get_logprobs_callback() as captured:
        way(model)

    assert captured.last is not None
    assert numbers(captured.last) == list(SAID)
    assert captured.last.unavailable is None
    assert captured.last.call.source == ("end" if way is invoke else "stream")


async def test_the_patch_keeps_them_in_async_code() -> None:
    with openai_responses.applied(), get_logprobs_callback() as captured:
        await responses().ainvoke("hello")
        async for _ in responses().astream("hello"):
            pass

    assert [numbers(report) for report in captured.reports] == [list(SAID), list(SAID)]


@WAYS
def test_with_the_patch_a_model_that_sends_none_is_said_to_have_sent_none(
    way: Callable[[Any], None],
) -> None:
    def answer_without(request: httpx.Request) -> httpx.Response:
        asked = {**json.loads(request.content), "include": []}
        return answer_as_openai(httpx.Request("POST", request.url, json=asked))

    client = httpx.Client(transport=httpx.MockTransport(answer_without))
    model = ChatOpenAI(
        model="gpt-5-pro", api_key=SecretStr("none"), use_responses_api=True, http_client=client
    )

    with get_logprobs_callback() as captured:
        way(with_logprobs(model))
        openai_responses.revert()
        way(with_logprobs(model, patch=False))

    assert [report.unavailable for report in captured.reports] == [
        "not_sent",
        "dropped_by_langchain",
    ]


def test_an_answer_has_them_where_chat_completions_have_them() -> None:
    with openai_responses.applied():
        message = responses().invoke("hello")

    assert message.response_metadata["logprobs"] == {"content": [entry(*of) for of in SAID]}


def test_a_streamed_piece_has_the_bytes_that_openai_sends_with_it() -> None:
    with openai_responses.applied(), get_logprobs_callback() as captured:
        stream(responses())

    assert captured.last is not None
    assert [of.raw for of in captured.last.tokens] == [text.encode() for text, _ in SAID]


@WAYS
def test_models_that_turn_to_the_responses_api_by_themselves_fail_without_the_patch(
    way: Callable[[Any], None],
) -> None:
    model = openai(logprobs=True, top_logprobs=1).bind_tools([WEB_SEARCH])

    with pytest.raises(TypeError, match="unexpected keyword argument 'logprobs'"):
        way(model)


@WAYS
def test_models_that_turn_to_the_responses_api_by_themselves_ask_and_are_heard(
    way: Callable[[Any], None],
) -> None:
    model = with_logprobs(openai()).bind_tools([WEB_SEARCH])

    with get_logprobs_callback() as captured:
        way(model)

    assert captured.last is not None
    assert numbers(captured.last) == list(SAID)


def test_structured_output_of_the_responses_api_is_heard() -> None:
    class City(BaseModel):
        name: str

    model = with_logprobs(openai(use_responses_api=True)).with_structured_output(City)

    with get_logprobs_callback() as captured:
        city = model.invoke("hello")

    assert city == City(name="Sydney")
    assert captured.last is not None
    assert numbers(captured.last) == list(SAID)


def test_the_patch_changes_nothing_for_who_does_not_ask() -> None:
    model = openai(use_responses_api=True)
    before = model.invoke("hello").model_dump(exclude={"id"})
    streamed = [chunk.model_dump(exclude={"id"}) for chunk in model.stream("hello")]

    with openai_responses.applied():
        after = model.invoke("hello").model_dump(exclude={"id"})
        streamed_after = [chunk.model_dump(exclude={"id"}) for chunk in model.stream("hello")]

    assert before == after
    assert streamed == streamed_after


def test_logprobs_turned_off_ask_for_no_alternatives_either() -> None:
    model = openai(use_responses_api=True, logprobs=False, top_logprobs=2)

    with openai_responses.applied():
        payload = model._get_request_payload("hello")

    assert {"logprobs", "top_logprobs", "include"}.isdisjoint(payload)


# Ollama under v3


def answer_as_ollama(request: httpx.Request) -> httpx.Response:
    asked = json.loads(request.content)
    lines = [
        {
            "model": "m",
            "created_at": "2026-11-01T00:00:00Z",
            "message": {"role": "assistant", "content": text},
            "done": False,
            "logprobs": [{"token": text, "logprob": logprob, "top_logprobs": []}],
        }
        for text, logprob in SAID
    ]
    last = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}
    body = "\n".join(json.dumps(line) for line in [*lines, {**last, "done_reason": "stop"}])
    assert asked["logprobs"] is True
    return httpx.Response(200, text=body, headers={"content-type": "application/x-ndjson"})


def ollama() -> ChatOllama:
    return ChatOllama(
        model="m",
        base_url="http://localhost",
        logprobs=True,
        client_kwargs={"transport": httpx.MockTransport(answer_as_ollama)},
    )


def test_ollama_loses_its_logprobs_under_v3_without_the_patch() -> None:
    with get_logprobs_callback() as captured:
        v3(ollama())

    assert captured.last is not None
    assert captured.last.unavailable == "dropped_by_langchain"


@WAYS
def test_the_patch_keeps_the_logprobs_of_ollama_once(way: Callable[[Any], None]) -> None:
    with ollama_v3.applied(), get_logprobs_callback() as captured:
        way(ollama())

    assert captured.last is not None
    assert numbers(captured.last) == list(SAID)


async def test_the_patch_keeps_the_logprobs_of_ollama_in_async_code() -> None:
    with ollama_v3.applied(), get_logprobs_callback() as captured:
        events = await ollama().astream_events("hello", version="v3")
        async for _ in events:
            pass

    assert captured.last is not None
    assert numbers(captured.last) == list(SAID)


# What Gemini sends


def test_the_candidates_of_gemini_become_entries_and_missing_ones_stay_missing() -> None:
    class Sent(BaseModel):
        token: str
        log_probability: float | None

    class Tops(BaseModel):
        candidates: list[Sent]

    class Result(BaseModel):
        chosen_candidates: list[Sent]
        top_candidates: list[Tops] | None

    class Candidate(BaseModel):
        logprobs_result: Result | None

    a, b = Sent(token="a", log_probability=-0.1), Sent(token="b", log_probability=None)
    result = Result(chosen_candidates=[a, b], top_candidates=[Tops(candidates=[a])])

    assert gemini.entries(Candidate(logprobs_result=None)) == []
    assert gemini.entries(Candidate(logprobs_result=result)) == [
        {"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]},
        {"token": "b", "logprob": None, "top_logprobs": []},
    ]


# Any patch


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("some_package")
    exec(
        "class Base:\n"
        "    def say(self, text):\n"
        "        return text\n"
        "class Model(Base):\n"
        "    pass\n"
        "def shout(text):\n"
        "    return text.upper()\n",
        vars(made),
    )
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def twice(original: Callable[..., str]) -> Callable[..., str]:
    return lambda *args: original(*args) * 2


def test_a_patch_is_made_once_and_undone_whole(module: ModuleType) -> None:
    shout = module.shout
    patch = Patch(
        "twice",
        (
            Edit("some_package", "shout", ("text",), twice),
            Edit("some_package", "Model.say", ("self", "text"), twice),
        ),
    )

    assert patch.apply()
    assert patch.apply()
    assert (module.shout("a"), module.Model().say("a"), module.Base().say("a")) == ("AA", "aa", "a")

    patch.revert()
    patch.revert()

    assert module.shout is shout
    assert "say" not in vars(module.Model)
    assert not patch.is_applied


def test_a_patch_in_force_before_is_in_force_after(module: ModuleType) -> None:
    patch = Patch("twice", (Edit("some_package", "shout", ("text",), twice),))
    patch.apply()

    with patch.applied() as inside:
        assert inside

    assert module.shout("a") == "AA"


def test_an_undone_patch_that_another_wrapped_passes_everything_through(
    module: ModuleType,
) -> None:
    patch = Patch("twice", (Edit("some_package", "shout", ("text",), twice),))
    patch.apply()
    module.shout = theirs = twice(module.shout)

    assert module.shout("a") == "AAAA"

    patch.revert()

    assert module.shout is theirs
    assert module.shout("a") == "AA"


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (Edit("no_such_package", "shout", (), twice), "there is no module no_such_package"),
        (Edit("some_package", "whisper", (), twice), "some_package has no whisper any more"),
        (Edit("some_package", "Gone.say", (), twice), "some_package has no Gone.say any more"),
        (
            Edit("some_package", "shout", ("text", "loud"), twice),
            "shout of some_package takes no loud any more",
        ),
    ],
    ids=["module", "function", "class", "parameter"],
)
def test_where_the_code_is_not_what_it_was_nothing_is_patched_and_one_warning_says_so(
    module: ModuleType, edit: Edit, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    patch = Patch("twice", (Edit("some_package", "shout", ("text",), twice), edit))

    assert not patch.apply()
    assert not patch.apply()
    assert module.shout("a") == "A"
    assert [record.message for record in caplog.records] == [
        f"The patch twice is not applied: {why}. All stays as its package has it."
    ]


def test_the_guard_knows_the_langchain_openai_that_is_installed() -> None:
    before = openai_base._construct_lc_result_from_responses_api

    with openai_responses.applied() as is_applied:
        assert is_applied
        assert openai_base._construct_lc_result_from_responses_api is not before

    assert openai_base._construct_lc_result_from_responses_api is before


@pytest.mark.parametrize(
    "patch",
    [
        google_genai,
        litellm_stream,
        llama_cpp_chat,
        ollama_v3,
        openai_responses,
        together_stream,
        vertexai_stream,
    ],
    ids=lambda patch: patch.PATCH.name,
)
def test_without_its_package_a_patch_does_nothing_and_warns_once(
    patch: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    patch.revert()
    of = Patch(patch.PATCH.name, patch.PATCH.edits)
    for edit in of.edits:
        monkeypatch.setitem(sys.modules, edit.module, None)

    assert not of.apply()
    assert not of.apply()

    (record,) = caplog.records
    assert record.message.startswith(f"The patch {of.name} is not applied: there is no module ")
