"""LangChain's callbacks as they came, as plain data: what `tests/payloads/observed_*` hold."""

from __future__ import annotations

import json
from numbers import Real
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler


class Recorder(BaseCallbackHandler):
    """Notes every callback of a model's calls."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **told: Any) -> None:
        """Notes it."""
        del messages
        self._start("on_chat_model_start", serialized, told)

    def on_llm_start(self, serialized: Any, prompts: Any, **told: Any) -> None:
        """Notes it."""
        del prompts
        self._start("on_llm_start", serialized, told)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **told: Any) -> None:
        """Notes it."""
        others = {key: plain(told[key]) for key in ("logprobs", "log_probs") if key in told}
        self._note("on_llm_new_token", token=plain(token), chunk=plain(chunk), kwargs=others)

    def on_llm_end(self, response: Any, **told: Any) -> None:
        """Notes it."""
        del told
        self._note("on_llm_end", generations=plain(response.generations))

    def on_llm_error(self, error: BaseException, **told: Any) -> None:
        """Notes it."""
        partial = getattr(told.get("response"), "generations", [])
        self._note("on_llm_error", error=type(error).__name__, response=plain(partial))

    def _start(self, event: str, serialized: Any, told: dict[str, Any]) -> None:
        made = (serialized or {}).get("kwargs") or {}
        metadata, given = told.get("metadata") or {}, told.get("invocation_params") or {}
        self._note(
            event,
            serialized={"kwargs": {key: plain(made[key]) for key in _PARAMETERS if made.get(key)}},
            metadata={key: plain(of) for key, of in metadata.items() if key != "lc_versions"},
            invocation_params={key: plain(given[key]) for key in _PARAMETERS if given.get(key)},
        )

    def _note(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})


_PARAMETERS = (
    "_type",
    "include",
    "logprobs",
    "model",
    "model_kwargs",
    "model_name",
    "top_logprobs",
)
_SHOWN = {
    "ChatGenerationChunk": ("text", "generation_info", "message"),
    "ChatGeneration": ("text", "generation_info", "message"),
    "GenerationChunk": ("text", "generation_info"),
    "Generation": ("text", "generation_info"),
    "AIMessageChunk": ("content", "response_metadata", "tool_calls", "usage_metadata"),
    "AIMessage": ("content", "response_metadata", "tool_calls", "usage_metadata"),
}


def plain(value: Any) -> Any:
    """The value as JSON has it; an object becomes its fields, with its class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    name = type(value).__name__
    if name in _SHOWN:
        return {"__class__": name} | {key: _shown(value, key) for key in _SHOWN[name]}
    if isinstance(value, Real):  # llama-cpp-python's are NumPy's
        return {"__number__": name, "value": float(value)}
    fields = getattr(value, "__dict__", None)
    return repr(value) if not isinstance(fields, dict) else _fields(name, fields)


def _shown(value: Any, key: str) -> Any:
    shown = plain(getattr(value, key, None))
    # LangChain adds usage up over sets of names, whose order differs from run to run.
    return json.loads(json.dumps(shown, sort_keys=True)) if key == "usage_metadata" else shown


def _fields(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"__pydantic__": name} | {key: plain(each) for key, each in fields.items()}
