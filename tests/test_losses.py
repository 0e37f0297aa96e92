"""Why no logprobs will come, as far as the packages and the patches in force tell."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from langchain_logprobs import losses as module
from langchain_logprobs.losses import losses
from langchain_logprobs.patches import (
    google_genai,
    litellm_stream,
    llama_cpp_chat,
    openai_responses,
)

PATCHES = (google_genai, litellm_stream, llama_cpp_chat, openai_responses)
RESPONSES = {"responses_api": "dropped_by_langchain"}
DROPPED = {"whole": "dropped_by_langchain", "stream": "dropped_by_langchain"}
NOT_STREAMED = {"stream": "provider_omits_stream_logprobs"}


@pytest.fixture(autouse=True)
def _no_patch_is_in_force() -> Iterator[None]:
    for patch in PATCHES:
        patch.revert()
    yield
    for patch in PATCHES:
        patch.revert()


def told(kind: object) -> dict[str, Any]:
    return {"invocation_params": {"_type": kind}}


@pytest.mark.parametrize(
    ("kind", "without", "with_patches"),
    [
        ("openai-chat", {}, {}),
        ("litellm-chat", {"stream": "dropped_by_langchain"}, {}),
        ("LiteLLMRouter", DROPPED, {}),
        ("llama-cpp-python", DROPPED, {}),
        ("chat-google-generative-ai", {**DROPPED, **NOT_STREAMED}, NOT_STREAMED),
        ("vertexai", NOT_STREAMED, NOT_STREAMED),
        ("mistralai-chat", DROPPED, DROPPED),
        ("chat-nvidia-ai-playground", DROPPED, DROPPED),
        ("chat-databricks", {"whole": "dropped_by_langchain"}, {"whole": "dropped_by_langchain"}),
    ],
)
def test_a_loss_is_one_while_no_patch_for_it_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    without: Mapping[str, str],
    with_patches: Mapping[str, str],
) -> None:
    assert losses(told(kind)) == {**RESPONSES, **without}

    with monkeypatch.context() as as_if_installed:
        for patch in PATCHES:
            as_if_installed.setattr(patch.PATCH, "_made", [object()])

        assert losses(told(kind)) == with_patches


@pytest.mark.parametrize(
    "of", [{}, {"invocation_params": None}, told(None), told(["odd"]), told("mine")]
)
def test_of_a_model_that_says_nothing_of_itself_only_the_responses_api_is_known(
    of: dict[str, Any],
) -> None:
    assert losses(of) == RESPONSES


def test_every_kind_that_is_known_has_its_case() -> None:
    (cases,) = [
        mark.args[1]
        for mark in test_a_loss_is_one_while_no_patch_for_it_is_in_force.pytestmark  # type: ignore[attr-defined]
    ]

    assert set(module._LOSSES) == {kind for kind, *_ in cases} - {"openai-chat"}
