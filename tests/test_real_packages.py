"""Real client code of LangChain packages, served the provider's wire format: what a patch is for.

The packages that are quick to install are in the test group; all the others are tried in the same
way by `make providers`.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import GoogleInvalidRequestError

from langchain_logprobs import get_logprobs_callback, with_logprobs
from langchain_logprobs.patches import Patch, google_genai, ollama_v3, together_stream

pytestmark = [
    # v3 says of itself that it is in beta.
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # LangChain dumps the chunks of OpenAI's client, which knows no bare numbers as logprobs.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    # In async code google-genai subclasses what its HTTP client says not to.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:google.genai"),
]
MATRIX = Path(__file__).parent / "matrix" / "providers"
PATCHES: Mapping[str, Patch] = {
    "google-genai": google_genai.PATCH,
    "ollama": ollama_v3.PATCH,
    "together": together_stream.PATCH,
}
WAYS = ("invoke", "stream", "v3", "ainvoke", "astream", "av3")
ALL = (3, None, None)
"""Tokens right, error, reason."""
NOT_STREAMED = (0, None, "provider_omits_stream_logprobs")
DROPPED = (0, None, "dropped_by_langchain")
REFUSED = (0, "GoogleInvalidRequestError", "no_answer")
MERGE_FAILS = (0, "TypeError", None)
BARE = (0, None, None)
WITHOUT: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "google-genai": (DROPPED, REFUSED, REFUSED) * 2,
    "ollama": (ALL, ALL, DROPPED) * 2,
    "together": (ALL, MERGE_FAILS, BARE) * 2,
}
WITH: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "google-genai": (ALL, NOT_STREAMED, NOT_STREAMED) * 2,
    "ollama": (ALL,) * 6,
    "together": (ALL,) * 6,
}


@pytest.fixture(autouse=True)
def _no_patch_is_in_force_before_or_after() -> Iterator[None]:
    for patch in PATCHES.values():
        patch.revert()
    yield
    for patch in PATCHES.values():
        patch.revert()


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The matrix's modules, which are no part of any package."""
    for name in ("wire", "models", "recording", "probe"):
        spec = importlib.util.spec_from_file_location(name, MATRIX / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return sys.modules["probe"]


def seen(probe: ModuleType, name: str, mode: str, way: str) -> tuple[Any, ...]:
    case = sys.modules["models"].CASES[name]
    with sys.modules["wire"].serving(case.routes) as server:
        call = probe._in_mode(case, server.url, patch=mode == "patched", ways=[way])[way]
    error = call["error"] and call["error"].partition(":")[0]
    return call["tokens"], error, call["reason"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PATCHES)
def test_without_its_patch_langchain_loses_them(probe: ModuleType, name: str, way: str) -> None:
    came = seen(probe, name, "plain", way)

    assert came == WITHOUT[name][WAYS.index(way)]
    assert not PATCHES[name].is_applied


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PATCHES)
def test_with_its_patch_all_come_through(probe: ModuleType, name: str, way: str) -> None:
    came = seen(probe, name, "patched", way)

    assert came == WITH[name][WAYS.index(way)]
    assert PATCHES[name].is_applied


@pytest.mark.parametrize("name", PATCHES)
def test_undone_a_patch_leaves_the_package_as_it_was(name: str) -> None:
    def functions() -> list[object]:
        found = []
        for edit in PATCHES[name].edits:
            owner: Any = __import__(edit.module, fromlist=["_"])
            for step in edit.name.split("."):
                owner = getattr(owner, step)
            found.append(owner)
        return found

    before = functions()

    with PATCHES[name].applied() as is_applied:
        inside = functions()

    assert is_applied
    assert all(one is not other for one, other in zip(before, inside, strict=True))
    assert all(one is other for one, other in zip(before, functions(), strict=True))


@pytest.mark.parametrize("name", PATCHES)
def test_where_its_package_has_changed_a_patch_does_nothing_and_warns_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    patch = Patch(PATCHES[name].name, PATCHES[name].edits)
    edit = patch.edits[0]
    owner: Any = __import__(edit.module, fromlist=["_"])
    *path, function = edit.name.split(".")
    for step in path:
        owner = getattr(owner, step)
    monkeypatch.setattr(owner, function, lambda self: None)  # noqa: ARG005

    assert not patch.apply()
    assert not patch.apply()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"The patch {patch.name} is not applied: {edit.name} of " in record.getMessage()


# Gemini


def gemini(url: str) -> ChatGoogleGenerativeAI:
    return ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key="none", base_url=url)  # type: ignore[arg-type]


def test_a_stream_of_gemini_that_is_told_to_ask_has_what_comes(probe: ModuleType) -> None:
    wire = sys.modules["wire"]
    routes = [("streamGenerateContent", wire.gemini_stream_with_logprobs)]

    with wire.serving(routes) as server, get_logprobs_callback() as captured:
        model = with_logprobs(gemini(server.url)).bind(response_logprobs=True, logprobs=2)
        list(model.stream("hello"))

    assert captured.last is not None
    assert probe._right(captured.last, wire.SAID) == 3


def test_a_model_of_gemini_that_streams_nothing_has_them_in_streams(probe: ModuleType) -> None:
    wire = sys.modules["wire"]

    with wire.serving([("generateContent", wire.gemini)]) as server:
        model = with_logprobs(gemini(server.url).model_copy(update={"disable_streaming": True}), 2)
        with get_logprobs_callback() as captured:
            chunks = list(model.stream("hello"))

    assert [chunk.text for chunk in chunks] == ["Sydney."]
    assert captured.last is not None
    assert probe._right(captured.last, wire.SAID) == 3


def test_a_stream_of_gemini_fails_where_it_asks_without_the_patch(probe: ModuleType) -> None:
    del probe
    wire = sys.modules["wire"]

    with wire.serving([("streamGenerateContent", wire.gemini_stream)]) as server:
        model = gemini(server.url).bind(response_logprobs=True, logprobs=2)
        with pytest.raises(GoogleInvalidRequestError, match="not supported in streams"):
            list(model.stream("hello"))


def test_the_patch_asks_nothing_of_gemini_for_who_does_not_ask(probe: ModuleType) -> None:
    del probe
    wire = sys.modules["wire"]

    with google_genai.applied(), wire.serving([("generateContent", wire.gemini)]) as server:
        message = gemini(server.url).invoke("hello")

    (asked,) = server.asked
    assert {"responseLogprobs", "logprobs"}.isdisjoint(asked["generationConfig"])
    assert "logprobs_result" not in message.response_metadata


# Together


@pytest.mark.parametrize("way", ["invoke", "stream", "v3"])
def test_models_of_together_that_answer_as_openai_does_come_through_too(
    probe: ModuleType, way: str
) -> None:
    """As its gpt-oss does: UKGovernmentBEIS/inspect_ai #3084."""
    wire, case = sys.modules["wire"], sys.modules["models"].CASES["together"]

    def as_openai(body: Mapping[str, Any]) -> Any:
        return wire.chat({**body, "logprobs": True, "top_logprobs": body["logprobs"]})

    with wire.serving([("chat/completions", as_openai)]) as server:
        call = probe._in_mode(case, server.url, patch=True, ways=[way])[way]

    assert (call["tokens"], call["error"], call["reason"]) == ALL
