"""Runs every Python block of the documentation, against a real model where it asks one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from langfuse import get_client
from opentelemetry import trace
from opentelemetry.util._once import Once
from receiver import Received, receiving
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser
from sybil.sybil import SybilCollection

from langchain_logprobs import Completion, LogprobsCallbackHandler, ModelCall, TokenLogprob
from langchain_logprobs.core.report import call_report
from langchain_logprobs.local import local_model
from langchain_logprobs.testing import ScriptedChatModel, answer, token

PAGE_OF_FIELDS = "structured-output.md"
PAGE_OF_NEIGHBOURS = "neighbours.md"


@pytest.fixture(scope="session")
def openai() -> Iterator[Received]:
    """A real local model where the documentation has OpenAI's, and a receiver of what is sent."""
    with (
        local_model() as local,
        receiving() as received,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OPENAI_BASE_URL", local.base_url)
        patch.setenv("OPENAI_API_KEY", local.api_key)
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.endpoint)
        yield received


@pytest.fixture
def langfuse() -> Iterator[None]:
    """A receiver where Langfuse's cloud would be; what the block sets up lets token spans there."""
    with receiving() as received, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "LANGFUSE_BASE_URL": received.endpoint,
            "LANGFUSE_PUBLIC_KEY": "pk-lf-none",
            "LANGFUSE_SECRET_KEY": "sk-lf-none",
        }.items():
            patch.setenv(name, value)
        # It sets a global tracer provider, which can be done once and is not for other tests.
        patch.setattr(trace, "_TRACER_PROVIDER", None)
        patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        yield
        model = ScriptedChatModel(answers=[answer("a", "b")])
        handler = LogprobsCallbackHandler(raise_errors=True)
        model.invoke("", {"callbacks": [handler]})
        assert handler.flush()
        get_client().shutdown()
    assert len(received.spans("token")) == 2


def _fields(namespace: dict[str, Any]) -> None:
    """What the page on fields speaks of: a report, its record, and a call with a label."""
    text = '{"vendor": "Acme", "total": 12.50, "lines": [{"n": 1}]}'
    namespace["report"] = call_report(_call(text, *re.findall(r"\w+|\W", text)))
    namespace["record"] = json.loads(text)
    good = token("good", -0.33, {"good": -0.33, "bad": -1.61})
    namespace["call"] = _call('{"mood": "good"}', '{"mood": "', good, '"}')


def _call(text: str, *tokens: str | TokenLogprob) -> ModelCall:
    said = tuple(token(of, -0.1) if isinstance(of, str) else of for of in tokens)
    ids = {"run_id": UUID(int=1), "root_run_id": UUID(int=1)}
    return ModelCall(
        **ids, started_ns=0, ended_ns=1, completions=(Completion(tokens=said, text=text),)
    )


# None that could leave a block out.
_PARSERS = [PythonCodeBlockParser()]
_of_fields = Sybil(parsers=_PARSERS, patterns=[PAGE_OF_FIELDS], setup=_fields)
_of_neighbours = Sybil(parsers=_PARSERS, patterns=[PAGE_OF_NEIGHBOURS], fixtures=["langfuse"])
_of_others = Sybil(
    parsers=_PARSERS,
    patterns=["*.md"],
    excludes=[PAGE_OF_FIELDS, PAGE_OF_NEIGHBOURS],
    fixtures=["openai"],
)
pytest_collect_file = SybilCollection([_of_fields, _of_neighbours, _of_others]).pytest()
