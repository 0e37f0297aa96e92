"""The models to try: the packages each needs, what to serve it, and what to make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import llama
import models
import wire

CHAT: tuple[wire.Route, ...] = (("chat/completions", wire.chat),)


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


_ASK = {"logprobs": True, "top_logprobs": 2}
_OPENAI = ("langchain-openai",)
_RESPONSES = (("responses", wire.responses),)
_COMPLETIONS = (("completions", wire.completions),)

CASES: dict[str, Case] = {
    "openai": Case("OpenAI, `ChatOpenAI`", _OPENAI, models.openai),
    "openai-responses": Case("OpenAI, Responses API", _OPENAI, models.openai_responses, _RESPONSES),
    "openai-tools": Case("OpenAI, built-in tools", _OPENAI, models.openai_tools, _RESPONSES),
    "azure": Case("Azure OpenAI, `AzureChatOpenAI`", _OPENAI, models.azure),
    "openai-legacy": Case(
        "OpenAI completions, `OpenAI`", _OPENAI, models.openai_legacy, _COMPLETIONS
    ),
    "azure-legacy": Case(
        "Azure completions, `AzureOpenAI`", _OPENAI, models.azure_legacy, _COMPLETIONS
    ),
    "xai": Case("xAI, `ChatXAI`", ("langchain-xai",), models.xai),
    "deepseek": Case("DeepSeek, `ChatDeepSeek`", ("langchain-deepseek",), models.deepseek),
    "cerebras": Case("Cerebras, `ChatCerebras`", ("langchain-cerebras",), models.cerebras),
    "openrouter": Case(
        "OpenRouter, `ChatOpenRouter`", ("langchain-openrouter",), models.openrouter
    ),
    "groq": Case("Groq, `ChatGroq`", ("langchain-groq",), models.groq, ask=_ASK),
    "sambanova": Case("SambaNova, `ChatSambaNova`", ("langchain-sambanova",), models.sambanova),
    "fireworks": Case(
        "Fireworks, `ChatFireworks`",
        ("langchain-fireworks",),
        models.fireworks,
        (("chat/completions", wire.fireworks),),
    ),
    "together": Case(
        "Together, `ChatTogether`",
        ("langchain-together",),
        models.together,
        (("chat/completions", wire.together),),
        ask={"logprobs": 2},
    ),
    "ollama": Case(
        "Ollama, `ChatOllama`", ("langchain-ollama",), models.ollama, (("api/chat", wire.ollama),)
    ),
    "huggingface": Case(
        "Hugging Face endpoint, `ChatHuggingFace`",
        ("langchain-huggingface",),
        models.hugging_face,
        (("chat/completions", wire.chat_without_bytes),),
    ),
    "watsonx": Case(
        "watsonx, `ChatWatsonx`",
        ("langchain-ibm",),
        models.watsonx,
        (("chat_stream", wire.watsonx_stream), ("text/chat", wire.watsonx), ("", wire.token)),
        tls=True,
    ),
    "vertexai": Case(
        "Vertex AI, `ChatVertexAI`",
        ("langchain-google-vertexai",),
        models.vertex_ai,
        (("streamGenerateContent", wire.gemini_list), ("generateContent", wire.gemini)),
    ),
    "vertexai-streaming": Case(
        "Vertex AI, should streams have them: `.bind(logprobs=2)`",
        ("langchain-google-vertexai",),
        models.vertex_ai_streaming,
        (
            ("streamGenerateContent", wire.gemini_list_with_logprobs),
            ("generateContent", wire.gemini),
        ),
        bind={"logprobs": 2},
    ),
    "google-genai": Case(
        "Gemini API, `ChatGoogleGenerativeAI`",
        ("langchain-google-genai",),
        models.google_genai,
        (("streamGenerateContent", wire.gemini_stream), ("generateContent", wire.gemini)),
        ask={"response_logprobs": True, "logprobs": 2},
    ),
    "litellm": Case("LiteLLM, `ChatLiteLLM`", ("langchain-litellm",), models.litellm),
    "litellm-router": Case(
        "LiteLLM, `ChatLiteLLMRouter`", ("langchain-litellm",), models.litellm_router
    ),
    "baseten": Case("Baseten, `ChatBaseten`", ("langchain-baseten",), models.baseten),
    "upstage": Case("Upstage, `ChatUpstage`", ("langchain-upstage",), models.upstage),
    "nebius": Case("Nebius, `ChatNebius`", ("langchain-nebius",), models.nebius),
    "qwen": Case("Qwen, `ChatQwen`", ("langchain-qwq",), models.qwen),
    "moonshot": Case("Moonshot, `ChatMoonshot`", ("langchain-moonshot",), models.moonshot),
    "clova-x": Case("Naver, `ChatClovaX`", ("langchain-naver",), models.clova_x),
    "azure-ai": Case(
        "Azure AI, `AzureAIOpenAIApiChatModel`", ("langchain-azure-ai",), models.azure_ai
    ),
    "llama-cpp": Case(
        "llama.cpp in process, `ChatLlamaCpp`",
        llama.PACKAGES,
        llama.chat,
        ask={"logprobs": 2},
        prompt=llama.COUNT,
        said=llama.sent,
    ),
    "llama-cpp-legacy": Case(
        "llama.cpp in process, `LlamaCpp`",
        llama.PACKAGES,
        llama.completions,
        prompt=llama.COUNT,
        said=llama.sent,
    ),
    "mistral": Case("Mistral, `ChatMistralAI`", ("langchain-mistralai",), models.mistral, ask=_ASK),
    "nvidia": Case(
        "NVIDIA, `ChatNVIDIA`",
        ("langchain-nvidia-ai-endpoints",),
        models.nvidia,
        (*CHAT, ("models", models.nvidia_models)),
        ask=_ASK,
    ),
    "perplexity": Case(
        "Perplexity, `ChatPerplexity`", ("langchain-perplexity",), models.perplexity
    ),
    "databricks": Case(
        "Databricks, `ChatDatabricks`",
        ("databricks-langchain", "mcp<1.30"),
        models.databricks,
        ask=_ASK,
    ),
    "cohere": Case("Cohere, `ChatCohere`", ("langchain-cohere",), models.cohere),
    "anthropic": Case("Anthropic, `ChatAnthropic`", ("langchain-anthropic",), models.anthropic),
    "gigachat": Case("GigaChat, `GigaChat`", ("langchain-gigachat",), models.gigachat),
    "snowflake": Case("Snowflake, `ChatSnowflake`", ("langchain-snowflake",), models.snowflake),
    "cloudflare": Case(
        "Cloudflare, `ChatCloudflareWorkersAI`", ("langchain-cloudflare",), models.cloudflare
    ),
    "ai21": Case("AI21, `ChatAI21`", ("langchain-ai21",), models.ai21),
    "writer": Case("Writer, `ChatWriter`", ("langchain-writer",), models.writer),
    "bedrock": Case("Amazon Bedrock, `ChatBedrockConverse`", ("langchain-aws",), models.bedrock),
}
"""Every model that is tried, in the table's order."""
