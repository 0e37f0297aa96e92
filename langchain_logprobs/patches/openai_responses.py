"""OpenAI's Responses API: its logprobs, which `langchain-openai` drops (langchain #36211).

LangChain takes over neither the logprobs of an answer nor those of a streamed piece of text, and
`logprobs=True`, right for chat completions, is a `TypeError` where it turns to the Responses API by
itself: for built-in tools, `reasoning`, and some models. With this patch the request asks in the
words of that API, and `generation_info["logprobs"]` is `{"content": [...]}`, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_logprobs.patches import Edit, Function, Patch, harmless

INCLUDE = "message.output_text.logprobs"
"""What the Responses API calls for in its parameter `include`."""


def _ask(original: Function) -> Function:
    def payload_of(messages: Any, payload: Mapping[str, Any]) -> Any:
        return original(messages, _in_its_words(payload))

    return payload_of


def _in_its_words(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload without `logprobs`, which the Responses API does not know."""
    if "logprobs" not in payload:
        return dict(payload)
    rest = {key: value for key, value in payload.items() if key != "logprobs"}
    if payload["logprobs"]:
        return rest | {"include": including(rest.get("include"))}
    return {key: value for key, value in rest.items() if key != "top_logprobs"}


def including(already: Iterable[str] | None) -> list[str]:
    """What to include, the logprobs with it."""
    return [*(each for each in already or () if each != INCLUDE), INCLUDE]


def _keep_of_answer(original: Function) -> Function:
    def result_of(response: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(response, *args, **kwargs)
        _put_of_answer(result, response)
        return result

    return result_of


def _keep_of_piece(original: Function) -> Function:
    def chunk_of(chunk: Any, *args: Any, **kwargs: Any) -> Any:
        converted = original(chunk, *args, **kwargs)
        _put_of_piece(converted, chunk)
        return converted

    return chunk_of


@harmless
def _put_of_answer(result: Any, response: Any) -> None:
    entries = [
        _entry(token)
        for item in response.output
        for part in (item.content if item.type == "message" else ())
        for token in getattr(part, "logprobs", None) or ()
    ]
    _put(result.generations[0], entries)


@harmless
def _put_of_piece(converted: Any, chunk: Any) -> None:
    # `response.output_text.done` and `response.completed` repeat what the pieces had.
    if chunk.type == "response.output_text.delta" and converted[-1] is not None:
        tokens = getattr(chunk, "logprobs", None) or ()
        _put(converted[-1], [_entry(token) for token in tokens])


def _put(generation: Any, entries: list[dict[str, Any]]) -> None:
    info = generation.generation_info or {}
    if entries and "logprobs" not in info:
        generation.generation_info = {**info, "logprobs": {"content": entries}}


def _entry(token: Any) -> dict[str, Any]:
    return _alternative(token) | {
        "top_logprobs": [_alternative(each) for each in getattr(token, "top_logprobs", None) or ()]
    }


def _alternative(token: Any) -> dict[str, Any]:
    """Its text, logprob and bytes, which OpenAI's own type for a streamed piece does not name."""
    return {
        name: getattr(token, name)
        for name in ("token", "logprob", "bytes")
        if getattr(token, name, None) is not None
    }


_MODULE = "langchain_openai.chat_models.base"
PATCH = Patch(
    "openai_responses",
    (
        Edit(_MODULE, "_construct_responses_api_payload", ("messages", "payload"), _ask),
        Edit(_MODULE, "_construct_lc_result_from_responses_api", ("response",), _keep_of_answer),
        Edit(_MODULE, "_convert_responses_chunk_to_generation_chunk", ("chunk",), _keep_of_piece),
    ),
)
apply, revert, applied = PATCH.apply, PATCH.revert, PATCH.applied
