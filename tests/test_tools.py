"""Tool calls: the tokens of the name and of each argument, whatever the server writes around."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from documents import cut_at, tokens_of, written_by
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs.core.choices import labels_from
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.tokens import TokenLogprob
from langchain_logprobs.core.tools import same, tool_fields

PAYLOADS = Path(__file__).parent / "payloads"
ARGUMENTS = {"city": 'Zürich "West"', "days": 3, "options": {"units": ["C", 1.5, None, True]}}
JSON = json.dumps(ARGUMENTS, ensure_ascii=False)
PYTHON = """city='Zürich "West"', days=3, options={'units': ['C', 1.5, None, True]}"""
FORMATS = {
    "hermes": f'<tool_call>\n{{"name": "weather", "arguments": {JSON}}}\n</tool_call>',
    "llama": f'<|python_tag|>{{"name":"weather","parameters":{JSON}}}<|eom_id|>',
    "llama_function": f"<function=weather>{JSON}</function>",
    "mistral": f'[TOOL_CALLS][{{"name":"weather","arguments":{JSON}}}]</s>',
    "mistral_new": f"[TOOL_CALLS]weather{JSON}",
    "mistral_args": f"[TOOL_CALLS]weather[CALL_ID]a1b2[ARGS]{JSON}",
    "deepseek": f"<|tool_call_begin|>function<|tool_sep|>weather\n```json\n{JSON}\n```",
    "pythonic": f"[weather({PYTHON})]",
    "pythonic_tagged": f"<|python_start|>[weather(\n  {PYTHON})]<|python_end|>",
    "pythonic_single": f"weather({PYTHON.replace('None', 'null').replace('True', 'true')})",
    "after_text": f'I will look that up. {{"tool": "weather", "tool_input": {JSON}}}',
}


def told(*rows: tuple[str, float]) -> list[TokenLogprob]:
    return [TokenLogprob(text, logprob) for text, logprob in rows]


@pytest.mark.parametrize("raw", FORMATS.values(), ids=FORMATS)
@given(data=st.data())
def test_name_and_arguments_have_exactly_the_tokens_that_wrote_them(
    raw: str, data: st.DataObject
) -> None:
    whole = raw.encode()
    parts = cut_at(whole, data.draw(st.lists(st.integers(0, len(whole)), max_size=40)))
    [tool] = tool_fields(tokens_of(parts), [("weather", ARGUMENTS)])

    def place(text: str) -> list[int]:
        start = whole.rindex(text.encode())
        return written_by(parts, start, start + len(text.encode()))

    assert (tool.unavailable, tool.name) == (None, "weather")
    assert tool.chosen is not None
    start = whole.index(b"weather")
    assert written_by(parts, start, start + 7) == list(tool.chosen.tokens)
    assert tool.arguments["$"].value == ARGUMENTS
    assert place("1.5") == list(tool.arguments["$.options.units[1]"].tokens)
    assert place("3") == list(tool.arguments["$.days"].tokens)
    units = tool.arguments["$.options.units"]
    assert (units.value[1:], tool.arguments["$.days"].value) == ([1.5, None, True], 3)
    assert list(tool.arguments)[:5] == ["$", "$.city", "$.days", "$.options", "$.options.units"]


def test_the_confidence_of_an_argument_is_that_of_its_tokens() -> None:
    rows = [
        ('{"name":"', -0.1),
        ("add", -0.3),
        ('","arguments":{"a":', -0.1),
        ("1", -0.7),
        ("}}", 0),
    ]
    [tool] = tool_fields(told(*rows), [("add", {"a": 1})])

    assert tool.chosen is not None
    assert (math.exp(-0.3), math.exp(-0.7)) == (tool.chosen.lowest, tool.arguments["$.a"].lowest)


def test_equal_arguments_are_told_apart_by_name_and_then_by_order() -> None:
    calls = [("b", {"x": 1}), ("a", {"x": 1}), ("a", {"x": 1})]
    raw = '[{"name":"a","arguments":{"x":1}},{"name":"a","arguments":{"x":1}},'
    raw += '{"name":"b","arguments":{"x":1}}]'
    tools = tool_fields(tokens_of([bytes([byte]) for byte in raw.encode()]), calls)
    starts = [tool.arguments["$"].span[0] for tool in tools]

    assert [raw.rindex('{"x"'), raw.index('{"x"'), raw.index('{"x"', 30)] == starts


def test_empty_arguments_need_the_name_beside_them() -> None:
    assert tool_fields(told(("<tool>{}", -0.1)), [("now", {})])[0].unavailable
    [tool] = tool_fields(told(("[TOOL_CALLS]now", -0.2), ("{}", -0.1)), [("now", {})])
    assert (None, math.exp(-0.1)) == (tool.unavailable, tool.arguments["$"].lowest)


def test_a_longer_name_is_not_the_name() -> None:
    [tool] = tool_fields(told(('[TOOL_CALLS]weather_now{"a":1}', -0.1)), [("weather", {"a": 1})])

    assert (tool.unavailable, tool.chosen) == (None, None)


def test_a_name_that_is_not_there_has_no_confidence() -> None:
    path = PAYLOADS / "observed_openai_compat_tools_with_logprobs_stream.json"
    message = json.loads(path.read_text())["events"][-1]["generations"][0][0]
    tokens = read_tokens(message["generation_info"]["logprobs"]) or ()
    [call] = message["message"]["tool_calls"]
    [tool] = tool_fields(tokens, [(call["name"], call["args"])])

    assert (tool.name, tool.chosen, tool.unavailable) == ("add", None, None)
    assert {field.path: (field.value, list(field.tokens)) for field in tool.arguments.leaves} == {
        "$.a": (1, [2]),
        "$.b": (2, [3]),
    }


@pytest.mark.parametrize(
    "raw",
    ["", "I call weather.", '{"days": 4}', "weather(days=4)", "weather(3)", "weather(days=f(3))",
     "weather(days=)", "weather(**x)", "weather({3: 4})", "weather(days={**x})", "weather(days=-x)",
     "weather(days='\\d')", "weather(days=b'')", "(", "f((" * 500, "weather(days='\x00')",
     "[weather(days=[" + "[" * 300 + "])]"],
)  # fmt: skip
def test_tokens_without_the_call_give_the_reason(raw: str) -> None:
    [tool] = tool_fields(told((raw, -0.1)), [("weather", {"days": 3})])

    assert tool.unavailable == "provider_omits_tool_logprobs"
    assert not tool.arguments


def test_tokens_in_a_byte_alphabet_are_read_too() -> None:
    rows = [('{"name":"f","arguments":{"s":"', -0.1), ("aĠb", -0.4), ('"}}', -0.1)]
    [tool] = tool_fields(told(*rows), [("f", {"s": "a b"})])

    assert math.exp(-0.4) == tool.arguments["$.s"].lowest


def test_python_strings_lose_their_quotes_but_for_empty_and_triple_ones() -> None:
    raw = """f(a='x', b='', c='''y''', d=-1)"""
    tokens = tokens_of([bytes([byte]) for byte in raw.encode()])
    [tool] = tool_fields(tokens, [("f", {"a": "x", "b": "", "c": "y", "d": -1})])
    texts = {
        field.path: "".join(tokens[at].text for at in field.tokens)
        for field in tool.arguments.leaves
    }

    assert texts == {"$.a": "x", "$.b": "''", "$.c": "'''y'''", "$.d": "-1"}


def test_labels_among_the_arguments() -> None:
    rows = [('{"name":"f","arguments":{"up":', -0.1), (" true", -0.2), ("}}", -0.1)]
    [tool] = tool_fields(told(*rows), [("f", {"up": True})], labels={"up": labels_from(bool)})

    assert ("true", pytest.approx(math.exp(-0.2))) == (
        tool.labels["$.up"].chosen,
        tool.labels["$.up"].probability,
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True), (True, 1, False), (1, True, False), (None, None, True), (None, 0, False),
        ([1, {"a": "b"}], (1, {"a": "b"}), True), ([1], [1, 2], False), ({"a": 1}, {"b": 1}, False),
        (math.nan, math.nan, True), (math.nan, 1.0, False), ("1", 1, False), ({}, [], False),
        (False, False, True),
    ],
)  # fmt: skip
def test_equality_is_that_of_json(one: Any, other: Any, expected: object) -> None:
    assert same(one, other) is expected


@given(
    st.lists(st.sampled_from(['{"a":', "1", "}", "f(", "a=1", ")", "[", "]", "\ufffd", "'"])),
    st.lists(st.tuples(st.text(max_size=2), st.dictionaries(st.text(max_size=1), st.integers()))),
)
def test_nothing_raises(texts: list[str], calls: list[tuple[str, dict[str, Any]]]) -> None:
    tools = tool_fields([TokenLogprob(text, -0.1) for text in texts], calls)

    assert [name for name, _ in calls] == [tool.name for tool in tools]
