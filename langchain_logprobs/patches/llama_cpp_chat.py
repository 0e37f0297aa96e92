"""llama.cpp in the process: `ChatLlamaCpp(logprobs=k)`, which asks in the wrong words.

`llama-cpp-python` takes a boolean there, and the number as `top_logprobs`, without which it gives
no logprobs at all. With this patch it is asked in its own words.
"""

from __future__ import annotations

from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch


def _ask(original: Function) -> Function:
    def _get_parameters(self: Any, stop: Any) -> Any:
        parameters = original(self, stop)
        if not self.logprobs:
            return parameters
        return {**parameters, "logprobs": True, "top_logprobs": self.logprobs}

    return _get_parameters


PATCH = Patch(
    "llama_cpp_chat",
    (
        Edit(
            "langchain_community.chat_models.llamacpp",
            "ChatLlamaCpp._get_parameters",
            ("self", "stop"),
            _ask,
        ),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
