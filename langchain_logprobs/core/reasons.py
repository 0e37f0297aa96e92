"""Why a call has no confidence, in words, and what to do about it: for all who say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from langchain_logprobs.core.report import Unavailable


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a call has no confidence.

    Attributes:
        told: What happened.
        way_out: What to do.
        warns: Whether who asked for logprobs is told of it in the log.
    """

    told: str
    way_out: str
    warns: bool = False


REASONS: Final[Mapping[Unavailable, Reason]] = {
    "not_requested": Reason(
        "the model was not asked for logprobs",
        "with_logprobs(model, top_logprobs=5) asks for them",
    ),
    "not_sent": Reason(
        "the model was asked for logprobs and sent none",
        "not every model and endpoint has them; reasoning models, some gateways and some LangChain "
        "packages drop them without a word. with_logprobs(model) asks in its provider's words, "
        "mends its package where it can, and says so where it cannot; "
        "`langchain-logprobs doctor --base-url URL --model NAME` asks without LangChain",
        warns=True,
    ),
    "dropped_by_langchain": Reason(
        "its LangChain package drops the logprobs on this way of calling",
        "with_logprobs(model) turns on the patch that keeps them, if there is one; by hand: "
        "langchain_logprobs.patches.openai_responses.apply() for OpenAI's Responses API, ollama_v3 "
        "for Ollama under stream_events(version='v3'), litellm_stream for LiteLLM, google_genai "
        "for ChatGoogleGenerativeAI, llama_cpp_chat for ChatLlamaCpp",
        warns=True,
    ),
    "provider_omits_tool_logprobs": Reason(
        "the provider sends no logprobs for tool calls",
        "structured output by JSON schema has them",
    ),
    "provider_omits_stream_logprobs": Reason(
        "the provider has logprobs for whole answers, not for streams",
        "invoke(), or a model made with disable_streaming=True",
        warns=True,
    ),
    "unreadable": Reason(
        "what it sent as logprobs has a shape that no reader knows",
        "pass a reader in `shapes=`, or report the payload",
        warns=True,
    ),
    "refusal": Reason(
        "the model refused",
        "the refusal's tokens are in the report, under their own channel",
    ),
    "choices_interleaved": Reason(
        "LangChain streams its n > 1 answers as one, and they cannot be told apart",
        "invoke(), or n=1",
        warns=True,
    ),
    "incomplete": Reason(
        "its answer comes from a cache, where LangChain's v3 protocol has put it with the logprobs "
        "of its last tokens alone",
        "clear that cache, and give models that stream_events(version='v3') runs cache=False",
        warns=True,
    ),
    "no_numbers": Reason(
        "tokens came, none with a usable logprob",
        "look at the server's logprobs setting",
    ),
    "no_answer": Reason(
        "the call ended before the first token",
        "its outcome and error say why",
    ),
}
"""Every reason that a report can give."""
