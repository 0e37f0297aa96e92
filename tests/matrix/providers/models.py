"""The models to try: the packages each needs, what to serve it, and how it is made.

Its client is pointed at loopback in the way its own package offers, keys are made up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
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
    """

    title: str
    packages: tuple[str, ...]
    make: Callable[[str], Any]
    routes: tuple[wire.Route, ...] = CHAT
    tls: bool = False
    ask: dict[str, Any] = field(default_factory=dict)


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


def _vertex_ai(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from langchain_google_vertexai import ChatVertexAI

    return ChatVertexAI(
        model="gemini-2.5-flash",
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
        api_transport="rest",
        api_endpoint=url,
        max_retries=0,
    )


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


def _azure_ai(url: str) -> Any:
    from langchain_azure_ai.chat_models import AzureAIOpenAIApiChatModel

    return AzureAIOpenAIApiChatModel(
        model="gpt-4o-mini", endpoint=f"{url}/v1", credential=KEY, use_responses_api=False
    )


class _Llama:
    """Stands for `llama_cpp.Llama`, which is compiled for minutes: it answers in its words."""

    def __init__(self, model_path: str, **options: Any) -> None:
        del model_path, options

    def create_chat_completion(self, **asked: Any) -> Any:
        """As its own does: `logprobs` says whether, `top_logprobs` how many."""
        top = asked.get("top_logprobs") if asked.get("logprobs") else None
        given = {} if top is None else {"logprobs": True, "top_logprobs": top}
        body = {"model": "m", "stream": asked.get("stream", False), **given}
        return _documents(wire.chat_without_bytes(body), stream=body["stream"])

    def __call__(self, prompt: str, **asked: Any) -> Any:
        """Its completions."""
        del prompt
        body = {"model": "m", "stream": asked.get("stream"), "logprobs": asked.get("logprobs")}
        return _documents(wire.completions(body), stream=bool(body["stream"]))


def _documents(answer: wire.Answer, *, stream: bool) -> Any:
    documents = list(answer.documents)
    return iter(documents) if stream else documents[0]


def _stand_for_llama_cpp() -> None:
    module = ModuleType("llama_cpp")
    vars(module).update(Llama=_Llama, LlamaGrammar=object)
    sys.modules["llama_cpp"] = module


def _llama_cpp(url: str) -> Any:
    del url
    _stand_for_llama_cpp()
    from langchain_community.chat_models import ChatLlamaCpp

    return ChatLlamaCpp(model_path="m.gguf", logits_all=True)


def _llama_cpp_legacy(url: str) -> Any:
    del url
    _stand_for_llama_cpp()
    from langchain_community.llms import LlamaCpp

    return LlamaCpp(model_path="m.gguf", logits_all=True)


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
    "groq": Case("Groq, `ChatGroq`", ("langchain-groq",), _groq),
    "sambanova": Case("SambaNova, `ChatSambaNova`", ("langchain-sambanova",), _sambanova),
    "fireworks": Case("Fireworks, `ChatFireworks`", ("langchain-fireworks",), _fireworks),
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
    "google-genai": Case(
        "Gemini API, `ChatGoogleGenerativeAI`",
        ("langchain-google-genai",),
        _google_genai,
        (("streamGenerateContent", wire.gemini_stream), ("generateContent", wire.gemini)),
    ),
    "litellm": Case("LiteLLM, `ChatLiteLLM`", ("langchain-litellm",), _litellm),
    "litellm-router": Case("LiteLLM, `ChatLiteLLMRouter`", ("langchain-litellm",), _litellm_router),
    "baseten": Case("Baseten, `ChatBaseten`", ("langchain-baseten",), _baseten),
    "upstage": Case("Upstage, `ChatUpstage`", ("langchain-upstage",), _upstage),
    "azure-ai": Case("Azure AI, `AzureAIOpenAIApiChatModel`", ("langchain-azure-ai",), _azure_ai),
    "llama-cpp": Case(
        "llama.cpp in process, `ChatLlamaCpp` [^llama]", ("langchain-community",), _llama_cpp
    ),
    "llama-cpp-legacy": Case(
        "llama.cpp in process, `LlamaCpp` [^llama]", ("langchain-community",), _llama_cpp_legacy
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
    "writer": Case("Writer, `ChatWriter`", ("langchain-writer",), _writer),
    "bedrock": Case("Amazon Bedrock, `ChatBedrockConverse`", ("langchain-aws",), _bedrock),
}
"""Every model that is tried, in the table's order."""
