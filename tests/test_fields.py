"""Fields: which tokens made which value, and how sure the model was of it."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from documents import Document, cuts, documents, o200k_cut, tokens_of, written_by
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.confidence import Confidence, confidence_of, measure
from langchain_logprobs.core.fields import (
    FieldConfidence,
    Fields,
    fields_of,
    looks_like_json,
    pooled,
    tokens_in,
)
from langchain_logprobs.core.text import Aligned
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob

words = st.text(st.characters(codec="utf-8", exclude_characters='{}[]"'), max_size=8)


def told(*rows: tuple[str, float | None]) -> list[TokenLogprob]:
    return [TokenLogprob(text, logprob) for text, logprob in rows]


def fields(*rows: tuple[str, float | None]) -> Fields:
    return fields_of(told(*rows), "".join(text for text, _ in rows))


def check(document: Document, parts: list[bytes], answer: str) -> None:
    tokens = tokens_of(parts)
    leaves = fields_of(tokens, answer).leaves

    assert [of.path for of in leaves] == [of.path for of in document.leaves]
    for got, leaf in zip(leaves, document.leaves, strict=True):
        expected = written_by(parts, *leaf.inside)
        assert list(got.tokens) == expected
        assert repr(got.value) == repr(leaf.value)
        assert got.confidence == confidence_of(tokens[at] for at in expected)
        assert got.mean == got.lowest == got.confidence.confidence
        assert got.first == measure(tokens[expected[0]])
        assert got.span == (leaf.start, leaf.end)
        assert (got.complete, got.alignment, got.leaf) == (True, "exact", True)


@given(documents(), st.data())
def test_every_leaf_has_exactly_the_tokens_that_wrote_it(
    document: Document, data: st.DataObject
) -> None:
    check(document, data.draw(cuts(bytes(document.data))), document.text)


@given(documents())
def test_in_bytes_for_tokens_too(document: Document) -> None:
    check(document, [bytes([byte]) for byte in document.data], document.text)


@given(documents(before=words.map(lambda text: f"{text} ```json\n")), words)
def test_in_gpt_4o_tokens_too_with_prose_around(document: Document, after: str) -> None:
    answer = f"{document.text}\n```\n{after}"
    check(document, o200k_cut(answer), answer)


@given(documents(), st.data())
def test_cut_off_anywhere_the_whole_values_keep_their_tokens(
    document: Document, data: st.DataObject
) -> None:
    parts = o200k_cut(document.text)
    parts = parts[: data.draw(st.integers(0, len(parts)))]
    answer = b"".join(parts).decode("utf-8", "ignore")
    whole = [of for of in fields_of(tokens_of(parts), answer).leaves if of.complete]
    for got, leaf in zip(whole, document.leaves, strict=False):
        assert (got.path, list(got.tokens)) == (leaf.path, written_by(parts, *leaf.inside))


@given(documents(), st.integers(0))
def test_lossy_tokens_leave_the_clean_leaves_exact(document: Document, seed: int) -> None:
    data = bytes(document.data)
    random_ = random.Random(seed)
    parts, at = [], 0
    while at < len(data):
        size = random_.randint(1, 6)
        parts.append(data[at : at + size])
        at += size
    tokens = [TokenLogprob(part.decode("utf-8", "replace"), -0.5) for part in parts]
    found = fields_of(tokens, document.text)
    for got, leaf in zip(found.leaves, document.leaves, strict=True):
        if got.alignment == "exact":
            assert list(got.tokens) == written_by(parts, *leaf.inside)
        assert repr(got.value) == repr(leaf.value)


# MEASURES, "what others get wrong" -------------------------------------------------------------


def test_a_value_that_shares_its_token_with_a_bracket_has_that_token() -> None:
    field = fields(("{", -0.1), ('"n"', -0.2), (":", -0.3), ("7}", -0.5))["$.n"]

    assert (math.exp(-0.5), range(3, 4), True) == (field.lowest, field.tokens, field.shared)


def test_true_and_null_have_their_tokens() -> None:
    found = fields(('{"a":', -0.1), (" true", -0.7), (',"b":', -0.1), ("null", -0.9), ("}", -0.1))

    assert found["$.a"].lowest == math.exp(-0.7)
    assert found["$.b"].lowest == math.exp(-0.9)
    assert not found["$.a"].shared


def test_an_emoji_split_over_tokens_shifts_nothing_after_it() -> None:
    emoji = "👩".encode()
    tokens = tokens_of([b'{"a":"', emoji[:2], emoji[2:], b'","b":', b"5", b"}"])
    found = fields_of(tokens, '{"a":"👩","b":5}')

    assert range(1, 3) == found["$.a"].tokens
    assert range(4, 5) == found["$.b"].tokens
    assert found["$.b"].lowest == math.exp(-5 / 64)


def test_an_emoji_in_lossy_tokens_shifts_nothing_after_it() -> None:
    rows = [('{"a":"', -0.1), ("\ufffd", -0.2), ("\ufffd", -0.4), ('","b":', -0.1), ("5", -0.7)]
    found = fields_of(told(*rows, ("}", 0.0)), '{"a":"👩","b":5}')

    assert ("approximate", range(1, 3)) == (found["$.a"].alignment, found["$.a"].tokens)
    assert found["$.b"].lowest == math.exp(-0.7)


def test_an_empty_string_is_as_sure_as_its_quotes() -> None:
    found = fields(('{"a":', -0.1), (' "', -0.3), ('"', -0.5), (',"b":', -0.1), ('""}', -0.9))

    assert found["$.a"].lowest == pytest.approx(math.exp(-0.4), rel=1e-15)
    assert found["$.b"].lowest == math.exp(-0.9)


def test_an_empty_container_is_as_sure_as_its_brackets() -> None:
    found = fields(('{"a":', -0.1), ("[]", -0.3), ("}", -0.5))

    assert (math.exp(-0.3), True, []) == (
        found["$.a"].lowest,
        found["$.a"].leaf,
        found["$.a"].value,
    )


def test_numbers_with_exponents_escapes_equal_keys_and_odd_keys_are_exact() -> None:
    rows = ['{"n":', "1e5", ',"é":"', "\\u00", "e9", '","k":', "1", ',"k":', "2", ',"a.b":', "3}"]
    found = fields(*((text, -index / 16) for index, text in enumerate(rows)))

    assert {field.path: (field.value, list(field.tokens)) for field in found.leaves} == {
        "$.n": (100000.0, [1]),
        "$.é": ("é", [3, 4]),
        "$.k": (2, [8]),
        '$["a.b"]': (3, [10]),
    }
    assert [(field.value, field.occurrence) for field in found.every("$.k")] == [(1, 0), (2, 1)]
    assert found["$.k"].value == json.loads("".join(rows))["k"]


@pytest.mark.parametrize(
    ("rows", "path", "tokens", "complete"),
    [
        (["```json\n", '{"a":', " 1", "}\n", "```"], "$.a", [2], True),
        (['{"a":"', "un", "fin"], "$.a", [1, 2], False),
        (["4", "2"], "$", [0, 1], True),
        (['"', "yes", '"'], "$", [1], True),
    ],
)
def test_fences_truncation_and_scalars(
    rows: list[str], path: str, tokens: list[int], complete: object
) -> None:
    field = fields(*((row, -0.1) for row in rows))[path]

    assert (tokens, complete) == (list(field.tokens), field.complete)


def test_one_censored_token_among_twenty_is_floored_and_counted() -> None:
    rows = [("[", 0.0), *[("1", -0.1)] * 19, ("2", CENSORED), ("]", 0.0)]
    confidence = fields(*rows)["$[0]"].confidence

    assert confidence.confidence == pytest.approx(math.exp(-(19 * 0.1 + 100) / 20))
    assert (confidence.count, confidence.censored) == (20, 1)


def test_a_token_without_logprob_is_missing_and_shifts_nothing() -> None:
    found = fields(('{"a":', None), ("1", None), (',"b":', -0.1), ("2", -0.3), ("}", -0.1))

    assert (found["$.a"].confidence.missing, found["$.a"].lowest) == (1, None)
    assert found["$.b"].lowest == math.exp(-0.3)
    assert found.lowest is found["$.b"]


def test_tokens_that_do_not_make_the_answer_give_values_without_numbers() -> None:
    found = fields_of(told(("something", -0.1), (" else", -0.1)), '{"a":[1]}')

    assert (1, None, None, Confidence()) == (
        found["$.a[0]"].value,
        found["$.a[0]"].alignment,
        found["$.a[0]"].lowest,
        found["$.a[0]"].confidence,
    )
    assert found["$.a"].lowest is None
    assert found.lowest is None


def test_values_past_the_last_kept_token_have_no_numbers() -> None:
    found = fields_of(told(('{"a":', -0.1), ("1", -0.2)), '{"a":1,"b":2}')

    assert (math.exp(-0.2), None) == (found["$.a"].lowest, found["$.b"].lowest)
    assert range(2, 2) == found["$.b"].tokens


# Containers ------------------------------------------------------------------------------------


def test_a_container_has_the_mean_and_the_lowest_of_what_is_in_it() -> None:
    found = fields(
        ('{"a":', -9.0), ("[", -9.0), ("1", -0.2), (",", -9.0), ("2", -0.6), ("],", -9.0),
        ('"b":', -9.0), ("3", -0.4), ("}", -9.0),
    )  # fmt: skip
    array, whole = found["$.a"], found["$"]
    of_array = (math.exp(-0.2) + math.exp(-0.6)) / 2

    assert (of_array, math.exp(-0.6)) == (array.mean, array.lowest)
    assert whole.mean == pytest.approx((of_array + math.exp(-0.4)) / 2, rel=1e-15)
    assert whole.lowest == math.exp(-0.6)
    assert whole.confidence.confidence == pytest.approx(math.exp(-0.4), rel=1e-15)
    assert ([False, False], range(9), range(1, 6)) == (
        [array.leaf, whole.leaf],
        whole.tokens,
        array.tokens,
    )
    assert list(found) == ["$", "$.a", "$.a[0]", "$.a[1]", "$.b"]
    assert found.lowest is found["$.a[1]"]


candidates = st.lists(
    st.builds(Candidate, st.sampled_from("abc"), st.floats(-5, 0)), max_size=3
).map(tuple)
sequences = st.lists(
    st.builds(
        TokenLogprob,
        st.sampled_from("ab"),
        st.none() | st.floats(-5, 0) | st.just(CENSORED),
        candidates=candidates,
    ),
    max_size=5,
)


@given(st.lists(sequences, max_size=4))
def test_pooling_measures_is_measuring_the_pool(parts: list[list[TokenLogprob]]) -> None:
    together = confidence_of(token for part in parts for token in part)
    got = pooled([confidence_of(part) for part in parts])
    for name in Confidence.__dataclass_fields__:
        value, expected = getattr(got, name), getattr(together, name)
        match name:
            case "surprisal_tail" | "lowest_window" | "mean_margin":
                assert value is None
            case "low_longest_run":
                assert value <= expected
            case _:
                assert (value is None) == (expected is None)
                assert value is None or value == pytest.approx(expected, rel=1e-9, abs=1e-12)


# The mapping -----------------------------------------------------------------------------------


def test_fields_are_a_mapping_whose_duplicates_are_kept_apart() -> None:
    found = fields(*((part, -0.1) for part in ['{"a":', "1", "}\n", '{"a":', "2", "}"]))

    assert (found["$.a"].value, found["$.a"].occurrence, found["$.a"].document) == (2, 1, 1)
    assert [field.value for field in found.every("$.a")] == [1, 2]
    assert (len(found), len(found.leaves)) == (2, 2)
    assert found.get("$.b") is None
    assert found == Fields(found.every_field)
    assert repr(found).startswith("Fields([FieldConfidence(path='$'")
    assert not Fields()


def test_a_part_of_the_fields_has_paths_of_its_own() -> None:
    found = fields(("[", -0.1), ('{"a":', -0.1), ("1", -0.2), ("}", -0.1), (",2]", -0.1))

    assert {path: of.value for path, of in found.under("$[0]").items()} == {"$": {"a": 1}, "$.a": 1}
    assert not found.under("$[0].b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1}', True), ("\n[1]", True), ("42", True), (" -1.5e3 ", True), ("true", True),
        ('"x"', True), ('Here:\n```json\n{"a":1}', True), ('It is {"a":1}.', True),
        ("", False), ("No.", False), ("1. First [2]", False), ("true enough", False),
        ("see [1] and {x}", False), ("- [ ] to do", False),
    ],
)  # fmt: skip
def test_what_looks_like_json(text: str, expected: object) -> None:
    assert looks_like_json(text) is expected


def test_tokens_in_counts_every_token_that_touches_the_bytes() -> None:
    aligned = Aligned(b"abcd", (0, 1, 1, 3), (1, 1, 3, 4))

    assert range(3) == tokens_in(aligned, 0, 3)
    assert range(2, 3) == tokens_in(aligned, 1, 2)
    assert range(0) == tokens_in(Aligned(b"abcd", (), ()), 1, 2)


any_token = st.builds(
    TokenLogprob,
    st.sampled_from(
        ['{"a":', "1", "}", '"', "x", "\ufffd", "", "[", "]", ",", "</s>", "token_id:3"]
    ),
    st.none() | st.floats(),
    st.none() | st.binary(max_size=3),
    candidates,
)


@given(st.lists(any_token, max_size=12), st.none() | st.text('{"a":1}[],\ufffdx ', max_size=12))
def test_nothing_raises(tokens: list[TokenLogprob], text: str | None) -> None:
    found = fields_of(tokens, text)
    for field in found.values():
        assert isinstance(field, FieldConfidence)
        assert all(0 <= at < len(tokens) for at in field.tokens)
        assert field.lowest is None or 0 <= field.lowest <= 1


def test_measures_at_hand_are_used() -> None:
    tokens: Any = told(("[", -0.1), ("1", -0.2), ("]", -0.1))
    measures = [measure(token) for token in tokens]

    assert fields_of(tokens, "[1]", measures=measures) == fields_of(tokens, "[1]")
    assert fields_of(tokens, "[1]", measures=measures)["$[0]"].first is measures[1]
