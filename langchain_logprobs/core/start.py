"""What LangChain tells of the start of a run, to the call that is then in flight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from uuid import NAMESPACE_OID, UUID, uuid5

from langchain_logprobs.core.capture import OpenCall
from langchain_logprobs.core.finish import asks_for_logprobs
from langchain_logprobs.core.model import RunKind

_GRAPH_STEP = "graph:step:"
"""How the tag begins that LangGraph gives its nodes, and nothing inside them."""
_KEPT_PARAMETERS = (
    "frequency_penalty",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
)
"""Of how the model was asked, what a report keeps."""


def open_call(
    operation: Literal["chat", "text_completion"],
    serialized: Mapping[str, Any],
    run_id: UUID,
    told: Mapping[str, Any],
    now_ns: int,
) -> OpenCall:
    """The call in flight that LangChain tells of.

    Args:
        operation: Which callback told of it.
        serialized: How the model was made.
        run_id: Of the call.
        told: What else the callback was handed.
        now_ns: Nanoseconds since the epoch.
    """
    parameters = told.get("invocation_params") or {}
    metadata = told.get("metadata") or {}
    return OpenCall(
        run_id=run_id,
        root_run_id=run_id,
        parent_run_id=parent_of(told),
        started_ns=now_ns,
        operation=operation,
        model=_text(metadata.get("ls_model_name"), parameters.get("model_name"))
        or _text(parameters.get("model")),
        provider=_text(metadata.get("ls_provider")),
        requested=asks_for_logprobs(parameters, serialized.get("kwargs") or {}, metadata),
        # Of several prompts to a completion model, the first run is handed the usage of all.
        shares_usage=operation == "text_completion" and (told.get("batch_size") or 1) > 1,
        metadata=dict(metadata),
        parameters={
            key: parameters[key] for key in _KEPT_PARAMETERS if parameters.get(key) is not None
        },
        schemas=tuple(_schemas(parameters, told.get("options") or {})),
    )


def _schemas(parameters: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[object]:
    """What the answer was asked to fill: a schema, or the arguments of the only tool there is."""
    structured = options.get("ls_structured_output_format")
    if isinstance(structured, Mapping) and structured.get("schema") is not None:
        yield structured["schema"]
    elif parameters.get("response_format") is not None:
        yield parameters["response_format"]
    else:
        match parameters.get("tools"):
            case [tool]:
                yield tool


def run_uuid(given: object) -> UUID:
    """The id of a run: LangChain hands on what an application gave it, which may be a string."""
    if isinstance(given, UUID):
        return given
    try:
        return UUID(str(given))
    except ValueError:
        return uuid5(NAMESPACE_OID, str(given))


def parent_of(told: Mapping[str, Any]) -> UUID | None:
    """The run that a run is in, if there is one."""
    parent = told.get("parent_run_id")
    return None if parent is None else run_uuid(parent)


def run_name(serialized: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """What LangChain calls a chain, a tool or a retriever."""
    path = serialized.get("id") or ["run"]
    return _text(told.get("name"), serialized.get("name")) or str(path[-1])


def run_kind(told_as: RunKind, told: Mapping[str, Any]) -> RunKind:
    """What a run is.

    Args:
        told_as: What the callback that told of it is for.
        told: What else that was handed.
    """
    if told_as != "chain":
        return told_as
    match told.get("run_type"):
        case "prompt":
            return "prompt"
        case "parser":
            return "parser"
    tags = told.get("tags") or ()
    return "node" if any(str(tag).startswith(_GRAPH_STEP) for tag in tags) else "chain"


def _text(*values: object) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)
