"""The patch of LangChain's merge changes how long it takes, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, chat_generation
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks

from langchain_logprobs.patches import langchain_merge

PAYLOADS = Path(__file__).parent / "payloads"


def logprobs_in(value: object) -> Iterator[Any]:
    """Everything under the key that LangChain merges, wherever it stands."""
    if isinstance(value, dict):
        if "logprobs" in value:
            yield value["logprobs"]
        for inner in value.values():
            yield from logprobs_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from logprobs_in(inner)


def merged(parts: list[Any], where: str) -> object:
    """What LangChain makes of chunks with these logprobs, or how it fails."""
    chunks = [
        ChatGenerationChunk(
            message=AIMessageChunk(
                content="x",
                response_metadata={"logprobs": part, "n": 1} if where == "message" else {},
            ),
            generation_info={"finish_reason": "", "logprobs": part} if where == "info" else None,
        )
        for part in copy.deepcopy(parts)
    ]
    try:
        return merge_chat_generation_chunks(chunks)
    except TypeError as error:
        return str(error)


@pytest.mark.parametrize("where", ["info", "message"])
@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_every_payload_is_merged_to_the_same(path: Path, where: str) -> None:
    parts = list(logprobs_in(json.loads(path.read_text())))

    before = merged(parts, where)
    with langchain_merge.applied() as is_applied:
        after = merged(parts, where)

    assert is_applied
    assert before == after


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "refusal", "index", "token"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=5), st.sampled_from(["info", "message"]))
def test_whatever_is_merged_comes_out_the_same(parts: list[Any], where: str) -> None:
    before = merged(parts, where)
    with langchain_merge.applied():
        after = merged(parts, where)

    assert before == after


def test_the_chunks_themselves_are_not_changed() -> None:
    parts = [{"content": [{"token": str(at)}]} for at in range(4)]
    chunks = [
        ChatGenerationChunk(message=AIMessageChunk(content=""), generation_info={"logprobs": part})
        for part in parts
    ]
    before = copy.deepcopy(chunks)

    with langchain_merge.applied():
        merge_chat_generation_chunks(chunks)

    assert before == chunks


def test_the_patch_is_undone() -> None:
    original = chat_generation.merge_dicts  # type: ignore[attr-defined]

    with langchain_merge.applied():
        assert chat_generation.merge_dicts is not original  # type: ignore[attr-defined]

    assert chat_generation.merge_dicts is original  # type: ignore[attr-defined]


def test_another_way_of_merging_is_left_alone_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def last(left: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
        return [left, *others][-1]

    monkeypatch.setattr(chat_generation, "merge_dicts", last)
    monkeypatch.setattr(langchain_merge.PATCH, "_warned", False)

    assert [langchain_merge.apply(), langchain_merge.apply()] == [False, False]
    assert chat_generation.merge_dicts is last  # type: ignore[attr-defined]
    assert ["another way" in record.getMessage() for record in caplog.records] == [True]
