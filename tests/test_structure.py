"""What a call's report says of the parts of its answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from langchain_logprobs.core.model import Completion, ModelCall
from langchain_logprobs.core.processors import redact
from langchain_logprobs.core.report import CallReport, call_report
from langchain_logprobs.core.tokens import TokenLogprob

ID = UUID(int=1)


def report(
    *rows: tuple[str, float],
    text: str | None = None,
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = (),
    **asked: Any,
) -> CallReport:
    tokens = tuple(TokenLogprob(token, logprob) for token, logprob in rows)
    answer = "".join(token for token, _ in rows) if text is None else text
    completion = Completion(tokens, answer, tool_calls)
    call = ModelCall(run_id=ID, root_run_id=ID, started_ns=0, ended_ns=1, completions=(completion,))
    return call_report(call, **asked)


INVOICE = (
    ('{"vendor":"', -0.01), ("Acme", -0.2), ('","total":', -0.01), ("12", -0.9), (".50", -0.3),
    (',"lines":[{"n":', -0.01), ("1", -0.1), ('},{"n":', -0.01), ("2", -0.4), ("}]}", -0.01),
)  # fmt: skip


class Currency(Enum):
    EUR = "EUR"


class Line(BaseModel):
    n: int


class Invoice(BaseModel):
    supplier: str = Field(alias="vendor")
    total: float
    lines: list[Line]
    currency: Currency = Currency.EUR


@dataclass
class Plain:
    vendor: str
    lines: tuple[dict[str, int], ...]


def test_a_json_answer_has_fields_and_a_lowest_one() -> None:
    of = report(*INVOICE)

    assert of.fields["$.total"].value == 12.5
    assert pytest.approx(math.exp(-0.6)) == of.fields["$.total"].confidence.confidence
    assert of.lowest_field is of.fields["$.total"]
    assert of.confidence.count == 10


def test_a_record_gets_its_own_structure_with_confidences() -> None:
    of = report(*INVOICE)
    e = math.exp
    record = Invoice.model_validate(of.fields["$"].value)
    total = pytest.approx(e(-0.6))

    assert {
        "supplier": e(-0.2),
        "total": total,
        "lines": [{"n": e(-0.1)}, {"n": e(-0.4)}],
        "currency": None,
    } == of.confidences_for(record)
    assert {"vendor": e(-0.2), "lines": [{"n": e(-0.1)}, {"n": e(-0.4)}]} == of.confidences_for(
        Plain("Acme", ({"n": 1}, {"n": 2}))
    )
    assert {"total": total, "lines": pytest.approx(e(-0.25))} == of.confidences_for(
        {"total": "12,50", "lines": "1 and 2"}
    )
    assert pytest.approx(e(-0.38)) == of.confidences_for("a summary")
    assert of.confidences_for({1: 2}) == {1: None}


def test_a_record_that_holds_itself_ends() -> None:
    record: dict[str, Any] = {}
    record["again"] = record

    assert "again" in report(*INVOICE).confidences_for(record)


def test_prose_and_answers_without_tokens_have_no_fields() -> None:
    assert not report(("It is [1] fine.", -0.1)).fields
    assert not report(text='{"a":1}').fields
    assert report(text='{"a":1}').lowest_field is None
    assert not report(*INVOICE, unavailable="choices_interleaved").fields


def test_labels_that_were_asked_for_are_found() -> None:
    of = report(("yes", -0.2), labels={"$": ["yes", "no"]})

    assert pytest.approx(math.exp(-0.2)) == of.labels["$"].probability
    assert report(("yes", -0.2)).labels == {}
    assert list(report(*INVOICE, labels={"vendor": ["Acme", "Bolt"]}).labels) == ["$.vendor"]


def test_the_arguments_of_an_only_tool_call_are_the_fields() -> None:
    rows = (('{"name":"f","arguments":{"x":', -0.1), ("1", -0.5), ("}}", -0.1))
    of = report(*rows, text="", tool_calls=(("f", {"x": 1}),), labels={"x": ["1", "2"]})

    assert of.fields == of.tools[0].arguments
    assert of.lowest_field == of.fields["$.x"]
    assert ("1", {"x": math.exp(-0.5)}) == (of.labels["$.x"].chosen, of.confidences_for({"x": 1}))


def test_several_tool_calls_are_not_mixed_up() -> None:
    calls = (("f", {"x": 1}), ("g", {"x": 2}), ("h", {"x": 3}))
    rows = (('f{"x":1}', -0.5), ('g{"x":2}', -0.7))
    of = report(*rows, text="", tool_calls=calls)

    assert not of.fields
    assert [tool.unavailable for tool in of.tools] == [None, None, "provider_omits_tool_logprobs"]
    assert of.lowest_field == of.tools[1].arguments["$.x"]


def test_redacting_hides_values_and_keeps_numbers() -> None:
    rows = (('[{"name":"f","arguments":{"x":', -0.1), ('"secret"', -0.5), ("}}]", -0.1))
    of = report(*rows, tool_calls=(("f", {"x": "secret"}),), labels={"x": ["secret"]})
    hidden = redact()(of)

    assert isinstance(hidden, CallReport)
    assert "secret" in repr(of)
    assert "secret" not in repr(hidden)
    assert [field.confidence for field in of.fields.values()] == [
        field.confidence for field in hidden.fields.values()
    ]
    assert hidden.tools[0].chosen is not None
    assert redact("nothing like it")(of) == of


def test_redacting_hides_the_arguments_of_a_tool_without_a_name() -> None:
    of = report(('{"x":"secret"}', -0.5), text="", tool_calls=(("f", {"x": "secret"}),))

    assert "secret" not in repr(redact()(of))


def test_the_code_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parent.parent / "docs" / "structured-output.md"
    rows = (
        ('{"vendor":"', -0.01),
        ("Acme", -0.2),
        ('","mood":"', -0.01),
        ("good", -0.3),
        ('"', -0.1),
    )
    of = report(*rows, (',"total":', -0.1), ("12", -0.5), (".50", -0.7), ("}", -0.1))
    names: dict[str, Any] = {"report": of, "call": of.call, "record": of.fields["$"].value}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block, names)
    shown = capsys.readouterr().out.splitlines()

    assert [shown[0], shown[3], shown[4]] == ["12.5", "['12', '.50']", "$.total"]
    assert "{'vendor': 0.81" in shown[5]
    assert f"good {math.exp(-0.3)}" == shown[6]
