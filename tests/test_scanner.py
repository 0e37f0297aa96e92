"""The scanner: every value and its place, whatever the answer looks like, however it comes in."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from documents import Document, cuts, documents
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.scanner import MAX_DEPTH, Scanner, Value, scan, step

prose = st.text(st.characters(codec="utf-8", exclude_characters='{}[]"'), max_size=12)


def rows(values: list[Value]) -> list[tuple[Any, ...]]:
    return [(v.path, repr(v.value), v.kind, v.start, v.end, v.complete, v.parent) for v in values]


def leaves(values: list[Value]) -> list[tuple[str, str, tuple[int, int], bool]]:
    return [(v.path, repr(v.value), v.inside, v.complete) for v in values if not v.children]


def found(answer: str) -> list[tuple[str, Any, bool]]:
    """What the scanner tells of an answer, containers that hold something left out."""
    return [(v.path, v.value, v.complete) for v in scan(answer.encode()) if not v.children]


@given(documents())
def test_every_value_has_its_path_its_place_and_the_value_of_json_loads(document: Document) -> None:
    values = scan(bytes(document.data))

    assert leaves(values) == [(of.path, repr(of.value), of.inside, True) for of in document.leaves]
    assert values[0].value == json.loads(document.text)
    assert (values[0].start, values[0].end) == (0, len(document.data))
    for value in values:
        assert value.value == json.loads(document.data[value.start : value.end])


@given(documents(before=prose.map(lambda text: f"{text}. ```json\n")), prose)
def test_text_before_and_after_changes_nothing_else(document: Document, after: str) -> None:
    values = scan(bytes(document.data) + f"\n```\n{after}".encode())

    assert leaves(values) == [(of.path, repr(of.value), of.inside, True) for of in document.leaves]


@given(st.lists(documents(), min_size=1, max_size=3), prose)
def test_several_documents_in_an_answer_are_all_read(several: list[Document], between: str) -> None:
    between = f" {between} "
    answer = between.join(["", *(document.text for document in several)])
    expected = [(of.path, repr(of.value)) for document in several for of in document.leaves]

    assert [row[:2] for row in leaves(scan(answer.encode()))] == expected


@given(documents(), st.data())
def test_in_pieces_it_reads_the_same_as_whole(document: Document, data: st.DataObject) -> None:
    scanner = Scanner()
    for piece in data.draw(cuts(bytes(document.data))):
        scanner.feed(piece)

    assert rows(scanner.close()) == rows(scan(bytes(document.data)))


def test_escapes_may_be_cut_anywhere() -> None:
    scanner = Scanner()
    for byte in b'{"\\u0061":"\\"\\n\\ud83d\\ude00"}':
        scanner.feed(bytes([byte]))

    assert scanner.close()[1].value == '"\n😀'


@given(st.text('{}[]",:\\u0d1eE-+. \ntrufalsn<|>', max_size=40), st.integers(1, 3))
def test_in_pieces_nonsense_reads_the_same_too(answer: str, size: int) -> None:
    data = answer.encode()
    scanner = Scanner()
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])

    assert rows(scanner.close()) == rows(scan(data))


@given(documents())
def test_cut_off_at_every_byte_it_keeps_what_was_there(document: Document) -> None:
    data = bytes(document.data)
    for end in range(len(data)):
        values = [value for value in scan(data[:end]) if not value.children]
        complete = [(v.path, repr(v.value)) for v in values if v.complete]
        # What ends with the answer may have gone on, unless it ends with a bracket or a quote.
        expected = [
            (of.path, repr(of.value))
            for of in document.leaves
            if of.end < end or (of.end == end and data[end - 1 : end] in (b'"', b"]", b"}"))
        ]
        assert complete == expected
        assert sum(not value.complete for value in values) <= 1
        for value in values:
            if not value.complete and value.kind == "string":
                whole = next(of.value for of in document.leaves if of.start == value.start)
                assert whole.startswith(value.value)


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0d1e', max_size=60).map(str.encode))
def test_nothing_raises_and_every_place_is_in_the_answer(data: bytes) -> None:
    for value in scan(data):
        assert 0 <= value.start < value.end <= len(data)
        assert value.start <= value.inside[0] < value.inside[1] <= value.end
        if value.parent is not None:
            assert value.start < scan(data)[value.parent].end


@given(st.text(max_size=40))
def test_a_whole_answer_that_json_loads_takes_is_taken(answer: str) -> None:
    try:
        expected = json.loads(answer)
    except ValueError:
        return

    assert repr(scan(answer.encode())[0].value) == repr(expected)


@pytest.mark.parametrize(
    "answer",
    ["42", " -1.5e3\n", "true", "null", '"a \\"quoted\\" [1] word"', '""', "0", "NaN", "-Infinity"],
)
def test_a_scalar_that_is_the_whole_answer_is_a_value(answer: str) -> None:
    [value] = scan(answer.encode())

    assert ("$", repr(json.loads(answer)), True) == (value.path, repr(value.value), value.complete)
    assert answer.encode()[value.start : value.end] == answer.strip().encode()


@pytest.mark.parametrize(
    "answer",
    ["", "  ", "yes", "42 is the answer", "tru", "true enough", '"No," he said', "1.",
     "[see below]", "{curly}", "[[[x", "not", "[TOOL_CALLS]", "-", "}", "]", "[^1] and [x](y)"],
)  # fmt: skip
def test_prose_has_no_values(answer: str) -> None:
    assert found(answer) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"a":1,"a":2}', [("$.a", 1, True), ("$.a", 2, True)]),
        ('{"a.b":{"c d":1}}', [('$["a.b"]["c d"]', 1, True)]),
        ('{"\\u0061":"\\ud83d\\ude00"}', [("$.a", "😀", True)]),
        ('{"n":1e5,"m":-0.5E-1}', [("$.n", 100000.0, True), ("$.m", -0.05, True)]),
        ('{"e":"","o":{},"l":[ ]}', [("$.e", "", True), ("$.o", {}, True), ("$.l", [], True)]),
        ("[true,false,null]", [("$[0]", True, True), ("$[1]", False, True), ("$[2]", None, True)]),
        # Broken off.
        ('{"a":"x\\u00', [("$.a", "x", False)]),
        ('{"a":"x\\ud83d', [("$.a", "x", False)]),
        ('{"a":"x\\', [("$.a", "x", False)]),
        ('{"a":"x\\\\', [("$.a", "x\\", False)]),
        ('{"a":"', [("$.a", "", False)]),
        ('{"a":12', [("$.a", 12, False)]),
        ('{"a":-', [("$.a", None, False)]),
        ('{"a":1.', [("$.a", 1, False)]),
        ('{"a":tru', [("$.a", None, False)]),
        ('{"a":true', [("$.a", True, False)]),
        ('{"a":1,"b":nope', [("$.a", 1, True)]),
        ("}{", [("$", {}, False)]),
        ('{"a":{', [("$.a", {}, False)]),
        ('{"a":1,"b', [("$.a", 1, True)]),
        ('{"a":1,"b":', [("$.a", 1, True)]),
        ('"he', [("$", "he", False)]),
        # Broken.
        ('{"a":1,}', [("$.a", 1, True)]),
        ("[1,]", [("$[0]", 1, True)]),
        ('{"a":"b",c:2}', [("$.a", "b", True)]),
        ('{"a":1 "b":2}', [("$.a", 1, True)]),
        ('{"a":1 "b', [("$.a", 1, True)]),
        ('{"a":1 b', [("$.a", 1, True)]),
        ('{"a" 1}', []),
        ('{"a":1]', [("$.a", 1, True)]),
        ("[1}", [("$[0]", 1, True)]),
        ('{"a":1, // "x" {"b":2}\n} {"c":3}', [("$.a", 1, True), ("$.c", 3, True)]),
        ('{"a":"\\x"}', [("$.a", "\\x", True)]),
        ('{{"a":1}}', [("$.a", 1, True)]),
        ('as [said] {"a":1}', [("$.a", 1, True)]),
        ('[{}, see {"a":1}', [("$.a", 1, True)]),
        ('{"a":"two\nlines"}', [("$.a", "two\nlines", True)]),
    ],
)  # fmt: skip
def test_values_of(answer: str, expected: list[tuple[str, Any, bool]]) -> None:
    assert found(answer) == expected


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert scan(b'{"a":"\xff"}')[1].value == "\ufffd"
    assert scan(b'{"a":"x\xf0\x9f')[1].value == "x"


def test_a_number_too_long_for_int_is_its_digits() -> None:
    assert scan(b"[" + b"9" * 5000 + b"]")[1].value == "9" * 5000
    assert math.isinf(scan(b"[1e999]")[1].value)


def test_containers_too_deep_end_the_reading() -> None:
    values = scan(b"[" * 100_000)

    assert len(values) == MAX_DEPTH + 1
    assert not any(value.complete for value in values)


def test_a_path_too_long_ends_the_reading() -> None:
    answer = json.dumps({"k" * 5000: {"a": [1]}, "b": 2})

    assert [value.kind for value in scan(answer.encode())] == ["object", "object"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("total", ".total"),
        ("_x9", "._x9"),
        ("größe", ".größe"),
        ("a.b", '["a.b"]'),
        ("first-name", '["first-name"]'),
        ('q"q', '["q\\"q"]'),
        ("", '[""]'),
        ("9", '["9"]'),
        ("\ud83d", '["\\ud83d"]'),
        ("é \ud83d", '["\\u00e9 \\ud83d"]'),
    ],
)
def test_steps_of_paths(key: str, expected: str) -> None:
    assert step(key) == expected


def test_reading_takes_linear_time_in_what_could_be_quadratic() -> None:
    """A quadratic reading of these would take minutes."""
    for part in (b'\\"', b"{", b"[[1", b"<[", b"1", b"x,"):
        scanner = Scanner()
        scanner.feed(b'{"a":' if part == b"1" else b'["')
        for _ in range(50_000):
            scanner.feed(part)

        assert len(scanner.close()) <= 100_000
