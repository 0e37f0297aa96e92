"""Every provider's payload to tokens, exactly; and any payload at all without an exception."""

from __future__ import annotations

import json
import math
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from langchain_logprobs.core.places import event_tokens
from langchain_logprobs.core.shapes import (
    SHAPES,
    fields_of,
    read_channels,
    read_list,
    read_parallel,
    read_text,
    read_tokens,
    read_wrapped,
    tokens_at,
)
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob

PAYLOADS = Path(__file__).parent / "payloads"
Token, C = TokenLogprob, Candidate


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"shape_{name}.json").read_text("utf-8"))["data"]


EXPECTED: dict[str, tuple[TokenLogprob, ...] | None] = {
    "cohere_v2_delta_not_surfaced_by_langchain": (Token("Hi", -0.2),),
    "fireworks_new_logprobs_chunk": (Token("Hello", -0.10208277, b"Hello"),),
    "fireworks_or_vllm_legacy_logprobs": (
        Token("Hello", -0.1, None, (C("Hello", -0.1), C("Hi", -2.4))),
        Token("!", None),
    ),
    "langgraph_start_metadata": None,
    "llamacpp_python_llm_stream_chunk": (
        Token(" Hi", -0.4, None, (C(" Hi", -0.4), C(" Hello", -1.2))),
    ),
    "openai_responses_output_text": (Token("Hello", -0.01, b"H", (C("Hello", -0.01, b"H"),)),),
    "openai_responses_output_text_delta": (Token("Hello", -0.01, None, (C("Hello", -0.01),)),),
    "together_chat_invoke": (
        Token(" Hello", -4.7683716e-06),
        Token(" World", -5.9604645e-07),
        Token("!", 0.0),
        Token("</s>", -0.057373047),
    ),
    "together_chat_stream_chunk_choice": None,
    "vertexai_invoke_generation_info": None,
    "watsonx_chat": (Token("J", -0.0017940393), Token("'", -1.7523613e-05)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_shape_gives_exactly_its_tokens(name: str) -> None:
    assert read_tokens(payload(name)) == EXPECTED[name]


def test_every_shape_on_file_is_expected_here() -> None:
    on_file = {path.stem.removeprefix("shape_") for path in PAYLOADS.glob("shape_*.json")}

    assert on_file == set(EXPECTED)


def test_what_stands_under_logprobs_result_is_read() -> None:
    assert read_tokens(payload("vertexai_invoke_generation_info")["logprobs_result"]) == (
        Token("J", -1.5e-06, None, (C("J", -1.5e-06), C("I", -9.1))),
        Token("'", 0.0),
    )


# OpenAI's chat shape and its relatives


def entry(text: str, logprob: Any = -0.5, **others: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, **others}


def test_channels_are_kept_apart_reasoning_first() -> None:
    tokens = read_tokens(
        {"content": [entry("b")], "refusal": [entry("c")], "reasoning_content": [entry("a")]}
    )

    assert tokens is not None
    assert [(of.text, of.channel) for of in tokens] == [
        ("a", "reasoning"),
        ("b", "content"),
        ("c", "refusal"),
    ]


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        [],
        (),
        {},
        {"content": []},
        {"content": None},
        {"content": None, "refusal": None},
        {"content": [], "refusal": None, "reasoning_content": None},
        {"tokens": [], "token_logprobs": [], "top_logprobs": []},
        {"tokens": None, "token_logprobs": None},
        {"logprobs": None},
        {"text": "", "logprobs": None},
        SimpleNamespace(content=None, refusal=None),
    ],
)
def test_a_payload_that_says_there_are_none_is_not_unreadable(nothing: object) -> None:
    assert read_tokens(nothing) == ()


@pytest.mark.parametrize(
    "unknown",
    [
        -0.1,
        0,
        True,
        "logprobs",
        b"content",
        {"a": 1},
        {"content": "text"},
        {"content": [1, 2]},
        {"content": ["a", "b"]},
        {"content": [{"token": "a"}]},
        {"content": [None, None]},
        {"tokens": ["a"]},
        {"tokens": "a", "token_logprobs": "b"},
        {"text": "a", "logprobs": [-0.1, -0.2]},
        {"logprobs": -0.1},
        {"logprobs": {"logprobs": {"logprobs": {"content": []}}}},
        [1, 2],
        [[]],
        ["a"],
        [None],
        object(),
        int,
        len,
        math.nan,
    ],
)
def test_a_payload_that_no_reader_knows_is_none(unknown: object) -> None:
    assert read_tokens(unknown) is None


def test_one_missing_entry_is_a_missing_token_and_shifts_nothing() -> None:
    assert read_tokens([entry("a", -0.1), None, entry("c", -0.3)]) == (
        Token("a", -0.1),
        Token("", None),
        Token("c", -0.3),
    )


@pytest.mark.parametrize(
    ("given_value", "sound"),
    [
        (None, None),
        (math.nan, None),
        ("-0.1", None),
        ([], None),
        (0.5, None),
        (-math.inf, CENSORED),
        (-9999, CENSORED),
        (-12345.6, CENSORED),
        (5e-5, 0.0),
        (0, 0.0),
        (-2, -2.0),
    ],
)
def test_a_logprob_is_made_sound_for_tokens_and_candidates(
    given_value: Any, sound: float | None
) -> None:
    tokens = read_tokens([entry("a", given_value, top_logprobs=[entry("b", given_value)])])

    assert tokens == (Token("a", sound, None, () if sound is None else (C("b", sound),)),)


def test_json_with_infinity_and_nan_is_read() -> None:
    text = '{"content": [{"token": "a", "logprob": -Infinity}, {"token": "b", "logprob": NaN}]}'

    assert read_tokens(json.loads(text)) == (Token("a", CENSORED), Token("b", None))


@pytest.mark.parametrize(
    ("text", "raw", "token"),
    [
        ("a", [97], Token("a", -0.5, b"a")),
        ("a", (97,), Token("a", -0.5, b"a")),
        ("a", None, Token("a", -0.5)),
        ("a", [], Token("a", -0.5)),  # "not known": else all such tokens would be the same
        ("", [], Token("", -0.5)),
        ("a", [256], Token("a", -0.5)),
        ("a", [-1], Token("a", -0.5)),
        ("a", [10**30], Token("a", -0.5)),
        ("a", [1.5], Token("a", -0.5)),
        ("a", ["97"], Token("a", -0.5)),
        ("a", [None], Token("a", -0.5)),
        ("a", "97", Token("a", -0.5)),
        ("a", 97, Token("a", -0.5)),
        ("bytes:\\xf0\\x9f", [0xF0, 0x9F], Token("\ufffd", -0.5, b"\xf0\x9f")),
        ("\\x41", list(b"\\x41"), Token("\\x41", -0.5, b"\\x41")),
        ("\\x41", None, Token("\\x41", -0.5)),
        (None, [195, 169], Token("é", -0.5, "é".encode())),
        (None, None, Token("", -0.5)),
        (7, None, Token("", -0.5)),
        ("token_id:123", None, Token("token_id:123", -0.5)),
        ("\ud800", None, Token("\ud800", -0.5)),
    ],
)
def test_text_and_bytes(text: Any, raw: Any, token: TokenLogprob) -> None:
    assert read_tokens([entry(text, bytes=raw)]) == (token,)


def test_candidates_are_sorted_and_each_is_listed_once() -> None:
    top = [
        entry("c", -3, bytes=[99]),
        entry("a", -2, bytes=[97]),
        None,
        entry("b", None),
        {"token": "d"},
        entry("a", -1, bytes=[97]),
        entry("c", -4),
    ]

    assert read_tokens([entry("a", -1, top_logprobs=top)]) == (
        Token("a", -1.0, None, (C("a", -1.0, b"a"), C("c", -3.0, b"c"))),
    )


def test_a_chosen_token_without_bytes_is_the_one_that_is_listed_without_bytes() -> None:
    listed = [entry("a", -0.5, bytes=[]), entry("b", -2, bytes=[])]

    for top in (listed, listed[:1]):
        tokens = read_tokens([entry("a", -0.5, bytes=[], top_logprobs=top)])
        assert tokens is not None
        (token,) = tokens
        assert (token.raw, token.candidates[0]) == (None, C("a", -0.5))


@pytest.mark.parametrize("top", [None, 3, "abc", [], {}, [None], {"a": None}, {"a": "x"}])
def test_candidates_that_say_nothing_are_none(top: Any) -> None:
    assert read_tokens([entry("a", top_logprobs=top)]) == (Token("a", -0.5),)


# Lists side by side


def test_lists_side_by_side_of_unequal_length_lose_no_token() -> None:
    tokens = read_tokens(
        {
            "tokens": ["a", "b", "c"],
            "token_logprobs": [None, -0.2],
            "top_logprobs": [None, {"b": -0.2, "x": -2.0}, {"c": -1.0}, {"never": -1.0}],
        }
    )

    assert tokens == (
        Token("a", None),
        Token("b", -0.2, None, (C("b", -0.2), C("x", -2.0))),
        Token("c", None, None, (C("c", -1.0),)),
    )


def test_more_logprobs_than_tokens_are_no_tokens() -> None:
    assert read_tokens({"tokens": ["a"], "token_logprobs": [-1, -2, -3]}) == (Token("a", -1.0),)


@pytest.mark.parametrize("top", [None, 5, "x"])
def test_lists_side_by_side_need_no_candidates(top: Any) -> None:
    assert read_tokens({"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": top}) == (
        Token("a", -1.0),
    )


# Objects


class Logprob(BaseModel):
    """As Ollama's."""

    token: str
    logprob: float
    top_logprobs: list[Logprob] | None = None


class ChoiceLogprobs(BaseModel):
    """As the openai package's."""

    content: list[Logprob] | None = None
    refusal: list[Logprob] | None = None


class Choice(BaseModel):
    logprobs: ChoiceLogprobs


@dataclass
class Entry:
    token: str
    logprob: float


def test_objects_are_read_by_their_attributes() -> None:
    said = Logprob(token="a", logprob=-1, top_logprobs=[Logprob(token="b", logprob=-2)])
    expected = (Token("a", -1.0, None, (C("b", -2.0),)),)

    assert read_tokens([said]) == expected
    assert read_tokens(ChoiceLogprobs(content=[said])) == expected
    assert read_tokens(Choice(logprobs=ChoiceLogprobs(content=[said]))) == expected
    assert read_tokens(ChoiceLogprobs()) == ()
    assert read_tokens([Entry("x", -3)]) == (Token("x", -3.0),)
    assert read_tokens(SimpleNamespace(tokens=["a"], token_logprobs=[-1])) == (Token("a", -1.0),)


def test_reading_an_object_runs_none_of_its_code() -> None:
    ran = []

    class Watched:
        def __init__(self) -> None:
            self.token, self.logprob = "a", -1.0

        def __getattr__(self, name: str) -> None:
            ran.append(name)

        @property
        def bytes(self) -> None:
            ran.append("bytes")

    assert read_tokens([Watched()]) == (Token("a", -1.0),)
    assert ran == []


def test_fields_of_a_class_are_its_own_and_of_a_number_none() -> None:
    assert isinstance(fields_of(Entry), MappingProxyType)
    assert fields_of(5) == {}


# Whatever comes


class RaisingError(Exception):
    """What hostile code raises."""


class Unhelpful:
    """An object that raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RaisingError(name)


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RaisingError

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


class NoDict:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RaisingError


class WrongDict:
    __dict__ = 5  # type: ignore[assignment]


class NoIndex:
    def __index__(self) -> int:
        raise RaisingError


class EvilDict(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise RaisingError

    def values(self) -> Any:
        raise RaisingError


class EvilList(list[Any]):
    def __iter__(self) -> Any:
        raise RaisingError

    def __len__(self) -> int:
        raise RaisingError


class EvilText(str):
    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        raise RaisingError


class EvilFloat(float):
    def __lt__(self, _: object) -> bool:
        raise RaisingError

    __gt__ = __le__ = __ge__ = __lt__


def dead_proxy() -> Any:
    return weakref.proxy(Choice(logprobs=ChoiceLogprobs()))


def endless() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


def deep() -> Any:
    nested: Any = {"content": [entry("a")]}
    for _ in range(100_000):
        nested = {"logprobs": nested}
    return nested


def both_ways(payload: object) -> None:
    """Reads a payload where a stream has it, and by itself: they must give the same.

    A bare number, as Together streams them, belongs to the text of its chunk.
    """
    is_number = isinstance(payload, float)
    tokens = read_tokens({"text": "", "logprobs": [payload]} if is_number else payload)
    chunk = ChatGenerationChunk(
        message=AIMessageChunk(content=""), generation_info={"logprobs": payload}
    )

    assert event_tokens((5, "", chunk, None)) == tuple(replace(of, at_ns=5) for of in tokens or ())


@pytest.mark.parametrize(
    "make",
    [Unhelpful, NoClass, NoDict, WrongDict, NoIndex, EvilDict, dead_proxy, endless, deep],
)
def test_hostile_payloads_raise_nothing_wherever_they_stand(make: Any) -> None:
    assert read_tokens(make()) in (None, ())
    plain = entry("a", -1.0, bytes=[97], top_logprobs=[])
    for made in ([make()], {"content": [make()]}, {"logprobs": make()}, {"tokens": make()}):
        both_ways(made)
        both_ways({"content": [plain], "refusal": made})
    for key in ("token", "logprob", "bytes", "top_logprobs"):
        for listed in (make(), [make()], [plain | {key: make()}], [plain | {key: [make()]}]):
            both_ways({"content": [plain | {key: listed}]})
            both_ways([plain | {"top_logprobs": listed}])


@pytest.mark.parametrize(
    "evil",
    [
        EvilDict(content=[]),
        EvilList([1]),
        {"content": EvilList([entry("a")])},
        [entry("a", EvilFloat(-1))],
    ],
)
def test_hostile_subclasses_raise_nothing(evil: object) -> None:
    assert read_tokens(evil) is None


class NoBool(list[int]):
    """Bytes of which it cannot be said whether there are any: such as an array's."""

    def __bool__(self) -> bool:
        raise RaisingError


@pytest.mark.parametrize("which", ["own", "listed"])
def test_bytes_in_an_object_of_their_own_lose_no_token(which: str) -> None:
    own, listed = (NoBool([97]) if of == which else [97] for of in ("own", "listed"))
    top = [entry("a", -1.0, bytes=listed), entry("b", -2.0, bytes=None)]

    tokens = read_tokens([entry("a", -1.0, bytes=own, top_logprobs=top)] * 3)

    assert [of.text for of in tokens or ()] == ["a"] * 3
    assert [len(of.candidates) for of in tokens or ()] == [2] * 3


def test_an_alternative_of_parallel_lists_may_have_no_text() -> None:
    top = [{"logprob": -1.0, "bytes": [97]}]

    tokens = read_tokens({"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [top]})

    assert tokens == (Token("a", -1.0, None, (Candidate("a", -1.0, b"a"),)),)


def test_numbers_that_are_none_cost_a_token_its_bytes_and_nothing_else() -> None:
    tokens = read_tokens({"content": [entry("a", -0.5, bytes=[NoIndex()]), entry("b", -0.5)]})

    assert tokens == (Token("a", -0.5), Token("b", -0.5))


@pytest.mark.parametrize(
    ("text", "numbers", "raw"),
    [(EvilText("a"), [97], b"a"), ("a", [300], None)],
)
def test_a_token_keeps_what_can_be_read_of_it(
    text: str, numbers: list[Any], raw: bytes | None
) -> None:
    candidate = {"token": text, "logprob": -0.5, "bytes": numbers}

    tokens = read_tokens({"content": [candidate | {"top_logprobs": [candidate]}]})

    assert tokens == (Token("a", -0.5, raw, (Candidate("a", -0.5, raw),)),)
    assert tokens is not None
    assert [type(of.text) for of in tokens] == [str]


def test_a_reader_of_the_users_that_raises_knows_nothing_and_the_next_is_asked() -> None:
    def broken(_: object) -> Any:
        raise RaisingError

    def broken_half_way(_: object) -> Any:
        yield Token("a", -1.0)
        raise RaisingError

    expected = (Token("b", -0.5),)

    assert read_tokens([entry("b")], [broken, *SHAPES]) == expected
    assert read_tokens([entry("b")], [broken_half_way, *SHAPES]) == expected
    assert read_tokens([entry("b")], [lambda _: iter(expected)]) == expected
    assert read_tokens([entry("b")], [broken]) is None


KEYS = st.sampled_from(
    [
        "content",
        "refusal",
        "reasoning_content",
        "tokens",
        "token_logprobs",
        "top_logprobs",
        "logprobs",
        "logprob",
        "token",
        "bytes",
        "text",
        "",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(st.characters(), max_size=4),
    st.binary(max_size=4),
    st.builds(object),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.dictionaries(KEYS, inner, max_size=5).map(lambda of: SimpleNamespace(**of))
    ),
    max_leaves=25,
)


@given(ANYTHING)
def test_reading_anything_gives_sound_tokens_or_none(anything: object) -> None:
    tokens = read_tokens(anything)

    for token in tokens or ():
        assert isinstance(token.text, str)
        assert token.raw is None or isinstance(token.raw, bytes)
        numbers = [token.logprob, *(of.logprob for of in token.candidates)]
        assert all(of is None or CENSORED <= of <= 0 for of in numbers)


@given(ANYTHING)
def test_each_reader_reads_any_json_by_itself(anything: object) -> None:
    for shape in (read_parallel, read_channels, read_list, read_text, read_wrapped):
        tokens = shape(anything)
        assert tokens is None or all(isinstance(of, TokenLogprob) for of in tokens)


NUMBERS = st.floats(-50, 0) | st.sampled_from(
    [0.0, -0.0, 5e-5, 1.0, -9999.0, -math.inf, math.nan, None, -1, True, "-1", 10**30]
)
WORDS = st.sampled_from(["a", "b", "é", "", "\\x41", "bytes:\\xc3", "\ud800", None, 7])
BYTES = st.sampled_from(
    [[97], [98], [195, 169], [], [195], [256], [-1], ["a"], None, 5, 10**12, "ab", (97,), [True]]
)


def entries(top: Any) -> Any:
    """Entries as OpenAI writes them, or almost."""
    usual = st.fixed_dictionaries(
        {
            "token": st.sampled_from("ab") | WORDS,
            "logprob": st.floats(-9, -0.1) | NUMBERS,
            "bytes": st.sampled_from([[97], [98]]) | BYTES,
            "top_logprobs": top,
        }
    )
    less = usual.flatmap(
        lambda of: st.sampled_from([{key: of[key] for key in of if key != gone} for gone in of])
    )
    return usual | less | st.none() | usual.map(lambda of: SimpleNamespace(**of))


TOPS = st.lists(entries(st.none()), max_size=3) | st.sampled_from([None, [], {}, {"a": -1.0}, 5])


@given(st.lists(entries(TOPS), max_size=3), st.sampled_from([None, [], 5, [entry("n")]]))
@settings(max_examples=300)
def test_the_common_path_gives_what_the_long_way_gives(said: list[Any], refusal: Any) -> None:
    both_ways({"content": said})
    both_ways({"content": said, "refusal": refusal})
    both_ways({"reasoning_content": said, "content": said[:1]})
    both_ways({"content": tuple(said)})
    both_ways(said)


@given(ANYTHING)
@example(0.0)
@example(1.0)
def test_the_common_path_reads_anything_as_the_long_way_does(anything: object) -> None:
    both_ways(anything)
    both_ways({"content": anything})


def test_a_number_where_bytes_should_be_is_not_taken_for_how_many() -> None:
    payload = {"content": [entry("a", -1.0, bytes=10**12, top_logprobs=[])]}

    assert tokens_at(5, payload) == (Token("a", -1.0, at_ns=5),)


def test_a_users_reader_is_asked_before_the_common_path() -> None:
    mine = (Token("mine", -1.0),)

    timed = tokens_at(5, {"content": [entry("a", -1.0, bytes=[97])]}, [lambda _: mine, *SHAPES])

    assert timed == (Token("mine", -1.0, at_ns=5),)


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(-50, 0)), max_size=8))
def test_one_sequence_reads_the_same_in_every_shape(said: list[tuple[str, float]]) -> None:
    entries = [entry(text, logprob) for text, logprob in said]
    lists = {"tokens": [text for text, _ in said], "token_logprobs": [of for _, of in said]}
    objects = [SimpleNamespace(**of) for of in entries]

    expected = tuple(Token(text, -0.0 + logprob) for text, logprob in said)
    for shape in ({"content": entries}, entries, tuple(entries), objects, lists):
        assert read_tokens(shape) == expected
        assert read_tokens({"logprobs": shape}) == expected
