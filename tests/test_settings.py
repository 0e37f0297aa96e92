"""A wrong setting raises where it is given, with the value and the way out."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from enum import Enum
from typing import Any, Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_logprobs import LogprobsCallbackHandler, Settings, SettingsError
from langchain_logprobs.settings import (
    CONTENT,
    SettingsArguments,
    checked_labels,
    checked_thresholds,
    others_table,
    table,
    variable_of,
)
from langchain_logprobs.telemetry.spans import Options

NAMES = [of.name for of in fields(Settings)]
WRONG: list[tuple[str, Any]] = [
    ("token_spans", "some"),
    ("token_spans", "ALL"),
    ("token_spans", None),
    ("token_spans", True),
    ("token_spans", []),
    ("max_token_spans", -1),
    ("max_token_spans", 1.5),
    ("max_token_spans", "10"),
    ("max_token_spans", True),
    ("token_arrays", 1),
    ("token_arrays", "true"),
    ("token_arrays", None),
    ("low_token", -0.1),
    ("low_token", 1.1),
    ("low_token", math.nan),
    ("low_token", "0.5"),
    ("low_token", True),
    ("low_token", None),
    ("low_response", 70),
    ("low_response", math.inf),
    ("capture_content", "yes"),
    ("capture_content", 0),
    ("metric_attributes", "langgraph_node"),
    ("metric_attributes", ["langgraph_node"]),
    ("metric_attributes", (1,)),
    ("metric_attributes", None),
    ("metric_fields", "$.a"),
    ("metric_fields", ("a",)),
    ("metric_fields", (None,)),
    ("keep", -1),
    ("keep", None),
    ("keep", 1.0),
    ("max_open_calls", 0),
    ("max_open_calls", -5),
    ("max_tokens", 0),
    ("max_tokens", 1e5),
    ("max_pending_spans", -1),
    ("idle_timeout", 0),
    ("idle_timeout", -1.0),
    ("idle_timeout", math.nan),
    ("idle_timeout", math.inf),
    ("idle_timeout", "600"),
    ("store", 7),
    ("store", ""),
    ("openinference", "yes"),
    ("raise_errors", None),
]
RIGHT: list[tuple[str, Any]] = [
    ("token_spans", "low"),
    ("max_token_spans", None),
    ("max_token_spans", 0),
    ("low_token", 0),
    ("low_token", 1),
    ("low_response", 0.25),
    ("metric_attributes", ("a", "b")),
    ("metric_fields", ("$.a", "$.b[*].c")),
    ("keep", 5),
    ("max_open_calls", 1),
    ("max_tokens", 1),
    ("max_pending_spans", 0),
    ("idle_timeout", 0.1),
    ("store", "runs.db"),
    ("store", None),
    ("openinference", True),
    ("raise_errors", True),
]
TEXTS: list[tuple[str, str, Any]] = [
    ("token_spans", " Low ", "low"),
    ("max_token_spans", "None", None),
    ("max_token_spans", "12", 12),
    ("token_arrays", "off", False),
    ("token_arrays", "YES", True),
    ("low_token", "0.25", 0.25),
    ("low_response", "1", 1.0),
    ("capture_content", "1", True),
    ("capture_content", "no", False),
    ("metric_attributes", " langgraph_node, thread_id ,,", ("langgraph_node", "thread_id")),
    ("metric_attributes", ",", ()),
    ("metric_fields", "$.a, $.b[*].c,", ("$.a", "$.b[*].c")),
    ("keep", "7", 7),
    ("max_open_calls", "1", 1),
    ("max_tokens", "10", 10),
    ("max_pending_spans", "0", 0),
    ("idle_timeout", "1.5", 1.5),
    ("store", "runs.db", "runs.db"),
    ("store", "None", None),
    ("openinference", "true", True),
    ("raise_errors", "on", True),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
@pytest.mark.parametrize("takes", [Settings, Settings.from_environment, LogprobsCallbackHandler])
def test_a_wrong_value_raises_with_the_name_the_value_and_what_it_takes(
    takes: Any, case: int
) -> None:
    name, value = WRONG[case]

    with pytest.raises(SettingsError) as raised:
        takes(**{name: value})

    message = str(raised.value)
    assert message.startswith(f"{name} is {value!r}, but takes ")
    assert message.endswith(".")
    assert isinstance(raised.value, ValueError)


def test_every_setting_has_a_wrong_value_a_right_one_and_a_text() -> None:
    assert {name for name, _ in WRONG} == set(NAMES)
    assert {name for name, _ in RIGHT} | {"token_arrays", "capture_content"} == set(NAMES)
    assert {name for name, *_ in TEXTS} == set(NAMES)


@pytest.mark.parametrize(("name", "value"), RIGHT, ids=repr)
def test_a_right_value_is_taken_as_it_is(name: str, value: Any) -> None:
    assert getattr(Settings(**{name: value}), name) == value
    assert getattr(Settings.from_environment({}, **{name: value}), name) == value


@pytest.mark.parametrize(("name", "text", "value"), TEXTS, ids=repr)
def test_the_environment_sets_what_is_not_given(name: str, text: str, value: Any) -> None:
    environment = {variable_of(name): text}

    assert getattr(Settings.from_environment(environment), name) == value
    default = getattr(Settings(), name)
    assert getattr(Settings.from_environment(environment, **{name: default}), name) == default


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("token_spans", "some"),
        ("max_token_spans", "many"),
        ("max_token_spans", "-1"),
        ("token_arrays", "maybe"),
        ("low_token", "nan"),
        ("low_token", "half"),
        ("low_response", "7"),
        ("capture_content", "SPAN_ONLY"),
        ("metric_fields", "a,b"),
        ("keep", "1.5"),
        ("max_tokens", "0"),
        ("idle_timeout", "inf"),
        ("raise_errors", "2"),
    ],
)
def test_a_variable_that_cannot_be_read_raises_with_its_name_and_text(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({variable_of(name): text})

    message = str(raised.value)
    assert message.startswith(f"The environment's LANGCHAIN_LOGPROBS_{name.upper()} is {text!r}, ")
    assert " but takes " in message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_is_an_unset_one(name: str, empty: str) -> None:
    assert Settings.from_environment({variable_of(name): empty}) == Settings()


def test_the_process_environment_is_read_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANGCHAIN_LOGPROBS_KEEP", "3")

    assert Settings.from_environment().keep == 3
    assert LogprobsCallbackHandler().settings.keep == 3
    assert LogprobsCallbackHandler(keep=4).settings.keep == 4


def test_a_name_that_is_no_setting_is_a_type_error() -> None:
    unknown: Any = {"max_token": 5}

    with pytest.raises(TypeError, match="max_token"):
        Settings.from_environment({}, **unknown)
    with pytest.raises(TypeError, match="max_token"):
        LogprobsCallbackHandler(**unknown)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().keep = 5  # type: ignore[misc]


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@pytest.mark.parametrize("wrong", [[], ["one"], "", 5, None, object()])
def test_labels_that_are_no_choice_raise_with_the_name_and_the_value(wrong: Any) -> None:
    with pytest.raises(SettingsError) as raised:
        LogprobsCallbackHandler(labels={"mood": wrong})

    assert str(raised.value).startswith(f"labels['mood'] is {wrong!r}, but takes at least two")


@pytest.mark.parametrize("right", [["a", "b"], Mood, Literal["a", "b"], bool])
def test_labels_that_are_a_choice_are_taken_as_they_are(right: Any) -> None:
    labels = {"mood": right}

    assert checked_labels(labels) is labels
    LogprobsCallbackHandler(labels=labels)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "0.5", None, True, math.nan])
def test_thresholds_that_are_no_probability_raise_with_the_name_and_the_value(wrong: Any) -> None:
    with pytest.raises(SettingsError) as raised:
        LogprobsCallbackHandler(thresholds={"$.total": wrong})

    message = f"thresholds['$.total'] is {wrong!r}, but takes a probability, from 0 to 1."
    assert str(raised.value) == message


def test_thresholds_that_are_probabilities_are_taken_as_they_are() -> None:
    limits = {"a": 0, "b": 1, "c": 0.5}

    assert checked_thresholds(limits) is limits


# Whether content may leave the process

ON = ["SPAN_ONLY", "span_and_event", " true "]
OFF = ["", "NO_CONTENT", "EVENT_ONLY", "false", "0", "1", "whatever"]


@pytest.mark.parametrize("text", ON)
def test_opentelemetrys_switch_turns_content_on(text: str) -> None:
    assert Settings.from_environment({CONTENT: text}).capture_content
    assert Settings.from_environment({CONTENT: text}, capture_content=None).capture_content
    assert not Settings.from_environment({CONTENT: text}, capture_content=False).capture_content


@pytest.mark.parametrize("text", OFF)
def test_everything_else_leaves_content_off(text: str) -> None:
    assert not Settings.from_environment({CONTENT: text}).capture_content
    assert Settings.from_environment({CONTENT: text}, capture_content=True).capture_content


def test_our_own_variable_goes_before_opentelemetrys() -> None:
    own = variable_of("capture_content")

    assert not Settings.from_environment({CONTENT: "SPAN_ONLY", own: "false"}).capture_content
    assert Settings.from_environment({CONTENT: "NO_CONTENT", own: "true"}).capture_content
    assert Settings.from_environment({CONTENT: "SPAN_ONLY", own: ""}).capture_content


@pytest.mark.parametrize(
    "forbidding",
    [
        {"OPENINFERENCE_HIDE_OUTPUTS": "true"},
        {"OPENINFERENCE_HIDE_OUTPUTS": " TRUE "},
        {"OPENINFERENCE_HIDE_OUTPUTS": "1"},
        {"TRACELOOP_TRACE_CONTENT": "false"},
        {"TRACELOOP_TRACE_CONTENT": "0"},
        {"TRACELOOP_TRACE_CONTENT": "False"},
    ],
)
def test_other_instrumentations_switches_forbid_content_whoever_asks_for_it(
    forbidding: dict[str, str],
) -> None:
    wanting = {CONTENT: "SPAN_ONLY", variable_of("capture_content"): "true", **forbidding}

    assert not Settings.from_environment(wanting).capture_content
    assert not Settings.from_environment(wanting, capture_content=True).capture_content
    assert Settings.from_environment(wanting, capture_content=True, keep=3).keep == 3


@pytest.mark.parametrize(
    "allowing",
    [
        {"OPENINFERENCE_HIDE_OUTPUTS": "false"},
        {"OPENINFERENCE_HIDE_OUTPUTS": ""},
        {"TRACELOOP_TRACE_CONTENT": "true"},
        {"TRACELOOP_TRACE_CONTENT": ""},
    ],
)
def test_other_instrumentations_switches_never_turn_content_on(allowing: dict[str, str]) -> None:
    assert not Settings.from_environment(allowing).capture_content
    assert Settings.from_environment(allowing, capture_content=True).capture_content


def test_nothing_in_the_environment_means_no_content() -> None:
    assert not Settings.from_environment({}).capture_content
    assert not Settings().capture_content


# One table


def test_settings_arguments_and_table_have_the_same_names() -> None:
    assert list(get_type_hints(SettingsArguments)) == NAMES
    assert [name for name, *_ in table()] == NAMES


def test_the_arguments_have_the_types_of_the_settings() -> None:
    arguments, hints = get_type_hints(SettingsArguments), get_type_hints(Settings)

    differing = {name for name in NAMES if arguments[name] != hints[name]}
    assert differing == {"capture_content"}  # None leaves it to the environment


def test_the_table_says_variable_default_and_meaning() -> None:
    rows = {name: (variable, default, meaning) for name, variable, default, meaning in table()}

    assert rows["max_tokens"] == (
        "LANGCHAIN_LOGPROBS_MAX_TOKENS",
        "200000",
        "Tokens kept of a call; more are counted, not kept.",
    )
    defaults = {name: default for name, (_, default, _) in rows.items()}
    assert defaults["token_spans"] == "all"
    assert defaults["token_arrays"] == "true"
    assert defaults["capture_content"] == "false"
    assert defaults["metric_attributes"] == "(empty)"
    assert defaults["idle_timeout"] == "600.0"
    assert all(meaning.endswith(".") for _, _, meaning in rows.values())


def test_the_variables_of_others_that_are_obeyed_are_told_of() -> None:
    told = dict(others_table())

    assert {CONTENT, "OPENINFERENCE_HIDE_OUTPUTS", "TRACELOOP_TRACE_CONTENT"} <= set(told)
    assert not set(told) & {variable for _, variable, *_ in table()}
    assert all(meaning.endswith(".") for meaning in told.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_default_written_into_the_environment_is_that_default(name: str) -> None:
    shown = {row: default for row, _, default, _ in table()}[name].replace("(empty)", "")

    assert Settings.from_environment({variable_of(name): shown}) == Settings()


def test_the_sinks_options_have_the_settings_defaults() -> None:
    options, settings = Options(), Settings()

    for of in fields(Options):
        assert getattr(options, of.name) == getattr(settings, of.name)


@given(st.dictionaries(st.sampled_from([*map(variable_of, NAMES), CONTENT]), st.text(max_size=6)))
def test_any_environment_gives_sound_settings_or_says_what_is_wrong(
    environment: dict[str, str],
) -> None:
    said = ""
    try:
        Settings.from_environment(environment)
    except SettingsError as error:
        said = str(error)

    assert not said or any(variable in said for variable in environment)
