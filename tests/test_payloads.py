"""Every payload seen in the wild, replayed through the handler as LangChain fired it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
    LLMResult,
)
from pydantic import BaseModel

from langchain_logprobs import CallReport, LogprobsCallbackHandler
from langchain_logprobs.testing import CollectingSink

PAYLOADS = Path(__file__).parent / "payloads"
RUN_ID = UUID(int=7)

HELLO = ("Hello", " world", "!")
HELLO_LOGPROBS = (-0.01, -0.7, -1.2)

# What each recording must come to: tokens, source, outcome, reason.
EXPECTED: dict[str, tuple[tuple[str, ...], str | None, str, str | None]] = {
    "compat_no_top_logprobs_no_bytes": (("a", "b"), "stream", "ok", None),
    "deepseek_reasoning_content_logprobs_stream": (("th", "ink", *HELLO), "stream", "ok", None),
    "legacy_tokens_shape_stream": (HELLO, "stream", "ok", None),
    "ollama_invoke": (HELLO, "stream", "ok", None),
    "ollama_stream": (HELLO, "stream", "ok", None),
    "ollama_stream_events_v3_lost": ((), None, "ok", "dropped_by_langchain"),
    "openai_chat_invoke": (HELLO, "end", "ok", None),
    "openai_chat_multi_token_chunk": (("Hello", " world", "", "!"), "stream", "ok", None),
    "openai_chat_n2_invoke": (("A", "B"), "end", "ok", None),
    "openai_chat_n2_stream_interleaved": (
        ("A", "B", "AA", "BB"),
        "stream",
        "ok",
        "choices_interleaved",
    ),
    "openai_chat_refusal_stream": (("I", " cannot", "."), "stream", "ok", "refusal"),
    "openai_chat_split_utf8_tokens": (("\ufffd", "\ufffd\ufffd", " ok"), "stream", "ok", None),
    "openai_chat_stream": (HELLO, "stream", "ok", None),
    "openai_chat_stream_events_v3": (HELLO, "stream", "ok", None),
    "openai_chat_stream_usage": (HELLO, "stream", "ok", None),
    "openai_chat_tools_null_logprobs_stream": ((), None, "ok", "provider_omits_tool_logprobs"),
    "openai_compat_tools_with_logprobs_stream": (
        ("<tool>", '{"a"', ":1,", '"b":2}'),
        "stream",
        "ok",
        None,
    ),
    "openai_legacy_completion_invoke": (HELLO, "end", "ok", None),
    "openai_legacy_completion_stream": (HELLO, "stream", "ok", None),
    "openai_responses_invoke_dropped": ((), None, "ok", "dropped_by_langchain"),
    "openai_responses_stream_dropped": ((), None, "ok", "dropped_by_langchain"),
    "openai_stream_closed_early": (("t0 ", "t1 "), "stream", "cancelled", None),
    "openai_stream_midway_error": (("a",), "stream", "error", None),
    "openai_streaming_invoke_midway_error": (("a",), "stream", "error", None),
    "openai_structured_json_schema_stream": (
        ('{"', "answer", '":"', "yes", '","', "score", '":', "3", "}"),
        "stream",
        "ok",
        None,
    ),
    # Its merge raised in LangChain, so no end came: the handler was closed on it.
    "together_style_float_stream_crash": (HELLO, "stream", "abandoned", None),
    "vllm_style_token_id_and_null_logprob": (("token_id:123", "x"), "stream", "ok", None),
}


class Entry(BaseModel):
    """An entry such as Ollama's client makes: an object, not a mapping."""

    token: str
    logprob: float
    top_logprobs: list[Entry] | None = None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recorded_call_gives_the_report_its_events_call_for(name: str) -> None:
    report = replay(name)

    tokens, source, outcome, unavailable = EXPECTED[name]
    said = tuple(token.text for answer in report.call.completions for token in answer.tokens)
    assert said == tokens
    assert report.call.source == source
    assert report.call.outcome == outcome
    assert report.unavailable == unavailable


@pytest.mark.parametrize("name", sorted(of for of in EXPECTED if EXPECTED[of][0] == HELLO))
def test_the_same_answer_has_the_same_numbers_whoever_sends_it(name: str) -> None:
    report = replay(name)

    assert tuple(token.logprob for token in report.tokens) == HELLO_LOGPROBS
    assert report.confidence.sum_logprob == pytest.approx(-1.91)
    assert report.text == "Hello world!"


def test_every_recording_is_replayed() -> None:
    recorded = {path.stem.removeprefix("observed_") for path in PAYLOADS.glob("observed_*.json")}

    assert recorded >= set(EXPECTED)
    assert set(EXPECTED) == {of for of in recorded if "events" in load(of)}


def test_a_refusal_and_reasoning_are_measured_apart_from_the_answer() -> None:
    refused = replay("openai_chat_refusal_stream")
    reasoned = replay("deepseek_reasoning_content_logprobs_stream")

    assert refused.confidence.count == 0
    assert [(of.channel, of.confidence.count) for of in refused.sequences] == [("refusal", 3)]
    assert [(of.channel, of.confidence.count) for of in reasoned.sequences] == [
        ("content", 3),
        ("reasoning", 2),
    ]
    assert reasoned.confidence.sum_logprob == pytest.approx(-1.91)


def test_each_of_two_answers_is_measured_on_its_own() -> None:
    report = replay("openai_chat_n2_invoke")

    assert [(of.completion, of.confidence.sum_logprob) for of in report.sequences] == [
        (0, -0.1),
        (1, -0.9),
    ]
    assert report.confidence.sum_logprob == -0.1


def test_what_vllm_clamps_is_censored_and_what_it_leaves_out_is_missing() -> None:
    of = replay("vllm_style_token_id_and_null_logprob").confidence

    assert (of.count, of.censored, of.missing) == (2, 1, 1)
    assert (of.mean_logprob, of.min_logprob) == (-100.0, -9999.0)


def load(name: str) -> dict[str, Any]:
    return json.loads((PAYLOADS / f"observed_{name}.json").read_text())


def replay(name: str) -> CallReport:
    """The report of a recorded call."""
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], raise_errors=True)
    for event in load(name)["events"]:
        fire(handler, event)
    handler.close()
    (report,) = sink.calls
    return report


def fire(handler: LogprobsCallbackHandler, event: dict[str, Any]) -> None:
    match event["event"]:
        case "on_chat_model_start" | "on_llm_start" as start:
            told = {key: event.get(key) or {} for key in ("metadata", "invocation_params")}
            getattr(handler, start)({}, [], run_id=RUN_ID, **told)
        case "on_llm_new_token":
            chunk = event.get("chunk")
            others = {key: of for key, of in thawed(event["kwargs"]).items() if key != "tags"}
            handler.on_llm_new_token(
                event["token"], chunk=chunk and generation(chunk), run_id=RUN_ID, **others
            )
        case "on_llm_end":
            handler.on_llm_end(result(event["generations"]), run_id=RUN_ID)
        case "on_llm_error":
            error = GeneratorExit() if event["error"] == "GeneratorExit" else RuntimeError("boom")
            handler.on_llm_error(error, run_id=RUN_ID, response=result(event["response"]))


def result(generations: list[list[dict[str, Any]]]) -> LLMResult:
    return LLMResult(generations=[[generation(of) for of in each] for each in generations])


def generation(recorded: dict[str, Any]) -> Any:
    info = thawed(recorded["generation_info"]) if recorded.get("generation_info") else None
    match recorded["__class__"]:
        case "GenerationChunk":
            return GenerationChunk(text=recorded["text"], generation_info=info)
        case "Generation":
            return Generation(text=recorded["text"], generation_info=info)
    of = recorded["message"]
    given = {key: thawed(of[key]) for key in ("content", "response_metadata") if key in of}
    given |= {key: of[key] for key in ("tool_calls", "usage_metadata") if of.get(key)}
    message = (AIMessageChunk if of["__class__"] == "AIMessageChunk" else AIMessage)(**given)
    kind = ChatGenerationChunk if recorded["__class__"] == "ChatGenerationChunk" else ChatGeneration
    if not isinstance(message, AIMessageChunk):
        kind = ChatGeneration
    return kind(message=message, generation_info=info)


def thawed(recorded: Any) -> Any:
    """The objects a recording could only write down as mappings."""
    match recorded:
        case {"__pydantic__": _, **fields}:
            return Entry(**fields)
        case dict():
            return {key: thawed(of) for key, of in recorded.items()}
        case list():
            return [thawed(of) for of in recorded]
    return recorded
