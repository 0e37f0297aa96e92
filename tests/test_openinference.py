"""With `openinference`, a trace can be read in Phoenix; without, nothing of it is written."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Observed, attributes_of
from inline_snapshot import snapshot
from langchain_core.output_parsers import StrOutputParser

from langchain_logprobs.telemetry import names
from langchain_logprobs.testing import ScriptedChatModel, answer

OURS = (names.OPENINFERENCE_KIND, names.OPENINFERENCE_OUTPUT, names.OPENINFERENCE_OUTPUT_TYPE)


def shown(observed: Observed, **settings: Any) -> list[tuple[str, list[object]]]:
    """The name of every span of a call in a chain, and what Phoenix is told of it."""
    handler = observed.handler(**settings)
    model = ScriptedChatModel(answers=[answer((" Syd", -0.6), ("ney\n", None))])
    list((model | StrOutputParser()).stream("", {"callbacks": [handler], "run_name": "quiz"}))
    assert handler.flush()
    return [
        (span.name, [attributes_of(span)[of] for of in OURS if of in attributes_of(span)])
        for span in observed.spans()
    ]


def test_every_span_has_a_kind_its_text_and_a_token_its_probability(observed: Observed) -> None:
    assert shown(observed, openinference=True, capture_content=True) == snapshot(
        [
            ("invoke_workflow quiz", ["CHAIN"]),
            ("chat scripted-1", ["LLM", " Sydney\n", "text/plain"]),
            ("' Syd' 0.55", ["CHAIN", " Syd", "text/plain"]),
            ("'ney\\n'", ["CHAIN", "ney\n", "text/plain"]),
        ]
    )


def test_no_text_is_in_names_or_attributes_unless_content_may_be_sent(observed: Observed) -> None:
    assert shown(observed, openinference=True) == snapshot(
        [
            ("invoke_workflow quiz", ["CHAIN"]),
            ("chat scripted-1", ["LLM"]),
            ("token 0.55", ["CHAIN"]),
            ("token", ["CHAIN"]),
        ]
    )


@pytest.mark.parametrize("capture_content", [True, False])
def test_by_default_names_are_always_the_same(observed: Observed, *, capture_content: bool) -> None:
    assert shown(observed, capture_content=capture_content) == snapshot(
        [
            ("invoke_workflow quiz", []),
            ("chat scripted-1", []),
            ("token", []),
            ("token", []),
        ]
    )
