"""`with_logprobs` on the models of langchain-openai: the same kind, asking for logprobs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool
from langchain_openai import AzureChatOpenAI, AzureOpenAI, ChatOpenAI, OpenAI
from pydantic import BaseModel

from langchain_logprobs import (
    LogprobsCallbackHandler,
    LogprobsUnsupportedError,
    with_logprobs,
)
from langchain_logprobs.core.finish import asks_for_logprobs

ENTRY = {"token": "7", "logprob": -0.25, "bytes": [55], "top_logprobs": []}


class Provider(ThreadingHTTPServer):
    """An OpenAI-compatible provider on a loopback port that keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Answering(BaseHTTPRequestHandler):
    """Answers 7, in whatever form it was asked to."""

    def do_POST(self) -> None:
        server: Any = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append(asked)
        is_chat = self.path.split("?")[0].endswith("/chat/completions")
        body = json.dumps(_chat(asked) if is_chat else _completion(asked)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def _chat(asked: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "7"}
    if asked.get("tools"):
        function = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"number": 7}'}
        calls = [{"id": "1", "type": "function", "function": function}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    logprobs = {"content": [ENTRY], "refusal": None} if asked.get("logprobs") else None
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    logprobs = {"tokens": ["7"], "token_logprobs": [-0.25], "top_logprobs": None}
    given = logprobs if asked.get("logprobs") is not None else None
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
    choices = [
        {"index": at, "text": "7", "logprobs": given, "finish_reason": "stop"}
        for at in range(len(prompts))
    ]
    described = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    return {**described, "choices": choices, "usage": usage}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def chat(provider: Provider | None = None, **given: Any) -> ChatOpenAI:
    url = provider.url if provider else "http://127.0.0.1:9/v1"
    return ChatOpenAI(model="m", api_key="none", base_url=url, max_retries=0, **given)


class Derived(ChatOpenAI):
    """A provider's own class, as langchain-xai's and langchain-deepseek's are."""


AZURE: dict[str, Any] = {
    "azure_endpoint": "http://127.0.0.1:9",
    "api_key": "none",
    "api_version": "2024-10-21",
}
CHATS: dict[str, Any] = {
    "ChatOpenAI": chat,
    "AzureChatOpenAI": lambda: AzureChatOpenAI(azure_deployment="m", **AZURE),
    "Derived": lambda: Derived(model="m", api_key="none"),
}
COMPLETIONS: dict[str, Any] = {
    "OpenAI": lambda: OpenAI(model="m", api_key="none"),
    "AzureOpenAI": lambda: AzureOpenAI(azure_deployment="m", **AZURE),
}


@pytest.mark.parametrize("make", CHATS.values(), ids=CHATS)
def test_a_chat_model_of_the_same_kind_asks_for_logprobs(make: Any) -> None:
    given = make()
    before = given.model_dump()

    model = with_logprobs(given)

    assert type(model) is type(given)
    assert (model.logprobs, model.top_logprobs) == (True, 5)
    assert asks_for_logprobs(model._default_params)
    assert model is not given
    assert given.model_dump() == before
    assert not asks_for_logprobs(given._default_params)
    assert model.client is given.client


@pytest.mark.parametrize("make", COMPLETIONS.values(), ids=COMPLETIONS)
@pytest.mark.parametrize("top", [0, 3, 5])
def test_a_completion_model_of_the_same_kind_asks_for_logprobs(make: Any, top: int) -> None:
    given = make()

    model = with_logprobs(given, top)

    assert type(model) is type(given)
    assert model.logprobs == top
    assert asks_for_logprobs(model._identifying_params)
    assert given.logprobs is None


def test_a_bound_model_stays_bound() -> None:
    given = chat().bind(stop=["x"]).bind(seed=1)

    model = with_logprobs(given, 2)

    assert isinstance(model, RunnableBinding)
    assert isinstance(given, RunnableBinding)
    assert (model.kwargs, given.kwargs) == (given.kwargs, model.kwargs)
    inner: Any = model.bound
    while isinstance(inner, RunnableBinding):
        inner = inner.bound
    assert (inner.logprobs, inner.top_logprobs) == (True, 2)


def test_asking_twice_takes_the_last() -> None:
    assert with_logprobs(with_logprobs(chat(), 3), 7).top_logprobs == 7


@pytest.mark.parametrize("top", [-1, 21, 100, True, False, 2.0, "5", None])
@pytest.mark.parametrize("make", [chat, COMPLETIONS["OpenAI"]])
def test_a_wrong_number_raises_with_the_value_and_the_range(make: Any, top: Any) -> None:
    with pytest.raises(ValueError, match=r"top_logprobs is .*, but takes a whole number, 0 to 20"):
        with_logprobs(make(), top)


@pytest.mark.parametrize(
    "unsupported",
    [FakeListChatModel(responses=["a"]), StrOutputParser(), "gpt-4o-mini", None],
    ids=["chat model", "parser", "name", "nothing"],
)
def test_a_model_that_is_not_known_raises_with_its_kind_and_a_way_out(unsupported: Any) -> None:
    with pytest.raises(LogprobsUnsupportedError) as raised:
        with_logprobs(unsupported)

    assert type(unsupported).__name__ in str(raised.value)
    assert "ChatOpenAI" in str(raised.value)
    assert isinstance(raised.value, TypeError)


def test_a_package_that_is_not_imported_is_not_imported_for_it() -> None:
    code = (
        "import sys; from langchain_logprobs import with_logprobs\n"
        "from langchain_core.language_models.fake_chat_models import FakeListChatModel\n"
        "try: with_logprobs(FakeListChatModel(responses=['a']))\n"
        "except TypeError: print('langchain_openai' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )

    assert done.stdout.strip() == "False"


# Over the wire


def test_what_is_sent_and_what_comes_back(provider: Provider) -> None:
    handler = LogprobsCallbackHandler(sinks=[], keep=3, raise_errors=True)

    with_logprobs(chat(provider), 3).invoke("", {"callbacks": [handler]})
    chat(provider).invoke("", {"callbacks": [handler]})

    wanted, plain = provider.asked
    assert (wanted["logprobs"], wanted["top_logprobs"]) == (True, 3)
    assert "logprobs" not in plain
    assert [of.logprob for of in handler.reports[0].tokens] == [-0.25]
    assert handler.reports[1].unavailable == "not_requested"


def test_a_completion_model_asked_for_no_alternatives_still_sends_its_logprobs(
    provider: Provider,
) -> None:
    handler = LogprobsCallbackHandler(sinks=[], keep=3, raise_errors=True)
    model = OpenAI(model="m", api_key="none", base_url=provider.url)

    with_logprobs(model, 0).invoke("", {"callbacks": [handler]})

    assert provider.asked[0]["logprobs"] == 0
    assert [of.logprob for of in handler.reports[0].tokens] == [-0.25]


def test_a_batch_of_prompts_gives_its_usage_to_none_of_them(provider: Provider) -> None:
    handler = LogprobsCallbackHandler(sinks=[], keep=3, raise_errors=True)
    model = with_logprobs(OpenAI(model="m", api_key="none", base_url=provider.url), 1)

    model.generate(["a", "b"], callbacks=[handler])
    model.invoke("a", {"callbacks": [handler]})

    usages = [(of.call.input_tokens, of.call.output_tokens) for of in handler.reports]
    assert usages == [(None, None), (None, None), (3, 1)]


def test_tools_can_still_be_bound(provider: Provider) -> None:
    @tool
    def pick(number: int) -> int:
        """Picks a number."""
        return number

    handler = LogprobsCallbackHandler(sinks=[], keep=1, raise_errors=True)
    model = with_logprobs(chat(provider)).bind_tools([pick])

    message = model.invoke("", {"callbacks": [handler]})

    assert message.tool_calls[0]["args"] == {"number": 7}
    assert provider.asked[0]["logprobs"] is True
    assert provider.asked[0]["tools"][0]["function"]["name"] == "pick"
    assert handler.reports[0].call.completions[0].tool_calls == (("pick", {"number": 7}),)


def test_tools_bound_before_stay_bound(provider: Provider) -> None:
    bound: Any = chat(provider).bind_tools([{"name": "pick", "parameters": {}, "description": ""}])

    with_logprobs(bound, 4).invoke("")

    assert provider.asked[0]["top_logprobs"] == 4
    assert provider.asked[0]["tools"][0]["function"]["name"] == "pick"


def test_structured_output_still_works(provider: Provider) -> None:
    class Number(BaseModel):
        number: int

    model = with_logprobs(chat(provider))

    assert model.with_structured_output(Number, method="function_calling").invoke("") == Number(
        number=7
    )
    assert provider.asked[0]["logprobs"] is True
