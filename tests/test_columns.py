"""Entries read column by column are what they are one by one; tokens look the same either way."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.columns import STRIDE, Reading
from langchain_logprobs.core.confidence import measure
from langchain_logprobs.core.measures import by_token, columns_of
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob, Tokens, as_tuple


class OneByOne(dict[str, Any]):
    """A dictionary that is left to the readers of single entries."""


def listed(text: str, logprob: Any, raw: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": raw}


LOGPROBS = st.floats(-12, 0) | st.sampled_from([0.0, -0.0, -9999.0, 1e-5, 0, -1, None, 0.5, "x"])
BYTES = st.sampled_from([[97], [98], [97, 98], [195], [], None, [256], "a"])
LISTED = st.builds(listed, st.sampled_from(["a", "b", "?", "\\x61"]), LOGPROBS, BYTES)
SOUND = st.builds(
    listed,
    st.sampled_from("abc"),
    st.floats(-12, 0),
    st.lists(st.integers(97, 99), min_size=1, max_size=2),
)


def entries(of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Lists of entries, each with some of these as its candidates, in any order, some twice."""
    tops = st.lists(of, max_size=4)
    return st.lists(st.builds(lambda its, top: {**its, "top_logprobs": top}, of, tops), max_size=6)


def answer(tokens: int, candidates: int) -> list[dict[str, Any]]:
    """The entries of an answer as OpenAI sends them."""
    tops = [
        [
            listed(f" {at} {place}", -0.1 - place, [32, at % 256, place])
            for place in range(candidates)
        ]
        for at in range(tokens)
    ]
    return [{**top[0], "top_logprobs": top} for top in tops]


def at_once(said: list[dict[str, Any]], times: Iterable[int | None] = ()) -> Tokens:
    """The tokens of entries that are read in one go."""
    reading = Reading()
    assert reading.add_entries(said, times or [None] * len(said))
    tokens = reading.tokens()
    assert isinstance(tokens, Tokens)
    return tokens


def both_ways(said: list[dict[str, Any]]) -> None:
    together = read_tokens({"content": said}) or ()
    each = read_tokens({"content": [OneByOne(entry) for entry in said]}) or ()

    assert as_tuple(together) == each
    assert repr(as_tuple(together)) == repr(each)  # -0.0 equals 0.0
    measured = [measure(of) for of in each]
    assert [measure(of) for of in together] == measured
    assert repr(by_token(columns_of(together))) == repr(measured)
    assert repr(by_token(columns_of(as_tuple(together)))) == repr(measured)


@given(entries(SOUND), st.integers(1, 40))
def test_sound_entries_read_at_once_are_what_they_are_one_by_one(
    said: list[dict[str, Any]], times: int
) -> None:
    both_ways(said * times)
    assert not said or len(at_once(said)) == len(said)


@given(entries(SOUND), entries(LISTED))
def test_unusual_entries_among_them_change_nothing(
    sound: list[dict[str, Any]], unusual: list[dict[str, Any]]
) -> None:
    both_ways([*sound, *unusual])
    both_ways([*sound * STRIDE, *unusual, *sound])


def test_what_a_model_answers_is_read_at_once_whole() -> None:
    said = answer(3 * STRIDE, 5)

    tokens = at_once(said, range(3 * STRIDE))

    assert [of.at_ns for of in tokens] == list(range(3 * STRIDE))
    both_ways(said)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 1e-13, 1e-9, 0.01, 0.3])
        ),
        max_size=20,
    ),
    st.integers(0, 4),
)
def test_tokens_unlike_the_rest_of_their_block_have_the_measures_they_have_alone(
    unlike: list[tuple[int, int, float]], width: int
) -> None:
    """Of more candidates or fewer, not the most likely of them, with hardly anything left over."""
    said = answer(STRIDE // 2, width) if width else []
    for candidates, chosen, left in unlike:
        masses = [0.5**place for place in range(1, candidates + 1)]
        total = sum(masses)
        top = [
            listed(chr(97 + at), math.log(of / total * (1 - left)), [97 + at])
            for at, of in enumerate(masses)
        ]
        own = top[chosen] if chosen < candidates else listed("z", -2.0, [122])
        said.insert(len(said) // 2, {**own, "top_logprobs": top})
    both_ways(said)


@given(st.lists(st.floats(-12, 0) | st.sampled_from([0.0, -0.0, -1e-17, CENSORED]), min_size=1))
def test_tokens_without_candidates_are_measured_at_once(logprobs: list[float]) -> None:
    both_ways([{**listed("a", of, [97]), "top_logprobs": []} for of in logprobs])


def test_a_censored_candidate_bounds_no_margin_among_tokens_that_have_one() -> None:
    top = [listed("a", -0.5, [97]), listed("b", CENSORED, [98])]
    both_ways([*answer(5, 2), {**top[0], "top_logprobs": top}])


def test_part_of_a_block_has_the_measures_of_its_tokens() -> None:
    tokens = at_once(answer(9, 3))
    apart = [TokenLogprob("a", -0.5), *tokens[2:5], TokenLogprob("b", None), *tokens, tokens[0]]

    assert by_token(columns_of(apart)) == [measure(of) for of in apart]
    assert by_token(columns_of(())) == []


def test_a_chosen_token_that_is_not_listed_is_weighed_in_its_place() -> None:
    top = [listed("a", -0.5, [97]), listed("b", -2.0, [98])]
    for logprob in (-0.1, -1.0, -0.5, -3.0, CENSORED):
        both_ways([{**listed("c", logprob, [99]), "top_logprobs": top}])


def test_a_chosen_token_that_is_listed_with_another_logprob_counts_with_its_own() -> None:
    both_ways([{**listed("a", -0.7, [97]), "top_logprobs": [listed("a", -0.5, [97])]}])


# A token whose candidates nobody has asked for yet


@pytest.fixture
def token() -> TokenLogprob:
    (entry,) = answer(1, 2)
    return at_once([entry], [5])[0]


@pytest.fixture
def made(token: TokenLogprob) -> TokenLogprob:
    """The same token, made in the ordinary way."""
    (entry,) = answer(1, 2)
    candidates = tuple(
        Candidate(of["token"], of["logprob"], bytes(of["bytes"])) for of in entry["top_logprobs"]
    )
    return TokenLogprob(token.text, token.logprob, token.raw, candidates, "content", 5)


def test_it_is_equal_to_one_that_was_made_with_them(
    token: TokenLogprob, made: TokenLogprob
) -> None:
    assert token == made
    assert hash(token) == hash(made)
    assert repr(token) == repr(made)


@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, replace, lambda of: pickle.loads(pickle.dumps(of))],
)
def test_copies_of_it_have_them(through: Any, token: TokenLogprob, made: TokenLogprob) -> None:
    assert through(token) == made
    assert token == made


def test_it_has_the_members_of_any_other(token: TokenLogprob, made: TokenLogprob) -> None:
    assert fields(token) == fields(made)
    assert asdict(token) == asdict(made)
    assert replace(token, text="x").candidates == made.candidates
    assert token.candidates is token.candidates
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = token.nothing  # type: ignore[attr-defined]
