"""How each mainstream LangChain model turns logprobs on, or why it cannot: two tables.

A class goes by its package and its name: no provider's package is imported, and a module that moves
within its package does no harm. The first entry along a class's ancestry counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_logprobs.patches.openai_responses import including

Fields = Callable[[Any, int], Mapping[str, Any]]
"""A model and a number of alternatives, to the fields to set in its copy."""


class LogprobsUnsupportedError(TypeError):
    """A model, or the way it is set up, gives no logprobs; the message says what would.

    .. versionadded:: 0.1.0
    """


@dataclass(frozen=True, slots=True)
class Rule:
    """How a kind of model turns logprobs on.

    Attributes:
        fields: What to set.
        patch: The module in `patches` without which its package drops some or all logprobs.
        patch_needed: Whether it drops all of them, or what asks for them fails.
        tells: Whether callbacks are told of what is set; if not, the run's metadata is to say it.
    """

    fields: Fields
    patch: str | None = None
    patch_needed: bool = False
    tells: bool = True


def classes(model: object) -> Iterator[str]:
    """The model's class and its ancestors, nearest first, as `package.Class`."""
    for kind in type(model).__mro__:
        yield f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _at_most(most: int, top: int, model: Any) -> None:
    """Refuses what a provider would answer with an error.

    Raises:
        ValueError: It gives fewer.
    """
    if top > most:
        raise ValueError(f"top_logprobs is {top}, but {type(model).__name__} gives {most} at most.")


def _up_to(most: int, fields: Fields) -> Fields:
    def checked(model: Any, top: int) -> Mapping[str, Any]:
        _at_most(most, top, model)
        return fields(model, top)

    return checked


def _chat(model: Any, top: int) -> Mapping[str, Any]:
    del model
    return {"logprobs": True, "top_logprobs": top}


def _openai_chat(model: Any, top: int) -> Mapping[str, Any]:
    if not _is_for_responses_api(model):
        return _chat(model, top)
    return {"logprobs": None, "top_logprobs": top, "include": including(model.include)}


def _is_for_responses_api(model: Any) -> bool:
    """Whether every request of this model goes there, said so or not (`reasoning`, the model)."""
    routes = getattr(model, "_use_responses_api", None)
    return bool(routes(model.model_kwargs) if callable(routes) else False)


def _completion(model: Any, top: int) -> Mapping[str, Any]:
    if model.openai_api_base is None:  # OpenAI's and Azure's own; vLLM gives 20 there.
        _at_most(5, top, model)
    return {"logprobs": top}


def _in_model_kwargs(model: Any, top: int) -> Mapping[str, Any]:
    return {"model_kwargs": {**(model.model_kwargs or {}), **_chat(model, top)}}


def _together(model: Any, top: int) -> Mapping[str, Any]:
    # Its `logprobs` is the number of alternatives, a field LangChain has as a boolean; 0 is "off".
    return {"logprobs": True, "extra_body": {**(model.extra_body or {}), "logprobs": max(1, top)}}


def _ollama(model: Any, top: int) -> Mapping[str, Any]:
    del model
    return {"logprobs": True, "top_logprobs": top or None}


def _hugging_face(model: Any, top: int) -> Mapping[str, Any]:
    inner = getattr(model, "llm", None)
    if "langchain_huggingface.HuggingFaceEndpoint" not in classes(inner):
        raise LogprobsUnsupportedError(
            f"ChatHuggingFace over {type(inner).__name__} gives no logprobs: only over a "
            f"HuggingFaceEndpoint does it ask for them. {ALTERNATIVES}"
        )
    # It has fields `logprobs` and `top_logprobs`, and sends neither.
    return _in_model_kwargs(model, top)


def _watsonx(model: Any, top: int) -> Mapping[str, Any]:
    # When it is made, it copies its fields into what it sends; who sets them later sets nothing.
    return {"params": {**(model.params or {}), **_chat(model, top)}}


def _vertex_ai(model: Any, top: int) -> Mapping[str, Any]:
    del model
    return {"logprobs": top or True}


def _google_genai(model: Any, top: int) -> Mapping[str, Any]:
    asked = {"response_logprobs": True} | ({"logprobs": top} if top else {})
    return {"model_kwargs": {**(model.model_kwargs or {}), **asked}}


def _llama_cpp(model: Any, top: int) -> Mapping[str, Any]:
    if not model.logits_all:
        raise LogprobsUnsupportedError(
            f"{type(model).__name__} keeps no logprobs unless it is made with logits_all=True: "
            "pass that where the model is loaded."
        )
    return {"logprobs": max(1, top)}


RULES: Mapping[str, Rule] = {
    "langchain_openai.BaseChatOpenAI": Rule(_openai_chat, patch="openai_responses"),
    "langchain_openai.BaseOpenAI": Rule(_completion),
    "langchain_together.ChatTogether": Rule(_together, patch="together_stream", patch_needed=True),
    "langchain_ollama.ChatOllama": Rule(_ollama, patch="ollama_v3", tells=False),
    "langchain_xai.ChatXAI": Rule(_up_to(8, _openai_chat), patch="openai_responses"),
    "langchain_fireworks.ChatFireworks": Rule(_up_to(5, _in_model_kwargs)),
    "langchain_openrouter.ChatOpenRouter": Rule(_in_model_kwargs),
    "langchain_sambanova.ChatSambaNova": Rule(_in_model_kwargs),
    "langchain_litellm.ChatLiteLLM": Rule(_in_model_kwargs, patch="litellm_stream", tells=False),
    "langchain_huggingface.ChatHuggingFace": Rule(_up_to(5, _hugging_face), tells=False),
    "langchain_ibm.ChatWatsonx": Rule(_watsonx, tells=False),
    "langchain_google_vertexai.ChatVertexAI": Rule(_vertex_ai, patch="vertexai_stream"),
    "langchain_google_genai.ChatGoogleGenerativeAI": Rule(
        _google_genai, patch="google_genai", patch_needed=True
    ),
    "langchain_community.ChatLlamaCpp": Rule(_llama_cpp, patch="llama_cpp_chat", patch_needed=True),
    "langchain_community.LlamaCpp": Rule(_llama_cpp),
    "langchain_logprobs.ScriptedChatModel": Rule(lambda _model, _top: {"logprobs": True}),
}
"""How each kind of model turns logprobs on. DeepSeek, Cerebras, Nebius, Qwen, Moonshot, Baseten,
Upstage, ClovaX, Azure AI, OCI's and Bedrock's OpenAI endpoints and others derive from
`BaseChatOpenAI`. How many alternatives they give is what their own clients say: Fireworks' (5),
Hugging Face's (5), OpenAI's for completions (5); xAI's API reference (8)."""

_ANTHROPIC = "Anthropic's API has none"
_BEDROCK = "Amazon Bedrock's API has none"
_NEITHER = "its LangChain package neither asks for them nor hands them on"
_GROQ = (
    "Groq's API takes no request for them yet, whatever the model, as its own client says; should "
    "yours do so by now, ask with model_kwargs={'logprobs': True, 'top_logprobs': 5}"
)
_DROPS = "its LangChain package hands on an answer's text without them"

WITHOUT: Mapping[str, str] = {
    "langchain_anthropic.ChatAnthropic": _ANTHROPIC,
    "langchain_anthropic.AnthropicLLM": _ANTHROPIC,
    "langchain_google_vertexai.ChatAnthropicVertex": _ANTHROPIC,
    "langchain_aws.ChatAnthropicBedrock": _ANTHROPIC,
    "langchain_aws.ChatBedrock": _BEDROCK,
    "langchain_aws.ChatBedrockConverse": _BEDROCK,
    "langchain_aws.BedrockLLM": _BEDROCK,
    "langchain_cohere.ChatCohere": _NEITHER,
    "langchain_cohere.Cohere": _NEITHER,
    "langchain_groq.ChatGroq": _GROQ,
    "langchain_perplexity.ChatPerplexity": "Perplexity's answers have none",
    "langchain_ai21.ChatAI21": _NEITHER,
    "langchain_gigachat.GigaChat": _NEITHER,
    "langchain_snowflake.ChatSnowflake": _NEITHER,
    "langchain_cloudflare.ChatCloudflareWorkersAI": _NEITHER,
    "langchain_oci.ChatOCIGenAI": f"{_NEITHER}; ChatOCIOpenAI does",
    "langchain_aws.ChatSagemakerEndpoint": _DROPS,
    "langchain_aws.SagemakerEndpoint": _DROPS,
    "langchain_azure_ai.AzureAIChatCompletionsModel": (
        f"{_DROPS}; AzureAIOpenAIApiChatModel keeps them"
    ),
    "langchain_google_vertexai.VertexModelGardenLlama": _DROPS,
    "langchain_google_vertexai.VertexAIModelGarden": _DROPS,
    "langchain_mistralai.ChatMistralAI": _DROPS,
    "langchain_nvidia_ai_endpoints.ChatNVIDIA": _DROPS,
    "langchain_nvidia_ai_endpoints.NVIDIA": _DROPS,
    "databricks_langchain.ChatDatabricks": f"{_DROPS}, and streaming fails where they are sent",
    "langchain_ollama.OllamaLLM": "it does not ask for them; ChatOllama does",
    "langchain_together.Together": f"{_DROPS}; ChatTogether keeps them",
    "langchain_fireworks.Fireworks": f"{_DROPS}; ChatFireworks keeps them",
    "langchain_ibm.WatsonxLLM": f"{_DROPS}; ChatWatsonx keeps them",
    "langchain_google_vertexai.VertexAI": f"{_DROPS}; ChatVertexAI keeps them",
    "langchain_google_genai.GoogleGenerativeAI": f"{_DROPS}; ChatGoogleGenerativeAI can keep them",
    "langchain_huggingface.HuggingFaceEndpoint": f"{_DROPS}; ChatHuggingFace over it keeps them",
    "langchain_huggingface.HuggingFacePipeline": "it asks its pipeline for text alone",
}
"""Why these kinds of model have none."""

ALTERNATIVES = (
    "Models that give them: OpenAI's and Azure's, xAI's, DeepSeek's, Fireworks', "
    "Together's, OpenRouter's, Gemini, Ollama, and any server that speaks OpenAI's protocol "
    "(vLLM, SGLang, llama.cpp) through ChatOpenAI(base_url=...)."
)
"""What to use instead."""
