"""Google GenAI: logprobs, which `langchain-google-genai` neither asks for nor hands on.

With this patch `ChatGoogleGenerativeAI(model_kwargs={"response_logprobs": True, "logprobs": 5})`
asks for them, and `generation_info["logprobs_result"]` has what a candidate came with, in the form
in which LangChain hands it on for Vertex AI.
"""

from __future__ import annotations

from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch
from langchain_logprobs.patches.gemini import entries


def _ask(original: Function) -> Function:
    def _prepare_request(self: Any, messages: Any, **kwargs: Any) -> Any:
        given = self.model_kwargs or {}
        asked = {key: given[key] for key in ("response_logprobs", "logprobs") if key in given}
        return original(self, messages, **{**asked, **kwargs})

    return _prepare_request


def _keep(original: Function) -> Function:
    def _response_to_result(response: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(response, *args, **kwargs)
        # Without candidates, there is one generation all the same.
        for generation, candidate in zip(
            result.generations, response.candidates or (), strict=False
        ):
            info = generation.generation_info or {}
            if (found := entries(candidate)) and "logprobs_result" not in info:
                generation.generation_info = {**info, "logprobs_result": found}
        return result

    return _response_to_result


_MODULE = "langchain_google_genai.chat_models"
PATCH = Patch(
    "google_genai",
    (
        Edit(
            _MODULE, "ChatGoogleGenerativeAI._prepare_request", ("self", "messages", "kwargs"), _ask
        ),
        Edit(_MODULE, "_response_to_result", ("response",), _keep),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
