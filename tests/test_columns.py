"""Entries read column by column are what they are one by one; tokens look the same either way."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.columns import tokens_of_entries
from langchain_logprobs.core.confidence import measure, sound_logprob
from langchain_logprobs.core.measures import by_token, columns_of
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.tokens import (
    CENSORED,
    Candidate,
    TokenLogprob,
    Tokens,
    as_tuple,
    blocks_of,
    settle,
)


class OneByOne(dict[str, Any]):
    """A dictionary that is not taken for one of the usual entries."""


MANY = 200
"""So many entries that tokens are not made one by one by accident."""


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
    tokens = tokens_of_entries(said, times or [None] * len(said))
    assert tokens is not None
    return tokens


def plainly(entry: dict[str, Any]) -> TokenLogprob:
    """The token of an entry, by the words of the docs alone."""
    raw = plain_bytes(entry["bytes"])
    keys: list[list[Any]] = []
    best: list[Candidate] = []
    for of in entry["top_logprobs"]:
        logprob = sound_logprob(of["logprob"])
        if logprob is not None:
            its = plain_bytes(of["bytes"])
            candidate, key = Candidate(plain_text(of["token"], its), logprob, its), plain_key(of)
            if key not in keys:
                keys.append(key)
                best.append(candidate)
            elif best[keys.index(key)].logprob < logprob:
                best[keys.index(key)] = candidate
    listed = sorted(best, key=lambda each: -each.logprob)
    text = plain_text(entry["token"], raw)
    return TokenLogprob(text, sound_logprob(entry["logprob"]), raw, tuple(listed))


def plain_key(of: dict[str, Any]) -> list[Any]:
    """What makes two of them the same."""
    given = of["bytes"]
    is_given = isinstance(given, list) and given
    if not is_given:
        return [*of["token"].encode()]
    is_flat = not any(isinstance(number, (list, dict)) for number in given)
    return [*(plain_bytes(given) or given)] if is_flat else [given, of["token"]]


def plain_bytes(given: Any) -> bytes | None:
    with contextlib.suppress(TypeError, ValueError):
        return bytes(given) or None if isinstance(given, list) else None
    return None


def plain_text(text: str, raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw and "\\x" in text else text


def both_ways(said: list[dict[str, Any]]) -> None:
    together = read_tokens({"content": said}) or ()
    apart = read_tokens({"content": [OneByOne(entry) for entry in said]}) or ()
    each = tuple(map(plainly, said))

    assert as_tuple(apart) == as_tuple(together) == each
    assert repr(as_tuple(together)) == repr(each)  # -0.0 equals 0.0
    measured = [measure(of) for of in together]
    assert repr([measure(of) for of in apart]) == repr(measured)
    assert repr(by_token(columns_of(together))) == repr(measured)
    assert repr(by_token(columns_of(apart))) == repr(measured)
    assert repr(by_token(columns_of(as_tuple(together)))) == repr(measured)
    if all(map(has_bytes_or_none, said)):  # others are told apart by what nobody has afterwards
        assert repr([measure(of) for of in each]) == repr(measured)


def has_bytes_or_none(entry: dict[str, Any]) -> bool:
    given = (of["bytes"] for of in [entry, *entry["top_logprobs"]])
    return not any(isinstance(of, list) and of and plain_bytes(of) is None for of in given)


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
    both_ways([*sound * MANY, *unusual, *sound])


def test_what_a_model_answers_is_read_at_once_whole() -> None:
    said = answer(3 * MANY, 5)

    tokens = at_once(said, range(3 * MANY))

    assert [of.at_ns for of in tokens] == list(range(3 * MANY))
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
    said = answer(MANY // 2, width) if width else []
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


@pytest.mark.parametrize("unusual", [[], [{"token": "?", "logprob": -1, "bytes": None}]])
def test_what_the_application_does_with_an_answer_afterwards_changes_nothing(
    unusual: list[dict[str, Any]],
) -> None:
    said = [*answer(4, 3), *unusual]
    tokens = read_tokens({"content": said}) or ()

    wreck(said)

    assert [of.text for of in tokens[:4]] == [" 0 0", " 1 0", " 2 0", " 3 0"]
    assert tokens[3].raw == b" \x03\x00"
    assert [of.text for of in tokens[3].candidates] == [" 3 0", " 3 1", " 3 2"]
    assert [of.raw for of in tokens[3].candidates] == [b" \x03\x00", b" \x03\x01", b" \x03\x02"]


def wreck(said: list[dict[str, Any]]) -> None:
    """What an application may do with what it was given, once a call is over."""
    for entry in said:
        for of in [*entry.pop("top_logprobs", ()), entry]:
            if of.get("bytes"):
                of["bytes"][:] = [88]
            of.clear()


@pytest.mark.parametrize("unusual", [[], [{"token": "?", "logprob": -1, "bytes": None}]])
@pytest.mark.parametrize("are_made", [False, True])
def test_candidates_that_nobody_is_going_to_see_are_let_go_of(
    unusual: list[dict[str, Any]], *, are_made: bool
) -> None:
    tokens = tokens_of_entries([*answer(4, 3), *unusual])
    assert tokens is not None
    made = as_tuple(tokens) if are_made else ()

    settle(tokens, with_candidates=False)

    assert [of.candidates for of in as_tuple(tokens)] == [()] * len(tokens)
    assert [of.candidates for of in made] == [()] * len(made)


@pytest.mark.parametrize("width", [1, 2, 5, 7, 20])
@pytest.mark.parametrize("times", [1, MANY + 3])
def test_candidates_with_the_same_bytes_count_once_however_many_there_are(
    width: int, times: int
) -> None:
    """The larger of two, wherever the other stands."""
    for place in range(width):
        top = [listed(f"{at}", -0.5 - at, [48 + at]) for at in range(width)]
        again = listed("again", -7.5, [48 + place])
        both_ways([{**top[0], "top_logprobs": [*top, again]}] * times)
        both_ways([*answer(3, width + 1), {**top[0], "top_logprobs": [*top, again]}] * times)
        both_ways([{**top[0], "top_logprobs": [*top[:place], again, *top[place:]]}] * times)


STRANGE = [[300], [301], [-16], [-30], [0.5], [97.0], ["a"], [[]], [{}], [True], [None], [None] * 2]


@given(
    st.lists(
        st.builds(
            listed,
            st.sampled_from("ab"),
            st.floats(-12, 0),
            st.sampled_from([[97], [98], *STRANGE]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 3),
)
def test_where_bytes_are_none_tokens_are_told_apart_by_them_all_the_same(
    top: list[dict[str, Any]], times: int
) -> None:
    both_ways([{**top[0], "top_logprobs": top}] * times)
    in_order = sorted(top, key=lambda of: -of["logprob"])
    both_ways([{**of, "top_logprobs": in_order} for of in top] * times)


@pytest.mark.parametrize("numbers", STRANGE)
def test_bytes_that_are_none_leave_a_candidate_its_text(numbers: list[Any]) -> None:
    top = [listed("c", -0.5, [99]), listed("b", -1.5, numbers)]

    [token] = read_tokens({"content": [{**top[0], "top_logprobs": top}]}) or ()

    raw = b"\x01" if numbers == [True] else None
    assert token.candidates == (Candidate("c", -0.5, b"c"), Candidate("b", -1.5, raw))


@pytest.mark.parametrize("order", [1, -1])
def test_a_token_is_the_same_however_its_alternatives_are_sorted(order: int) -> None:
    for numbers in ([97.0], [[1]]):
        top = [listed("a", -0.5, numbers), listed("a", -1.0, [98]), listed("a", -2.0, [[2]])]
        both_ways([{**listed("a", -0.5, [97]), "top_logprobs": top[::order]}])


def test_no_alternative_has_a_logprob_of_minus_0() -> None:
    top = [listed("a", 0.0, [97]), listed("b", -0.0, [98]), listed("c", -9.0, [99])]
    both_ways([{**top[0], "top_logprobs": top}])


@pytest.mark.parametrize("first", [None, [], [97]])
def test_what_tells_alternatives_apart_may_change_within_an_answer(first: Any) -> None:
    said = [listed("a", -0.1, first), *(listed("b", -0.1 - at, [98]) for at in range(9))]
    both_ways(
        [{**of, "top_logprobs": [of, listed("c", -3.0, of["bytes"] and [99])]} for of in said]
    )


class Hostile:
    """A number, until it is compared with another."""

    __hash__ = None  # type: ignore[assignment]

    def __index__(self) -> int:
        return 97

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")


@pytest.mark.parametrize("width", [1, 2, 9])
def test_numbers_that_cannot_be_compared_are_read_one_by_one(width: int) -> None:
    top = [listed(f"{at}", -0.5 - at, [Hostile(), at]) for at in range(width)]
    both_ways([{**listed("0", -0.5, [Hostile(), 0]), "top_logprobs": top}] * 3)


class Clearing(int):
    """A number that takes away what it is part of when it is compared."""

    __hash__ = None  # type: ignore[assignment]
    whole: list[Any]

    def __eq__(self, other: object) -> bool:
        self.whole.clear()
        return False


def test_a_list_that_changes_while_it_is_read_gives_no_token_another_s_numbers() -> None:
    said = answer(9, 4)
    number = Clearing(97)
    number.whole = said[3]["top_logprobs"]
    number.whole[0]["bytes"], number.whole[1]["bytes"] = [97], [number]

    tokens = read_tokens({"content": said}) or ()

    assert [len(of.candidates) for of in tokens] == [4, 4, 4, 0, 4, 4, 4, 4, 4]
    assert tokens[4:] == read_tokens({"content": answer(9, 4)[4:]})


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("width", [1, 4])
def test_a_token_that_is_certain_is_read_with_its_block(zero: float, width: int) -> None:
    """As providers send them: most tokens of a good model's answer have a logprob of exactly 0."""
    said = answer(MANY + 1, width)
    for entry in said[::2]:
        entry["logprob"] = entry["top_logprobs"][0]["logprob"] = zero
        for at, of in enumerate(entry["top_logprobs"][1:]):
            of["logprob"] = -20.0 - at
    both_ways(said)

    tokens = at_once(said)

    assert str(tokens.logprobs[0]) == "0.0"


def test_a_token_may_be_any_of_its_candidates_or_none() -> None:
    """As models are sampled, and as servers list the chosen token beside the likeliest."""
    top = [listed(f"{at}", -0.5 - at, [48 + at]) for at in range(4)]
    chosen = [*top, listed("x", -9.5, [120]), listed("x", -0.1, [120])]
    rows = [top, top[:2], top[1:], []]
    both_ways([{**of, "top_logprobs": row} for row in rows for of in chosen])
    both_ways([{**of, "top_logprobs": top} for of in chosen])


@pytest.mark.parametrize("depth", [0, 60, 120, 400])
def test_lists_in_lists_for_bytes_lose_no_token_however_deep_the_call_ends(depth: int) -> None:
    """Python compares them by calling itself; near its limit that raises."""
    nested = [json.loads("[" * 900 + "]" * 900) for _ in range(2)]
    top = [listed("a", -0.5, nested[0]), listed("b", -1.5, nested[1])]

    def read(frames: int) -> Any:
        if frames:
            return read(frames - 1)
        return read_tokens({"content": [{**listed("a", -0.5, [97]), "top_logprobs": top}]})

    [token] = read(depth)

    assert token.candidates == (Candidate("a", -0.5, None), Candidate("b", -1.5, None))


@pytest.mark.parametrize("unusual", [1, 5, 300])
@pytest.mark.parametrize("kind", ["split", "no bytes", "no logprob", "no dict"])
def test_unusual_entries_are_kept_column_by_column_as_all_others(unusual: int, kind: str) -> None:
    said = answer(300, 3)
    for at in range(0, 300, 300 // unusual):
        match kind:
            case "split":
                said[at].update(token="bytes:\\xf0\\x9f", bytes=[0xF0, 0x9F])
            case "no bytes":
                said[at]["bytes"] = None
            case "no logprob":
                said[at]["logprob"] = None
            case _:
                said[at] = OneByOne(said[at])

    both_ways(said)
    tokens = read_tokens({"content": said})
    assert isinstance(tokens, Tokens)
    assert None not in blocks_of(tokens.made)
