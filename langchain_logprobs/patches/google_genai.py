"""Google GenAI: logprobs, which `langchain-google-genai` neither asks for nor hands on.

With this patch `ChatGoogleGenerativeAI(model_kwargs={"response_logprobs": True, "logprobs": 5})`
asks for them, and `generation_info["logprobs_result"]` has what a candidate came with, in the form
in which LangChain hands it on for Vertex AI. Streams do not ask, as Google answers such a request
with an error, unless a call is told to (`.bind(response_logprobs=True)`).
"""

from __future__ import annotations

from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch, harmless
from langchain_logprobs.patches.gemini import put

_ASKING = ("response_logprobs", "logprobs")


def _ask(original: Function) -> Function:
    def _prepare_request(self: Any, messages: Any, **kwargs: Any) -> Any:
        given = self.model_kwargs or {}
        asked = {**{key: given[key] for key in _ASKING if key in given}, **kwargs}
        if not asked.get("response_logprobs"):
            asked = {key: of for key, of in asked.items() if key not in _ASKING}
        return original(self, messages, **asked)

    return _prepare_request


def _not_asking(original: Function) -> Function:
    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        asked = {"response_logprobs": False, **kwargs}
        return original(self, messages, stop, run_manager, **asked)

    return _stream


def _keep(original: Function) -> Function:
    def _response_to_result(response: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(response, *args, **kwargs)
        _put_all(result, response)
        return result

    return _response_to_result


@harmless
def _put_all(result: Any, response: Any) -> None:
    # Without candidates, there is one generation all the same.
    for generation, candidate in zip(result.generations, response.candidates or (), strict=False):
        put(generation, candidate)


_MODULE = "langchain_google_genai.chat_models"
_STREAM = ("self", "messages", "stop", "run_manager", "kwargs")
PATCH = Patch(
    "google_genai",
    (
        Edit(
            _MODULE, "ChatGoogleGenerativeAI._prepare_request", ("self", "messages", "kwargs"), _ask
        ),
        Edit(_MODULE, "ChatGoogleGenerativeAI._stream", _STREAM, _not_asking),
        Edit(_MODULE, "ChatGoogleGenerativeAI._astream", _STREAM, _not_asking),
        Edit(_MODULE, "_response_to_result", ("response",), _keep),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
