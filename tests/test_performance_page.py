"""The page of figures shows what was measured, and nothing else."""

from __future__ import annotations

import re

import pytest

from benchmarks import page
from benchmarks.goals import Goal, goals


def test_its_tables_are_those_that_the_measured_figures_make() -> None:
    text = page.PAGE.read_text()

    assert page.rendered(text, page.measured()) == text


def test_it_has_a_place_for_every_table() -> None:
    places = re.findall(r"<!-- figures: ([a-z ]+) -->", page.PAGE.read_text())

    assert sorted(places) == sorted(page.BLOCKS)


def test_a_goal_is_reached_at_its_bound_and_not_when_nothing_was_measured() -> None:
    assert Goal("x", 1.5, 1.5).reached
    assert not Goal("x", 1.5, 1.51).reached
    assert not Goal("x", 1.5, None).reached


@pytest.mark.parametrize("lost", [0, 3])
def test_goals_are_read_off_the_rows_of_who_they_are_about(lost: int) -> None:
    rows = [{"who": "span in callback", "lost": 9}, {"who": "ours", "lost": lost, "evicted": 0}]

    found = {goal.what: goal.reached for goal in goals({"delivery": rows})}
    assert found == {"token spans lost": not lost, "application's spans evicted": True}
