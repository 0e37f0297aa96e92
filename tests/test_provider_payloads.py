"""What LangChain's packages handed the callbacks, recorded by tests/matrix/providers, replayed."""

import importlib.util
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
    LLMResult,
)

from langchain_logprobs import CallReport, LogprobsCallbackHandler, TokenLogprob
from langchain_logprobs import patches as home
from langchain_logprobs.patches import openai_responses
from langchain_logprobs.testing import CollectingSink

TESTS = Path(__file__).parent
ROOT = TESTS.parent
MATRIX = TESTS / "matrix" / "providers"
RECORDINGS = sorted((TESTS / "payloads" / "providers").glob("observed_*.json"))
RUN_ID = UUID(int=7)

SENT = [
    ["Syd", -0.6, [["Syd", -0.6], ["Can", -1.2], ["Mel", -3.0]]],
    ["ney", -0.01, [["ney", -0.01], ["nei", -5.0], ["n", -7.0]]],
    [".", -0.2, [[".", -0.2], ["!", -2.0], [",", -4.0]]],
]
CAPTURED_IN_SPITE = {
    "databricks_stream_unpatched",  # Its merge raised, after the callbacks had seen everything.
    "groq_invoke_unpatched",  # Refused for what its API does, not for what its package does.
    "groq_stream_unpatched",
}
"""Asked by hand."""


def name_of(path: Path) -> str:
    return path.stem.removeprefix("observed_")


@pytest.mark.parametrize("path", RECORDINGS, ids=name_of)
def test_a_recorded_call_gives_the_report_it_gave_then(path: Path) -> None:
    recorded = json.loads(path.read_text())

    report = replayed(recorded["events"])

    assert report.call.source == recorded["report"]["source"]
    assert report.call.outcome == recorded["report"]["outcome"]
    assert report.unavailable == recorded["report"]["reason"]


def is_complete(path: Path) -> bool:
    """Whether everything that was sent came through to the callbacks."""
    reason = json.loads(path.read_text())["report"]["reason"]
    is_lossless = not path.stem.endswith("_unpatched") or name_of(path) in CAPTURED_IN_SPITE
    return is_lossless and reason is None


COMPLETE = [path for path in RECORDINGS if is_complete(path)]


@pytest.mark.parametrize("path", COMPLETE, ids=name_of)
def test_every_provider_comes_to_the_tokens_and_alternatives_that_it_sent(path: Path) -> None:
    recorded = json.loads(path.read_text())

    report = replayed(recorded["events"])

    (answer,) = report.call.completions
    assert [(of.text, pytest.approx(of.logprob), alternatives(of)) for of in answer.tokens] == [
        (text, logprob, dict(others[:2])) for text, logprob, others in recorded["sent"]
    ]


def alternatives(token: TokenLogprob) -> dict[str, Any]:
    return {of.text: pytest.approx(of.logprob) for of in token.candidates}


def test_all_but_the_model_in_the_process_were_sent_the_same() -> None:
    sent = {name_of(path): json.loads(path.read_text())["sent"] for path in RECORDINGS}

    assert {name for name, of in sent.items() if of != SENT} == {
        name for name in sent if name.startswith("llama-cpp")
    }


def test_there_is_a_recording_of_each_way_for_each_model_that_is_taken() -> None:
    found = json.loads((MATRIX / "found.json").read_text())
    taken = {
        f"{name}_{way}"
        for name, seen in found.items()
        for way in ("invoke", "stream")
        if "problem" not in seen and "refused" not in seen["patched"]
    }

    assert taken <= set(map(name_of, RECORDINGS))


def test_without_its_patch_together_has_its_numbers_but_no_alternatives() -> None:
    path = TESTS / "payloads" / "providers" / "observed_together_stream_unpatched.json"

    report = replayed(json.loads(path.read_text())["events"])

    (answer,) = report.call.completions
    assert [(of.text, of.logprob, of.candidates) for of in answer.tokens] == [
        (text, logprob, ()) for text, logprob, _ in SENT
    ]


# The table in the docs


def test_the_tables_in_the_docs_are_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(MATRIX))
    table = loaded("table", monkeypatch)
    found = json.loads((MATRIX / "found.json").read_text())
    document = table.DOCUMENT.read_text()

    assert document == table.with_tables(document, found)


def test_the_code_in_the_docs_runs() -> None:
    text = (ROOT / "docs" / "providers.md").read_text()
    namespace: dict[str, Any] = {}

    try:
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, namespace)
    finally:
        openai_responses.revert()


def test_the_docs_name_every_patch() -> None:
    text = (ROOT / "docs" / "providers.md").read_text()
    patches = [import_module(f"{home.__name__}.{of.name}") for of in iter_modules(home.__path__)]

    named = re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE)
    there = sorted(of.PATCH.name for of in patches if hasattr(of, "PATCH"))
    assert sorted(named) == there


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the matrix, which is no part of any package."""
    for each in ("wire", "models", name):
        spec = importlib.util.spec_from_file_location(each, MATRIX / f"{each}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, each, module)
        spec.loader.exec_module(module)
    return sys.modules[name]


# Replaying


def replayed(events: list[dict[str, Any]]) -> CallReport:
    """The report of a recorded call; one that never ended is ended by closing the handler."""
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], raise_errors=True)
    for event in events:
        fire(handler, event)
    handler.close()
    (report,) = sink.calls
    return report


def fire(handler: LogprobsCallbackHandler, event: dict[str, Any]) -> None:
    match event:
        case {"event": "on_chat_model_start" | "on_llm_start" as start, **told}:
            made = told.pop("serialized", {})  # recorded since it tells what is asked for
            getattr(handler, start)(made, [], run_id=RUN_ID, **told)
        case {"event": "on_llm_new_token", "token": token, "chunk": chunk, "kwargs": others}:
            handler.on_llm_new_token(token, chunk=thawed(chunk), run_id=RUN_ID, **thawed(others))
        case {"event": "on_llm_end", "generations": generations}:
            handler.on_llm_end(LLMResult(generations=thawed(generations)), run_id=RUN_ID)


_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        AIMessage,
        AIMessageChunk,
        ChatGeneration,
        ChatGenerationChunk,
        Generation,
        GenerationChunk,
    )
}


def thawed(recorded: Any) -> Any:
    """The objects a recording could only write down as mappings."""
    if isinstance(recorded, list):
        return [thawed(of) for of in recorded]
    if not isinstance(recorded, dict):
        return recorded
    if recorded.get("__number__") == "float32":
        return np.float32(recorded["value"])
    fields = {key: thawed(of) for key, of in recorded.items() if key not in _MARKS}
    if "__pydantic__" in recorded:
        return SimpleNamespace(**fields)
    if "__class__" not in recorded:
        return fields
    return _KINDS[recorded["__class__"]](**fields)


_MARKS = {"__class__", "__pydantic__"}
