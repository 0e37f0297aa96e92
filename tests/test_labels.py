"""Labels: the probability of each, all its spellings together, where the model decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field

from langchain_logprobs.core.choices import labels_from, labels_in
from langchain_logprobs.core.fields import Fields, fields_of
from langchain_logprobs.core.labels import LabelConfidence, label_confidences
from langchain_logprobs.core.text import align
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob


def token(text: str, probability: float, listed: Mapping[str, float] | None = None) -> TokenLogprob:
    candidates = tuple(Candidate(of, math.log(p)) for of, p in (listed or {}).items())
    return TokenLogprob(text, math.log(probability), candidates=candidates)


def label(*tokens: TokenLogprob, labels: object, text: str | None = None) -> LabelConfidence:
    """The label of the whole answer."""
    answer = "".join(of.text for of in tokens) if text is None else text
    found = fields_of(tokens, answer)
    return label_confidences(tokens, align(tokens, answer), answer, {"$": labels}, found)["$"]


def approx(probabilities: Mapping[str, float | None]) -> Any:
    return {name: pytest.approx(p) if p is not None else None for name, p in probabilities.items()}


# MEASURES, "what others get wrong" -------------------------------------------------------------


def test_the_spellings_of_a_label_are_one() -> None:
    listed = {"True": 0.6, " true": 0.3, '"TRUE': 0.02, "False": 0.05, "Maybe": 0.01}
    found = label(token("True", 0.6, listed), labels=["True", "False"])

    assert approx({"True": 0.92, "False": 0.05}) == found.probabilities
    assert (found.chosen, found.likeliest, pytest.approx(found.probability)) == (
        "True",
        "True",
        0.92,
    )
    assert pytest.approx(0.97) == found.label_mass
    assert pytest.approx(math.log(0.92 / 0.05)) == found.log_odds
    assert (range(1), {}) == (found.tokens, found.bounds)


def test_the_likeliest_label_need_not_be_the_written_one() -> None:
    found = label(token("No", 0.4, {"No": 0.4, "Yes": 0.3, " yes": 0.25}), labels=["yes", "no"])

    assert (found.chosen, found.likeliest) == ("no", "yes")
    assert pytest.approx(math.log(0.4 / 0.55)) == found.log_odds


def test_a_label_that_is_not_there_is_none_and_not_certain() -> None:
    found = label(token("Perhaps", 0.9, {"Perhaps": 0.9, "Yes": 0.04}), labels=["yes", "no"])

    assert (found.chosen, found.probability, found.log_odds) == (None, None, None)
    assert approx({"yes": 0.04, "no": None}) == found.probabilities
    assert approx({"no": 0.04}) == found.bounds


def test_without_any_mass_there_is_no_likeliest() -> None:
    found = label(token("Perhaps", 0.9, {"Perhaps": 0.9}), labels=["yes", "no"])

    assert (
        found.likeliest,
        found.label_mass,
        found.probabilities,
    ) == (None, None, {"yes": None, "no": None})


def test_a_tie_has_no_likeliest() -> None:
    found = label(token("Yes", 0.4, {"Yes": 0.4, "No": 0.4}), labels=["yes", "no"])

    assert ("yes", None, pytest.approx(0)) == (found.chosen, found.likeliest, found.log_odds)


# Bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "bound"),
    [
        ({"yes": 0.5, "a": 0.3, "b": 0.1}, 0.1),  # not more than the smallest that is listed
        ({"yes": 0.5, "a": 0.3, "b": 0.19}, 0.01),  # nor than what the list leaves
        ({"yes": 0.5}, 0.5),
        ({"yes": 0.5, "a": 0.5}, 1e-12),
        (None, 0.5),
    ],
)
def test_a_missing_label_is_bounded(listed: dict[str, float] | None, bound: float) -> None:
    found = label(token("yes", 0.5, listed), labels=["yes", "no"])

    assert (None, pytest.approx(bound)) == (found.probabilities["no"], found.bounds["no"])
    expected = None if bound < 1e-9 else pytest.approx(math.log(0.5 / bound))
    assert found.log_odds == expected


def test_the_sampled_token_does_not_bound_what_is_missing() -> None:
    """A sampled token can be far below the smallest of the most likely ones."""
    listed = {"yes": 0.001, "a": 0.4, "b": 0.3}

    assert (
        pytest.approx(0.299)
        == label(token("yes", 0.001, listed), labels=["yes", "no"]).bounds["no"]
    )


# Several tokens --------------------------------------------------------------------------------


def test_a_shared_prefix_counts_along_what_was_written_only() -> None:
    found = label(
        token("label", 0.8, {"label": 0.8, "lab": 0.1}),
        token("_", 0.9, {"_": 0.9, "_b": 0.05}),
        token("a", 0.7, {"a": 0.7, "b": 0.2}),
        labels=["label_a", "label_b", "other"],
    )

    assert approx(
        {"label_a": 0.8 * 0.9 * 0.7, "label_b": 0.8 * (0.05 + 0.9 * 0.2), "other": None}
    ) == (found.probabilities)
    assert range(3) == found.tokens


def test_the_first_token_that_tells_labels_apart_decides() -> None:
    listed = {"neg": 0.7, "pos": 0.2, "neu": 0.06, "n": 0.03}
    found = label(
        token("neg", 0.7, listed), token("ative", 0.5, {"ative": 0.5, "ation": 0.5}),
        labels=["negative", "positive", "neutral"],
    )  # fmt: skip

    assert approx({"negative": 0.7, "positive": 0.2, "neutral": 0.06}) == found.probabilities
    assert range(1) == found.tokens


def test_a_label_that_begins_another_is_told_by_what_follows() -> None:
    labels = ["no", "not sure"]
    no = label(token("no", 0.9), token(".", 0.6, {".": 0.6, "t": 0.3}), labels=labels)
    unsure = label(
        token("no", 0.9), token("t", 0.3, {".": 0.6, "t": 0.3}), token(" sure", 1.0), labels=labels
    )

    assert approx({"no": 0.54, "not sure": 0.27}) == no.probabilities == unsure.probabilities
    assert (no.chosen, unsure.chosen) == ("no", "not sure")


def test_the_end_of_the_answer_ends_a_label() -> None:
    found = label(token("no", 0.9), labels=["no", "not sure"])

    assert approx({"no": 0.9, "not sure": None}) == found.probabilities
    assert approx({"not sure": 0.1}) == found.bounds


def test_the_longest_label_is_the_one() -> None:
    found = label(token("New York", 0.9), token("!", 1.0), labels=["new", "new york"])

    assert ("new york", approx({"new": None, "new york": 0.9})) == (
        found.chosen,
        found.probabilities,
    )


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [("Yes.", "yes"), ("**Yes**", "yes"), ("\n 'yes'", "yes"), ("yesterday", None), ("ye", None),
     ("Yes, because", "yes"), ("no-one", None), ("The answer is yes", None), ("", None)],
)  # fmt: skip
def test_what_counts_as_giving_a_label(answer: str, chosen: str | None) -> None:
    assert label(token(answer, 0.9), labels=["yes", "no"]).chosen == chosen


def test_a_token_without_logprob_ends_what_is_known() -> None:
    other = (Candidate("no", math.log(0.2)),)
    missing = label(TokenLogprob("yes", None, candidates=other), labels=["yes", "no"])
    censored = label(TokenLogprob("yes", CENSORED, candidates=other), labels=["yes", "no"])

    assert approx({"yes": None, "no": 0.2}) == missing.probabilities == censored.probabilities
    assert (missing.chosen, missing.likeliest, missing.log_odds) == ("yes", "no", None)


def test_without_candidates_the_chosen_label_has_its_probability() -> None:
    found = label(TokenLogprob("yes", -0.1), labels=["yes", "no"])

    assert approx({"yes": math.exp(-0.1), "no": None}) == found.probabilities
    assert pytest.approx(-0.1 - math.log(-math.expm1(-0.1))) == found.log_odds


def test_unusable_candidates_and_the_chosen_one_are_left_out() -> None:
    others = (Candidate("yes", -0.2), Candidate("no", CENSORED), Candidate(" no", math.nan))
    found = label(TokenLogprob("yes", -0.1, candidates=others), labels=["yes", "no"])

    assert approx({"yes": math.exp(-0.1), "no": None}) == found.probabilities


def test_one_label_alone_has_no_odds() -> None:
    assert label(token("yes", 0.9), labels=["yes"]).log_odds is None


def test_tokens_that_do_not_make_the_answer_give_the_label_without_numbers() -> None:
    found = label(token("other", 0.9), labels=["yes", "no"], text="yes")

    assert LabelConfidence(chosen="yes") == found
    assert LabelConfidence(chosen=None) == label(token("yes", 0.9), labels=["", "*"])


# In fields -------------------------------------------------------------------------------------


def in_fields(*tokens: TokenLogprob, wanted: Mapping[str, object]) -> dict[str, LabelConfidence]:
    answer = "".join(of.text for of in tokens)
    return label_confidences(
        tokens, align(tokens, answer), answer, wanted, fields_of(tokens, answer)
    )


def test_labels_of_fields_by_name_and_by_path() -> None:
    found = in_fields(
        token('{"mood"', 0.9), token(':"', 0.9), token("good", 0.7, {"good": 0.7, "bad": 0.2}),
        token('","x":{"ok":', 0.9), token(" true", 0.8, {" true": 0.8, " false": 0.15}),
        token("}}", 1.0),
        wanted={"mood": ["good", "bad"], "$.x.ok": bool, "absent": bool, "$.x": bool},
    )  # fmt: skip

    assert list(found) == ["$.mood", "$.x.ok"]
    assert approx({"good": 0.7, "bad": 0.2}) == found["$.mood"].probabilities
    assert ("true", range(4, 5)) == (found["$.x.ok"].chosen, found["$.x.ok"].tokens)
    assert approx({"true": 0.8, "false": 0.15}) == found["$.x.ok"].probabilities


def test_a_token_shared_with_quotes_and_brackets_decides_too() -> None:
    listed = {':"good': 0.7, ':"bad': 0.2, ': "bad': 0.05}
    found = in_fields(
        token('{"mood"', 0.9), token(':"good', 0.7, listed), token('"}', 1.0),
        wanted={"mood": ["good", "bad"]},
    )["$.mood"]  # fmt: skip

    assert ("good", approx({"good": 0.7, "bad": 0.2})) == (found.chosen, found.probabilities)


def test_null_numbers_and_unfinished_strings_in_fields() -> None:
    found = in_fields(
        token('{"a":', 0.9), token("null", 0.9), token(',"b":', 0.9),
        token("2", 0.8, {"2": 0.8, "3": 0.1}), token(',"c":"', 0.9),
        token("hi", 0.5), token("gh", 0.5),
        wanted={"a": bool | None, "b": (1, 2, 3), "c": ["high", "low"]},
    )  # fmt: skip

    assert tuple(of.chosen for of in found.values()) == ("null", "2", "high")
    assert approx({"1": None, "2": 0.8, "3": 0.1}) == found["$.b"].probabilities


def test_candidates_in_a_byte_alphabet_are_read_like_the_tokens() -> None:
    tokens = [token("ĠgrÃ¼n", 0.6, {"ĠgrÃ¼n": 0.6, "Ġrot": 0.3})]
    found = label(*tokens, labels=["grün", "rot"], text=" grün")

    assert ("grün", approx({"grün": 0.6, "rot": 0.3})) == (found.chosen, found.probabilities)


# Where labels come from ------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    S = 1
    L = 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["yes", "no", "yes"], ("yes", "no")),
        (Colour, ("red", "blue")),
        (Size, ("1", "2")),
        ([Colour.RED, True, None, 1.5], ("red", "true", "null", "1.5")),
        (Literal["a", "b"], ("a", "b")),
        (Literal["a", "b"] | None, ("a", "b", "null")),
        (Optional[bool], ("true", "false", "null")),  # noqa: UP045 - it is another type
        (Annotated[Literal["a", "b"], "why"], ("a", "b")),
        (bool, ("true", "false")),
        (str | None, ()),
        (str, ()),
        ("yes", ()),
        (7, ()),
        ([object()], ()),
    ],
)
def test_labels_from(source: object, expected: tuple[str, ...]) -> None:
    assert labels_from(source) == expected


class Inner(BaseModel):
    ok: bool
    colour: Colour | None = None


class Outer(BaseModel):
    mood: Literal["good", "bad"] = Field(alias="the mood")
    sure: bool = Field(validation_alias="isSure")
    kept: bool = Field(validation_alias=AliasChoices("k", "kk"))
    inner: Inner
    maybe: Inner | None
    fixed: Literal["v1"]
    many: list[Inner]
    note: str
    again: Outer | None = None


@dataclass
class Plain:
    mood: Literal["good", "bad"]
    inner: Inner


class Typed(TypedDict):
    ok: bool
    colour: Colour


@dataclass
class Unknown:
    mood: Nowhere  # type: ignore[name-defined]  # noqa: F821


def shallow(found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {path: labels for path, labels in found.items() if ".again" not in path}


OF_OUTER = {
    '$["the mood"]': ("good", "bad"),
    "$.isSure": ("true", "false"),
    "$.inner.ok": ("true", "false"),
    "$.inner.colour": ("red", "blue", "null"),
    "$.maybe.ok": ("true", "false"),
    "$.maybe.colour": ("red", "blue", "null"),
}


def test_labels_in_a_pydantic_model() -> None:
    assert shallow(labels_in(Outer)) == {**OF_OUTER, "$.kept": ("true", "false")}


def test_labels_in_a_json_schema_however_it_is_wrapped() -> None:
    schema = Outer.model_json_schema()
    expected = {**OF_OUTER, "$.k": ("true", "false")}

    assert shallow(labels_in(schema)) == expected
    assert (
        shallow(labels_in({"type": "json_schema", "json_schema": {"schema": schema}})) == expected
    )
    assert shallow(labels_in({"type": "function", "function": {"parameters": schema}})) == expected


def test_labels_in_other_records() -> None:
    inner = {"$.inner.ok": ("true", "false"), "$.inner.colour": ("red", "blue", "null")}

    assert {"$.mood": ("good", "bad"), **inner} == labels_in(Plain)
    assert labels_in(Typed) == {"$.ok": ("true", "false"), "$.colour": ("red", "blue")}


@pytest.mark.parametrize(
    "model",
    [None, 3, "x", str, Unknown, {}, {"properties": 3}, {"$ref": "#/a"}, {"$ref": "#"},
     {"properties": {"a": {"$ref": "#/properties/a"}}}, {"anyOf": [3]}, {"enum": 3}, list[int],
     {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}],
)  # fmt: skip
def test_what_has_no_labels(model: object) -> None:
    assert labels_in(model) == {}


# Laws ------------------------------------------------------------------------------------------

texts = st.sampled_from(
    ["yes", " Yes", '"no', "NO", "y", "n", "ye", "s", "o", "x", "", "\ufffd", '"']
)
numbers = st.none() | st.floats() | st.floats(-5, 0)
tokens_ = st.lists(
    st.builds(
        TokenLogprob,
        texts,
        numbers,
        st.none() | st.binary(max_size=3),
        st.lists(st.builds(Candidate, texts, st.floats() | st.floats(-5, 0)), max_size=4).map(
            tuple
        ),
    ),
    max_size=4,
)


@given(
    tokens_, st.none() | st.text("yesno \"'{}:", max_size=6), st.lists(st.text("yesno", max_size=3))
)
def test_nothing_raises(tokens: list[TokenLogprob], text: str | None, labels: list[str]) -> None:
    found = label(*tokens, labels=labels, text=text)
    for probability in found.probabilities.values():
        assert probability is None or probability >= 0


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=6), st.integers(0, 5))
def test_the_probabilities_of_labels_are_at_most_one_together(
    weights: list[float], chosen: int
) -> None:
    spellings = ["yes", " Yes", "no", "No ", "y", "maybe"]
    listed = {of: w / sum(weights) / 1.01 for of, w in zip(spellings, weights, strict=False)}
    written = spellings[min(chosen, len(weights) - 1)]
    found = label(token(written, listed[written], listed), labels=["yes", "no"])

    assert sum(p or 0.0 for p in found.probabilities.values()) <= 1
    assert all(0 <= bound <= 1 for bound in found.bounds.values())


def test_fields_without_the_answer() -> None:
    assert label_confidences([], None, '{"a":1}', {"$.a": ["1"]}, Fields()) == {}
