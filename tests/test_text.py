"""Tokens to text: what each token wrote, whatever way its provider spells bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.text import Aligned, align, joined, pieces
from langchain_logprobs.core.tokens import TokenLogprob

ANY = st.characters(codec="utf-8")
PAYLOADS = Path(__file__).parent / "payloads"


def told(*texts: str) -> list[TokenLogprob]:
    """Tokens of which only a text came."""
    return [TokenLogprob(text, -0.1) for text in texts]


def spelled(*raws: bytes) -> list[TokenLogprob]:
    """Tokens that came with their bytes."""
    return [TokenLogprob(raw.decode("utf-8", "replace"), -0.1, raw) for raw in raws]


def lossy(*raws: bytes) -> list[TokenLogprob]:
    """The same as a server sends them that decodes each token on its own."""
    return told(*(raw.decode("utf-8", "replace") for raw in raws))


def in_alphabet(raw: bytes) -> str:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [code for code in range(0x100) if code not in printable]
    return "".join(chr(c) if c in printable else chr(0x100 + hidden.index(c)) for c in raw)


def in_sentencepiece(raw: bytes) -> str:
    try:
        return raw.decode().replace(" ", "▁")
    except UnicodeDecodeError:
        return "".join(f"<0x{code:02X}>" for code in raw)


def escaped(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{code:02x}" for code in raw)


@st.composite
def cut(draw: st.DrawFn, alphabet: st.SearchStrategy[str] = ANY) -> tuple[str, list[bytes]]:
    """A text, and its bytes cut anywhere, also within characters and into nothing."""
    text = draw(st.text(alphabet, max_size=20))
    data = text.encode()
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return text, [data[a:b] for a, b in pairwise([0, *places, len(data)])]


any_token = st.builds(
    TokenLogprob,
    st.text(st.characters(), max_size=6)
    | st.sampled_from(["\ufffd", "token_id:7", "</s>", "\\xf0"]),
    st.none() | st.floats(),
    st.none() | st.binary(max_size=4),
)


# joined and pieces ------------------------------------------------------------------------------


@given(cut())
def test_tokens_joined_are_the_text_they_were_cut_from(case: tuple[str, list[bytes]]) -> None:
    text, parts = case

    assert text == joined(spelled(*parts))
    assert text == "".join(pieces(spelled(*parts)))
    assert text == "".join(pieces(spelled(*parts), text))


@given(cut(st.sampled_from("aé€😀")))
def test_a_split_character_shows_once_at_the_token_that_completes_it(
    case: tuple[str, list[bytes]],
) -> None:
    text, parts = case
    done = 0
    for part, piece in zip(parts, pieces(spelled(*parts)), strict=True):
        done += len(part)
        assert text.encode()[:done].decode("utf-8", "ignore").endswith(piece)

    assert "\ufffd" not in "".join(pieces(spelled(*parts)))


def test_what_never_completes_shows_as_a_replacement_at_the_end() -> None:
    assert pieces(spelled(b"a", b"\xf0", b"\x9f")) == ["a", "", "\ufffd"]
    assert joined(spelled(b"a", b"\xf0", b"\x9f")) == "a\ufffd"


def test_nothing_joined_is_nothing() -> None:
    assert joined([]) == ""
    assert pieces([]) == []


def test_lone_surrogates_do_not_raise() -> None:
    assert pieces(told("\ud83d")) == ["\ufffd\ufffd\ufffd"]
    assert align(told("\ud83d"), "\ud83d") == Aligned(b"\xed\xa0\xbd", (0,), (3,))


def test_pieces_undo_a_byte_alphabet_and_leave_out_stripped_tokens() -> None:
    assert pieces(told("<s>", "Hi", "Ġ", "Ã©", "</s>"), "Hi é") == ["", "Hi", " ", "é", ""]


def test_pieces_of_tokens_that_do_not_make_the_answer_are_their_own() -> None:
    assert pieces(told("a", "b"), "something else") == ["a", "b"]


def test_tokens_that_share_a_gap_show_it_at_the_last() -> None:
    assert pieces(lossy(b"a ", b"\xf0\x9f", b"\x91\xa9", b"!"), "a 👩!") == ["a ", "", "👩", "!"]


# align ------------------------------------------------------------------------------------------


@given(
    cut(st.characters(codec="utf-8", exclude_characters="▁\\<:")),
    st.sampled_from([in_alphabet, in_sentencepiece, escaped]),
)
def test_every_way_to_spell_bytes_gives_the_same_places(
    case: tuple[str, list[bytes]], spell: Callable[[bytes], str]
) -> None:
    text, parts = case
    aligned = align(told(*map(spell, parts)), text)

    assert aligned is not None
    assert aligned == align(spelled(*parts), text)


@given(cut())
def test_lossy_tokens_are_bounded_by_the_clean_ones_around_them(
    case: tuple[str, list[bytes]],
) -> None:
    text, parts = case
    aligned = align(lossy(*parts), text)
    if aligned is not None and "\ufffd" not in text:
        assert list(aligned.starts) == sorted(aligned.starts)
        assert list(aligned.ends) == sorted(aligned.ends)
        assert all(a <= b for a, b in zip(aligned.starts, aligned.ends, strict=True))


def places(*texts: str, of: str) -> tuple[list[tuple[int, int]], str] | None:
    aligned = align(told(*texts), of)
    if aligned is None:
        return None
    return list(zip(aligned.starts, aligned.ends, strict=True)), aligned.alignment


@pytest.mark.parametrize(
    ("texts", "answer", "expected"),
    [
        ((" Hi", "!"), "Hi!", [(0, 2), (2, 3)]),  # the leading space is stripped
        (("Hi", "!", "</s>"), "Hi!", [(0, 2), (2, 3), (3, 3)]),
        (("Hi", "!", ""), "Hi!", [(0, 2), (2, 3), (3, 3)]),
        (("Hi", "\n", "Q:"), "Hi", [(0, 2), (2, 2), (2, 2)]),  # a stop word is cut off
        (("<|im_start|>", "a", "<|im_end|>"), "a", [(0, 0), (0, 1), (1, 1)]),
        (("<think>", "a", "</think>", "\n", "a"), "a", [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1)]),
        (("Hi", "!"), "Hi! And more", [(0, 2), (2, 3)]),  # past max_tokens
        (("\n", "</s>"), "", [(0, 0), (0, 0)]),
        ((), "", []),
    ],
)
def test_what_a_server_strips_from_the_ends_has_no_place(
    texts: tuple[str, ...], answer: str, expected: list[tuple[int, int]]
) -> None:
    assert (expected, "exact") == places(*texts, of=answer)


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (("a", "b"), "ac"),
        (("ab",), ""),
        ((), "ab"),
        (("",), "ab"),
        (("token_id:1", "token_id:2"), "ab"),
        (("x", "ab"), "ab"),
        (("a", "\ufffd", "b"), "ab"),  # a lost byte has to be somewhere
        (("a", "\ufffd"), "a-----"),  # one U+FFFD is at most three bytes
        (("\ufffd", "b"), "a"),
    ],
)
def test_tokens_that_do_not_make_the_answer_have_no_places(
    texts: tuple[str, ...], answer: str
) -> None:
    assert places(*texts, of=answer) is None


@pytest.mark.parametrize(
    ("texts", "answer", "expected"),
    [
        (("a ", "\ufffd", "\ufffd", "!"), "a 👩!", [(0, 2), (2, 6), (2, 6), (6, 7)]),
        (("token_id:5", "b", "c"), "xyzbc", [(0, 3), (3, 4), (4, 5)]),
        (("a", "", "c"), "abc", [(0, 1), (1, 2), (2, 3)]),
        (("a", "\ufffd\ufffd", "</s>"), "aé", [(0, 1), (1, 3), (3, 3)]),
        (("\ufffd", "\ufffd", "</s>"), "é</s>", [(0, 2), (0, 2), (2, 6)]),
        (("\ufffd", "\ufffd"), "é", [(0, 2), (0, 2)]),
    ],
)
def test_lossy_neighbours_share_the_gap(
    texts: tuple[str, ...], answer: str, expected: list[tuple[int, int]]
) -> None:
    assert (expected, "approximate") == places(*texts, of=answer)


def test_an_answer_cut_off_inside_a_character_is_what_its_bytes_say() -> None:
    aligned = align(spelled(b"a", b"\xf0\x9f"), "a\ufffd")

    assert Aligned(b"a\xf0\x9f", (0, 1), (1, 3)) == aligned


def test_without_an_answer_to_compare_lossy_tokens_are_approximate() -> None:
    assert Aligned(b"ab", (0, 1), (1, 2)) == align(told("a", "b"))
    assert Aligned(b"\xef\xbf\xbd", (0,), (3,), "approximate") == align(told("\ufffd"))
    assert Aligned(b"", (), ()) == align([])


def test_lossy_bytes_beside_a_good_text_are_not_believed() -> None:
    token = TokenLogprob("Ã©", -0.1, "\ufffd".encode())

    assert Aligned("é".encode(), (0,), (2,)) == align([token], "é")


@given(st.lists(any_token, max_size=8), st.none() | st.text(max_size=8))
def test_nothing_raises_and_places_are_in_order(
    tokens: list[TokenLogprob], text: str | None
) -> None:
    aligned = align(tokens, text)

    assert len(tokens) == len(pieces(tokens, text))
    assert isinstance(joined(tokens), str)
    if aligned is not None:
        assert len(aligned.starts) == len(aligned.ends) == len(tokens)
        assert list(aligned.starts) == sorted(aligned.starts)
        assert list(aligned.ends) == sorted(aligned.ends)
        assert all(
            0 <= a <= b <= len(aligned.data)
            for a, b in zip(aligned.starts, aligned.ends, strict=True)
        )


def test_openai_tokens_that_split_an_emoji_make_the_answer() -> None:
    events = json.loads((PAYLOADS / "observed_openai_chat_split_utf8_tokens.json").read_text())
    last = events["events"][-1]["generations"][0][0]
    tokens = read_tokens(last["generation_info"]["logprobs"]) or ()

    assert last["text"] == joined(tokens) == "".join(pieces(tokens, last["text"]))
    assert (align(tokens, last["text"]) or align([])) is not None
