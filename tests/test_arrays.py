"""Long arrays that are put into a span are what the span's own `set_attributes()` makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

from langchain_logprobs.telemetry import arrays
from langchain_logprobs.telemetry.arrays import set_attributes

NUMBERS: list[float | None] = [-0.5] * 40
ATTRIBUTES: list[dict[str, Any]] = [
    {"numbers": NUMBERS},
    {"numbers": [*NUMBERS, None], "text": "a"},
    {"texts": ["a" * 20] * 40, "numbers": NUMBERS, "one": 1},
    {"mixed": [*NUMBERS, "a"], "integers": [1] * 40, "truths": [True] * 40},
    {"short": [0.5], "tuple": (0.5,) * 40},
    {"inherited": type("Kind", (list,), {})(NUMBERS), "odd": [type("Odd", (str,), {})("a")] * 40},
]
LIMITS = [
    SpanLimits(),
    SpanLimits(max_span_attributes=2),
    SpanLimits(max_span_attributes=3),
    SpanLimits(max_span_attributes=0),
    SpanLimits(max_span_attribute_length=5),
]


def held(span: trace.Span) -> list[tuple[str, object]]:
    """The attributes, and how many were dropped."""
    known: Mapping[str, object] = getattr(span, "attributes")  # noqa: B009 - only the SDK's have it
    return [*sorted(known.items()), ("dropped", getattr(span, "dropped_attributes"))]  # noqa: B009


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_they_are_held_as_the_sdk_would_hold_them(
    attributes: dict[str, Any], limits: SpanLimits
) -> None:
    tracer = TracerProvider(span_limits=limits, shutdown_on_exit=False).get_tracer("test")
    ours, theirs = (tracer.start_span("span", attributes={"first": 1}) for _ in range(2))

    set_attributes(ours, attributes)
    theirs.set_attributes(attributes)

    assert held(ours) == held(theirs)


def test_they_really_are_put_there() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("span")

    with patch.object(type(span), "set_attributes") as theirs:
        set_attributes(span, {"numbers": NUMBERS, "one": 1})

    theirs.assert_called_once_with({"one": 1})
    assert held(span) == [("numbers", tuple(NUMBERS)), ("dropped", 0)]


def test_a_span_that_has_ended_is_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("span")
    span.end()

    set_attributes(span, {"numbers": NUMBERS})

    assert held(span) == [("dropped", 0)]
    assert "Setting attribute on ended span" in caplog.text


def test_changing_the_list_changes_nothing() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("span")
    numbers = list(NUMBERS)

    set_attributes(span, {"numbers": numbers})
    numbers.clear()

    assert held(span)[0] == ("numbers", tuple(NUMBERS))


def test_of_a_span_of_another_make_its_own_way_is_taken() -> None:
    set_attributes(trace.INVALID_SPAN, {"numbers": NUMBERS})
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("span")
    arrays._is_known.cache_clear()
    try:
        with patch.object(arrays, "_cleaned", lambda _: {}):  # another SDK
            set_attributes(span, {"numbers": NUMBERS})
    finally:
        arrays._is_known.cache_clear()

    assert held(span)[0] == ("numbers", tuple(NUMBERS))
