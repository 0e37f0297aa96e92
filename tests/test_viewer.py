"""The page in a real browser: every view, hostile text, narrow windows; and who may ask."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server
from typing import Any
from uuid import uuid4

import pytest
from conftest import PATIENCE
from graphs import EXPECTED, a_graph
from langchain_core.runnables import RunnableLambda
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from stored import SECOND, a_report

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.core import heat
from langchain_logprobs.core.model import Completion
from langchain_logprobs.core.report import call_report
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob
from langchain_logprobs.store import Store
from langchain_logprobs.testing import ScriptedChatModel, answer, token
from langchain_logprobs.viewer.answers import uncertain_windows
from langchain_logprobs.viewer.app import POLL_SECONDS
from langchain_logprobs.viewer.server import PortTakenError, serving

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e{{7*7}}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("The viewer's tests need Chromium. On Debian and Ubuntu: apt install chromium")
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        # Chromium's sandbox does not run as root, which CI often is; these pages are our own.
        sandboxed = hasattr(os, "getuid") and os.getuid() != 0
        browser = playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=sandboxed, timeout=PATIENCE * 1000
        )
        yield browser
        browser.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


Open = Callable[..., Page]


@pytest.fixture
def view(browser: Browser, store: Store, path: Path) -> Iterator[Open]:
    """Opens the page on the store; in the end, nothing may have been said on the console."""
    said: list[str] = []
    contexts = []
    with serving(path) as server:

        def show(query: str = "", **options: Any) -> Page:
            store.flush()
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            contexts.append(context)
            context.set_default_timeout(PATIENCE * 1000)
            page = context.new_page()
            page.on("console", lambda of: said.append(f"{of.type}: {of.text}"))
            page.on("pageerror", lambda of: said.append(str(of)))
            page.goto(server.url + query)
            page.wait_for_selector("html[data-ready]")
            return page

        yield show
        for context in contexts:
            context.close()
    assert said == []


def sydney(**others: Any) -> Any:
    return a_report(
        token("Syd", -0.9, {"Syd": -0.9, "Can": -1.1, "Mel": -2.5}),
        token("ney", -0.01, {"ney": -0.01}),
        token(" is", -0.05, {" is": -0.05}),
        token(" it", -1.6, {" it": -1.6, " not": -0.4}),
        **others,
    )


# The list


def test_the_list_shows_every_run_newest_first(view: Open, store: Store) -> None:
    for index in range(3):
        store(a_report(model=f"m{index}", logprob=-0.2 * (index + 1), text=f"Answer {index}"))

    page = view()

    expect(page.locator(".list .answer")).to_have_text(["Answer 2", "Answer 1", "Answer 0"])
    expect(page.locator(".list .number")).to_have_text(["0.55", "0.67", "0.82"])
    expect(page.locator(".list .mark")).to_have_text(["▼", "▼", "▲"])
    expect(page.locator(".count-line")).to_contain_text("3 runs")


def test_filters_stand_in_the_address_and_come_back_from_it(view: Open, store: Store) -> None:
    store(a_report(model="big", text="A sure one"))
    store(a_report(model="small", logprob=-2, text="An unsure one"))

    page = view()
    page.get_by_label("Model").select_option("small")
    expect(page.locator(".list .answer")).to_have_text(["An unsure one"])
    page.get_by_label("unsure only").check()
    page.get_by_label("Order").select_option("least")
    page.wait_for_function("location.search.includes('sort=least')")

    query = page.evaluate("location.search")
    assert sorted(query[1:].split("&")) == ["low=1", "model=small", "sort=least"]
    again = view(query)
    expect(again.locator(".list .answer")).to_have_text(["An unsure one"])
    expect(again.get_by_label("Model")).to_have_value("small")
    again.get_by_text("clear").click()
    expect(again.locator(".list .answer")).to_have_count(2)
    again.go_back()
    expect(again.locator(".list .answer")).to_have_count(1)


def test_text_and_threshold_filter_as_well(view: Open, store: Store) -> None:
    store(a_report(logprob=-0.01, text="Lisbon"))
    store(a_report(logprob=-1.0, text="Porto"))

    page = view()
    page.get_by_label("Text").fill("LISB")
    page.get_by_label("Text").press("Enter")
    expect(page.locator(".list .answer")).to_have_text(["Lisbon"])
    page = view("?under=0.5")
    expect(page.locator(".list .answer")).to_have_text(["Porto"])


def test_new_runs_appear_while_the_application_runs(view: Open, store: Store) -> None:
    store(a_report(text="The first"))
    page = view()
    expect(page.locator(".list .answer")).to_have_text(["The first"])

    store(a_report(text="The second"))

    expect(page.locator(".list .answer")).to_have_text(["The second", "The first"])
    expect(page.locator("#live")).to_have_text("● live")


def test_who_has_scrolled_is_told_of_new_runs_and_not_moved(view: Open, store: Store) -> None:
    for index in range(200):
        store(a_report(text=f"Answer {index}"))
    page = view()
    page.locator(".list").evaluate("of => of.scrollTop = 1000")

    store(a_report(text="The newest"))

    expect(page.locator(".fresh")).to_have_text("1 new: show")
    assert page.locator(".list").evaluate("of => of.scrollTop") == 1000
    page.locator(".fresh").click()
    page.locator(".list").evaluate("of => of.scrollTop = 0")
    expect(page.locator(".list .answer").first).to_have_text("The newest")


def test_an_empty_store_says_how_to_fill_it(view: Open) -> None:
    expect(view().locator(".empty")).to_contain_text("langchain-logprobs demo")


def test_runs_without_numbers_say_why(view: Open, store: Store) -> None:
    report = replace(a_report(count=0, text="Hi"), unavailable="not_sent")
    store(report)

    page = view()
    expect(page.locator(".list .confidence")).to_have_text("not_sent")
    page.locator(".list a").click()
    expect(page.locator(".note")).to_contain_text("sent none")
    expect(page.locator(".heat")).to_have_text("Hi")


def test_a_hundred_thousand_runs_list_at_once_and_to_their_end(
    view: Open, store: Store, path: Path
) -> None:
    import sqlite3  # noqa: PLC0415 - only here

    store(a_report(text="Answer"))
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = [of[1] for of in connection.execute("PRAGMA table_info(calls)")][2:]
        connection.execute(
            f"INSERT INTO calls (run_id, {', '.join(columns)}) "
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) "
            f"SELECT 'copy-' || i, {', '.join(columns)} FROM n, calls WHERE seq = 1"
        )

    def to_its_end() -> float:
        """Opens the page and goes to the last run; how many seconds the latter takes."""
        page = view()
        expect(page.locator(".count-line")).to_contain_text("100,000 runs")
        assert page.locator(".list .row").count() < 150
        began = time.monotonic()
        page.locator(".list").evaluate("of => of.scrollTop = of.scrollHeight")
        expect(page.locator("[aria-posinset='100000']")).to_be_visible()
        seconds = time.monotonic() - began
        assert page.locator("[aria-posinset='100000']").get_attribute("href") is not None
        return seconds

    assert any(to_its_end() < 10 for _ in range(5))  # a busy machine is late now and then


def test_what_was_read_stays_when_the_list_is_read_anew_meanwhile(view: Open, store: Store) -> None:
    for index in range(450):
        store(a_report(text=f"Answer {index}"))
    page = view()
    expect(page.locator(".count-line")).to_contain_text("450 runs")

    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile("api/runs.*offset=0"), hold)
    store(a_report(text="a later one"))
    store.flush()
    ends = time.monotonic() + PATIENCE
    while not held and time.monotonic() < ends:
        page.wait_for_timeout(50)
    page.locator(".list").evaluate("of => of.scrollTop = of.scrollHeight")
    expect(page.locator("[aria-posinset='450']")).to_contain_text("Answer 0")
    [first] = held
    first.continue_()

    expect(page.locator(".count-line")).to_contain_text("451 runs")
    expect(page.locator("[aria-posinset='450']")).to_contain_text("Answer 1")
    expect(page.locator(".list .waiting")).to_have_count(0)


def test_the_first_run_of_an_empty_store_appears_by_itself(view: Open, store: Store) -> None:
    page = view()
    expect(page.locator(".empty")).to_contain_text("No runs here yet")

    store(a_report(text="the first one"))
    store.flush()

    expect(page.locator(".list .answer")).to_have_text("the first one")


def test_a_viewer_that_has_stopped_says_so_and_is_read_again_when_it_is_back(
    browser: Browser, store: Store, path: Path
) -> None:
    for index in range(450):
        store(a_report(text=f"Answer {index}"))
    store.flush()
    with serving(path) as server, closing(browser.new_context()) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.goto(server.url)
        expect(page.locator(".count-line")).to_contain_text("450 runs")

        page.route("**/api/runs?**", lambda route: route.abort())
        page.locator(".list").evaluate("of => of.scrollTop = of.scrollHeight")
        expect(page.locator("#problem")).to_contain_text("The viewer has stopped")
        expect(page.locator(".list .waiting").first).to_be_visible()
        page.unroute("**/api/runs?**")

        expect(page.locator("[aria-posinset='450']")).to_contain_text("Answer 0")
        expect(page.locator("#problem")).to_be_hidden()


class Held:
    """Answers that are kept back, until a test lets them through in whatever order it likes."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.page = page
        self.waiting: list[Route] = []
        self.released: set[int] = set()
        self.pattern = re.compile(pattern)
        page.route(self.pattern, self.hold)

    def hold(self, route: Route) -> None:
        self.waiting.append(route)

    def until(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.waiting) < count and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        assert len(self.waiting) >= count

    def release(self, index: int) -> None:
        url = self.waiting[index].request.url
        with self.page.expect_response(url):
            self.waiting[index].continue_()
        self.released.add(index)

    def end(self) -> None:
        self.page.unroute(self.pattern)
        for index, route in enumerate(self.waiting):
            if index not in self.released:  # asked for since the last was let through
                route.continue_()


def until_told(page: Page, seq: int) -> None:
    """Waits until the viewer has told of the run, and the page has had time to hear of it."""
    page.evaluate(
        """() => {
          new EventSource("api/live").onmessage = ({ data }) => {
            document.body.dataset.told = JSON.parse(data).seq;
          };
        }"""
    )
    expect(page.locator(f"body[data-told='{seq}']")).to_have_count(1)
    page.wait_for_timeout(2 * 1000 * POLL_SECONDS)


def test_of_two_readings_of_the_list_the_later_one_is_shown(view: Open, store: Store) -> None:
    store(a_report(text="one"))
    page = view()
    held = Held(page, "api/runs.*offset=0")

    for index, text in enumerate(["two", "three"]):
        store(a_report(text=text))
        store.flush()
        held.until(index + 1)
    held.release(1)
    expect(page.locator(".list .answer")).to_have_text(["three", "two", "one"])
    held.release(0)
    page.wait_for_timeout(100)

    expect(page.locator(".list .answer")).to_have_text(["three", "two", "one"])


def test_a_run_that_ends_while_the_list_is_on_its_way_is_in_it(view: Open, store: Store) -> None:
    report = a_report(text="one")
    store(report)
    page = view(f"?run={report.call.run_id}")
    held = Held(page, "api/runs.*offset=0")
    page.get_by_text("← all runs").click()
    held.until(1)

    store(a_report(text="two"))
    until_told(page, 2)
    held.release(0)
    held.end()

    expect(page.locator(".list .answer")).to_have_text(["two", "one"])


def test_going_quickly_from_run_to_run_ends_at_the_last(view: Open, store: Store) -> None:
    reports = [a_report(text=f"Answer {index}") for index in range(3)]
    for report in reports:
        store(report)
    page = view()
    held = Held(page, "api/runs/")

    for index in (0, 1, 2):
        page.locator(".list a").nth(index).click()
        held.until(index + 1)
    for index in (2, 0, 1):
        held.release(index)
    page.wait_for_timeout(100)

    expect(page.locator(".heading")).to_contain_text(str(reports[0].call.run_id))
    held.end()
    page.go_back()
    expect(page.locator(".heading")).to_contain_text(str(reports[1].call.run_id))


def test_whoever_comes_back_finds_the_list_as_it_was_left(view: Open, store: Store) -> None:
    for index in range(450):
        store(a_report(text=f"Answer {index}"))
    page = view()
    page.locator(".list").evaluate("of => of.scrollTop = 10000")
    row = page.locator("[aria-posinset='290']")
    expect(row).to_contain_text("Answer 160")
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".heat")).to_be_visible()
    store(a_report(text="a later one"))
    store.flush()

    page.go_back()

    expect(row).to_be_focused()
    expect(row).to_contain_text("Answer 160")
    assert page.locator(".list").evaluate("of => of.scrollTop") == 10000
    expect(page.locator(".fresh")).to_have_text("1 new: show")
    page.locator(".fresh").click()
    expect(page.locator(".list .answer").first).to_have_text("a later one")
    assert page.locator(".list").evaluate("of => of.scrollTop") == 0
    page.locator(".list").evaluate("of => of.scrollTop = 10000")
    page.locator("#home").click()  # from the same address: to the list anew
    expect(page.locator(".list .answer").first).to_have_text("a later one")


def test_filters_keep_the_focus_and_what_is_being_typed(view: Open, store: Store) -> None:
    store(a_report(model="a", text="Lisbon"))
    store(a_report(model="b", text="Porto"))
    page = view()
    model = page.get_by_label("Model")
    model.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".list .answer")).to_have_text(["Lisbon"])
    page.keyboard.press("ArrowDown")
    expect(page.locator(".list .answer")).to_have_text(["Porto"])
    expect(model).to_be_focused()

    before = page.evaluate("history.length")
    held = Held(page, "api/choices")
    text = page.get_by_label("Text")
    text.fill("por")
    text.press("Enter")  # changes, and submits
    held.until(2)
    text.press_sequentially("to!")
    held.release(0)
    held.release(1)
    held.end()
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
    store(a_report(model="b", text="a later one from Porto"))
    expect(page.locator(".list .answer")).to_have_text(["a later one from Porto", "Porto"])

    expect(text).to_be_focused()
    expect(text).to_have_value("porto!")
    assert page.evaluate("history.length") == before + 1


def test_a_filter_stays_as_it_was_set_whatever_a_former_list_is_told_late(
    view: Open, store: Store
) -> None:
    store(a_report(model="a", text="Lisbon"))
    store(a_report(model="b", text="Porto"))
    page = view()
    later = "Date.now = ((now) => () => now() + 60000)(Date.now.bind(Date)), 0"
    page.evaluate(later)  # so that the chart is due
    held = Held(page, "api/choices")
    store(a_report(model="b", text="Faro"))
    expect(page.locator(".list .answer")).to_have_text(["Faro", "Porto", "Lisbon"])
    held.until(1)

    page.get_by_label("Model").select_option("a")
    held.until(2)
    held.release(1)
    expect(page.locator(".list .answer")).to_have_text(["Lisbon"])
    held.release(0)
    held.end()
    page.wait_for_timeout(100)

    expect(page.get_by_label("Model")).to_have_value("a")


def test_a_filter_that_leaves_nothing_says_so_and_one_the_store_lacks_is_shown(
    view: Open, store: Store
) -> None:
    store(a_report(text="Lisbon"))

    page = view("?model=gone&since=60")

    expect(page.locator(".empty")).to_contain_text("No run is as the filters ask.")
    expect(page.get_by_label("Model")).to_have_value("gone")
    expect(page.get_by_label("Since")).to_have_value("60")
    page.get_by_text("Show all").click()
    expect(page.locator(".list .answer")).to_have_text(["Lisbon"])


def test_a_view_that_failed_is_tried_again_when_told_of_something_new(
    view: Open, store: Store
) -> None:
    report = a_report(text="Lisbon")
    store(report)
    page = view()
    page.route("**/api/runs/**", lambda route: route.fulfill(json={"error": "Not now."}))
    page.locator(".list a").click()
    expect(page.locator("#problem")).to_have_text("Not now.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#problem")).to_have_text("Not now.")
    expect(page.get_by_text("← all runs")).to_be_visible()

    page.unroute("**/api/runs/**")
    store(a_report(text="another"))
    store.flush()

    expect(page.locator(".heat")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_store_that_can_be_read_again_leaves_no_complaint(
    view: Open, store: Store, path: Path
) -> None:
    store(a_report(text="Lisbon"))
    page = view()
    expect(page.locator("#live")).to_have_text("● live")

    path.rename(path.with_name("away.db"))
    expect(page.locator("#problem")).to_contain_text("There is no store")
    path.with_name("away.db").rename(path)

    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator(".list .answer")).to_have_text(["Lisbon"])


def test_a_viewer_started_anew_on_its_port_has_another_address_and_says_so(
    browser: Browser, store: Store, path: Path
) -> None:
    store(a_report(text="Lisbon"))
    store.flush()
    with closing(browser.new_context()) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        with serving(path) as server:
            port = int(server.url.split(":")[2].partition("/")[0])
            page.goto(server.url)
            expect(page.locator("#live")).to_have_text("● live")
        with serving(path, port=port):
            expect(page.locator("#problem")).to_contain_text("no longer the viewer's address")
            page.locator(".list a").click()
            expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_tab_passes_the_list_in_one_step(view: Open, store: Store) -> None:
    for index in range(60):
        store(a_report(text=f"Answer {index}"))
    page = view()
    page.get_by_label("unsure only").focus()

    page.keyboard.press("Tab")
    expect(page.locator("[aria-posinset='1']")).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("[aria-posinset='60']")).to_be_focused()
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('.list')") is None


def test_the_list_is_walked_by_keyboard(view: Open, store: Store) -> None:
    for index in range(60):
        store(a_report(text=f"Answer {index}"))
    page = view()
    page.locator(".list a").first.focus()

    for _ in range(45):
        page.keyboard.press("ArrowDown")
    expect(page.locator(".list a:focus .answer")).to_have_text("Answer 14")
    page.keyboard.press("Enter")

    expect(page.locator(".heat")).to_be_visible()


def test_a_run_keeps_the_focus_when_others_come_before_it(view: Open, store: Store) -> None:
    store(a_report(text="the one looked at"))
    page = view()
    page.locator(".list a").first.focus()

    store(a_report(text="a later one"))
    store.flush()

    expect(page.locator(".list a")).to_have_count(2)
    expect(page.locator(".list a:focus .answer")).to_have_text("the one looked at")


def test_the_distribution_over_time_is_drawn_by_model(view: Open, store: Store) -> None:
    now = time.time_ns()
    for index in range(40):
        model, logprob = ("big", -0.1) if index % 2 else ("small", -1.0)
        store(a_report(model=model, logprob=logprob, ended_ns=now - index * 60 * SECOND))

    page = view()

    expect(page.locator(".trend canvas")).to_be_visible()
    expect(page.locator(".u-legend")).to_contain_text("big")
    expect(page.locator(".u-legend")).to_contain_text("small")
    drawn = page.locator(".trend canvas").evaluate(
        "of => new Set(new Uint32Array(of.getContext('2d')"
        ".getImageData(0, 0, of.width, of.height).data.buffer)).size"
    )
    assert drawn > 10
    page.locator(".trend .u-over").hover(position={"x": 4, "y": 40})
    expect(page.locator(".u-series:visible").nth(1)).to_contain_text("0.90 (0.90\N{EN DASH}0.90)")


def test_the_chart_names_the_models_with_the_most_runs_and_outlives_a_failure(
    view: Open, store: Store
) -> None:
    now = time.time_ns()
    for index in range(8):
        for run in range(2 + index):
            store(a_report(model=f"model {index}", ended_ns=now - run * 60 * SECOND))

    page = view()
    named = page.locator(".u-series:visible .u-label")

    expect(page.locator(".trend h2")).to_contain_text("the 6 of 8 with the most runs")
    expect(named).to_have_text(["Time", *(f"model {of}" for of in (7, 6, 5, 4, 3, 2))])
    dashes = page.locator(".key line").evaluate_all(
        "of => of.map(its => its.getAttribute('stroke-dasharray'))"
    )
    assert len(set(dashes)) == 6
    page.route("**/api/trend**", lambda route: route.fulfill(json={"error": "Not now."}))
    page.get_by_label("Theme").select_option("dark")
    expect(named).to_have_count(7)


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (10, ["11-20 06:00:00", "06:00:10", "06:00:20"]),
        (3600, ["11-20 06:00", "07:00", "08:00"]),
        (43200, ["11-20 06:00", "18:00", "11-21 06:00"]),
        (86400, ["2026-11-20", "2026-11-21", "2026-11-22"]),
    ],
)
def test_the_axis_names_a_day_once(
    view: Open, store: Store, apart: int, expected: list[str]
) -> None:
    del store
    page = view(timezone_id="UTC")
    begin = 1_795_154_400  # 2026-11-20 06:00

    named = page.evaluate(
        "async (of) => (await import('./static/dom.js')).ticks(of)",
        [begin + of * apart for of in range(3)],
    )

    assert named == expected


# A run


def open_run(view: Open, report: Any, **options: Any) -> Page:
    return view(f"?run={report.call.run_id}", **options)


def test_the_answer_is_a_heat_map_where_low_is_underlined(view: Open, store: Store) -> None:
    report = sydney()
    store(report)

    page = open_run(view, report)
    tokens = page.locator(".heat span")

    expect(tokens).to_have_text(["Syd", "ney", " is", " it"])
    assert [of.get_attribute("class") for of in tokens.all()] == ["h4 low", None, None, "h2 low"]
    style = tokens.first.evaluate("of => getComputedStyle(of).textDecorationLine")
    colour = tokens.first.evaluate("of => getComputedStyle(of).backgroundColor")
    assert style == "underline"
    assert colour == rgb(heat.LIGHT[4])


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_in_the_dark_the_scale_is_the_dark_one(view: Open, store: Store) -> None:
    report = sydney()
    store(report)

    page = open_run(view, report, color_scheme="dark")
    colour = "of => getComputedStyle(of).backgroundColor"

    assert page.locator(".heat span").first.evaluate(colour) == rgb(heat.DARK[4])
    page.get_by_label("Theme").select_option("light")
    assert page.locator(".heat span").first.evaluate(colour) == rgb(heat.LIGHT[4])
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator(".heat span").first.evaluate(colour) == rgb(heat.LIGHT[4])


def test_hover_shows_what_else_the_model_had_in_mind(view: Open, store: Store) -> None:
    report = sydney()
    store(report)
    page = open_run(view, report)

    page.locator(".heat span").first.hover()

    pop = page.locator("#pop")
    expect(pop).to_be_visible()
    expect(pop.locator("tr")).to_have_text(["▸“Syd”40.7 %", "“Can”33.3 %", "“Mel”8.2 %"])
    expect(pop).to_contain_text("a guess")
    expect(pop).to_contain_text("everything else 17.8 %")
    page.mouse.move(5, 5)
    expect(pop).to_be_hidden()


def test_the_keyboard_does_all_that_the_mouse_does(view: Open, store: Store) -> None:
    report = sydney()
    store(report)
    page = open_run(view, report)
    page.locator(".heat").focus()
    current = page.locator(".heat .at")

    shown = []
    for key in ("ArrowRight", "n", "p", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
        shown.append(current.text_content())

    assert shown == ["ney", " it", "Syd", " it", "Syd", "ney"]
    expect(page.locator("#pop")).to_contain_text("99.0 %")
    page.keyboard.press("Escape")
    expect(page.locator("#pop")).to_be_hidden()


def test_where_text_runs_leftward_the_left_arrow_goes_on(view: Open, store: Store) -> None:
    report = a_report(token("בירת", -0.1), token(" צרפת", -0.1), token(" היא", -0.1))
    store(report)
    page = open_run(view, report)
    page.locator(".heat").focus()
    shown = []
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        shown.append(page.locator(".heat .at").text_content())

    assert shown == [" צרפת", " היא", " צרפת"]


def test_the_strip_marks_uncertain_windows_and_leads_to_the_token(view: Open, store: Store) -> None:
    surely = [TokenLogprob(f" s{of}", -0.01) for of in range(100)]
    unsure = [TokenLogprob(f" u{of}", -2.0) for of in range(40)]
    report = a_report(*surely, *unsure, *surely)
    store(report)

    page = open_run(view, report)
    strip = page.locator("canvas.strip")
    first, last = uncertain_windows(report)[0]

    assert len(uncertain_windows(report)) == 1
    assert first < 100
    assert last > 139
    expect(strip).to_have_attribute(
        "aria-label", f"Probability of each of 240 tokens. Uncertain: tokens {first} to {last}."
    )
    expect(page.locator(".under-strip")).to_contain_text(f"tokens {first}\N{EN DASH}{last}")
    box = strip.bounding_box()
    assert box is not None
    strip.click(position={"x": box["width"] * 120.5 / 240, "y": 20})
    expect(page.locator(".heat .at")).to_have_text(" u20")


def test_a_censored_token_weighs_in_a_window_what_it_weighs_in_the_lowest_window() -> None:
    # Left for it are 2 %: 32 tokens with it are unsure by a geometric mean of 0.88, not of 0.04.
    unlikely = TokenLogprob("b", CENSORED, None, (Candidate("a", math.log(0.98)),))
    report = a_report(*[TokenLogprob("a", -0.01)] * 31, unlikely)

    assert report.confidence.lowest_window == pytest.approx(
        math.exp((31 * -0.01 + math.log(0.02)) / 32)
    )
    assert uncertain_windows(report) == []
    assert uncertain_windows(replace(report, low_response=0.9)) == [[0, 31]]


def test_uncertain_windows_pass_over_tokens_without_a_number() -> None:
    tokens = [TokenLogprob("a", -2.0), TokenLogprob("b", None), TokenLogprob("c", -2.0)]

    assert uncertain_windows(a_report(*tokens)) == [[0, 2]]
    assert uncertain_windows(a_report(logprob=-0.01)) == []
    assert uncertain_windows(a_report(TokenLogprob("b", None))) == []


def test_the_trace_tree_has_every_run_and_leads_to_the_calls(view: Open, store: Store) -> None:
    handler = LogprobsCallbackHandler(sinks=[store], keep=2)
    a_graph().invoke({"question": "?"}, {"callbacks": [handler]})

    page = open_run(view, handler.reports[0])
    tree = page.locator(".tree")

    expect(tree.locator("h2")).to_contain_text("LangGraph 2 model calls")
    expect(tree.locator("li:not(.small) .kind")).to_have_text(
        ["node", "retriever", "tool", "chain", "model", "node", "chain", "chain", "model"]
    )
    expect(tree.locator(".name").get_by_text("ChatPromptTemplate").first).to_be_hidden()
    tree.get_by_label("4 prompts and parsers").check()
    expect(tree.locator(".name").get_by_text("ChatPromptTemplate").first).to_be_visible()
    levels = [int(of.get_attribute("aria-level") or 0) - 1 for of in tree.locator("li").all()]
    assert levels == [depth for depth, _, _ in EXPECTED]
    expect(tree.locator("[aria-current]")).to_have_count(1)
    tree.locator("a").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/*{handler.reports[1].call.run_id}*")
    expect(tree.locator("a").nth(1)).to_have_attribute("aria-current", "true")


def test_the_tree_grows_while_its_root_run_goes_on(view: Open, store: Store) -> None:
    handler = LogprobsCallbackHandler(sinks=[store], keep=2)
    config: Any = {"callbacks": [handler]}
    model = ScriptedChatModel(answers=[answer("a")])
    shown: list[Page] = []

    def watch(_: object) -> str:
        page = open_run(view, handler.reports[0])
        expect(page.locator(".tree")).to_be_hidden()
        shown.append(page)
        return "?"

    (model | RunnableLambda(watch) | model).with_config(run_name="grows").invoke("?", config)

    tree = shown[0].locator(".tree")
    expect(tree.locator("h2")).to_contain_text("grows 2 model calls")
    expect(tree.locator(".kind")).to_have_text(["model", "chain", "model"])


def test_who_reads_in_a_tree_that_grows_stays_where_they_are(view: Open, store: Store) -> None:
    handler = LogprobsCallbackHandler(sinks=[store], keep=90)
    model = ScriptedChatModel(answers=[answer("a")])
    shown: list[Page] = []
    places: list[int] = []

    def watch(_: object) -> str:
        for _ in range(60):
            model.invoke("?")
        page = open_run(view, handler.reports[0])
        page.locator(".tree a").nth(20).focus()
        places.append(page.locator(".tree ol").evaluate("of => of.scrollTop"))
        shown.append(page)
        return "?"

    (RunnableLambda(watch) | model).with_config(run_name="grows").invoke(
        "?", {"callbacks": [handler]}
    )

    [page] = shown
    expect(page.locator(".tree h2")).to_contain_text("grows 61 model calls")
    expect(page.locator(".tree a").nth(20)).to_be_focused()
    assert places[0] > 100
    # Not to the pixel: the height of lines that were never in sight is an estimate.
    now = page.locator(".tree ol").evaluate("of => of.scrollTop")
    assert now == pytest.approx(places[0], abs=5)


def test_a_call_that_runs_alone_asks_no_more_about_its_tree(view: Open, store: Store) -> None:
    report = sydney()
    store(report)
    page = open_run(view, report)
    asked: list[str] = []
    page.on("request", lambda of: asked.append(of.url))

    store(sydney())
    until_told(page, 2)

    assert [of for of in asked if "/runs/" in of] == []


def test_a_deep_tree_shows_the_call_that_is_open(view: Open, store: Store) -> None:
    handler = LogprobsCallbackHandler(sinks=[store], keep=1)
    chain: Any = ScriptedChatModel(answers=[answer("a")])
    for level in range(40):
        chain = RunnableLambda(chain.invoke).with_config(run_name=f"level {level}")
    chain.invoke("?", {"callbacks": [handler]})

    page = open_run(view, handler.reports[0])

    expect(page.locator(".tree [aria-current]")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_hostile_names_of_runs_stay_text_in_the_tree(view: Open, store: Store) -> None:
    handler = LogprobsCallbackHandler(sinks=[store], keep=1)

    def fail(_: object) -> object:
        raise ValueError(HOSTILE)

    step = RunnableLambda(fail).with_config(run_name=HOSTILE)
    chain = (ScriptedChatModel(answers=[answer("a")]) | step).with_config(run_name=HOSTILE)
    with pytest.raises(ValueError, match="img"):
        chain.invoke("?", {"callbacks": [handler]})

    page = open_run(view, handler.reports[0])

    expect(page.locator(".tree .failed")).to_have_text(["error ValueError"])
    expect(page.locator(".tree .failed")).to_be_in_viewport(ratio=1)
    expect(page.locator(".tree li .name").nth(1)).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None
    assert "\u202e" not in page.locator(".tree").inner_text()


def test_of_a_root_run_that_goes_on_the_calls_are_shown_by_node(view: Open, store: Store) -> None:
    root, now = uuid4(), time.time_ns()
    made = [
        a_report(
            model="m",
            logprob=-0.1 - index,
            root=root,
            root_name="my graph",
            metadata={"langgraph_node": node},
            ended_ns=now + index * SECOND,
        )
        for index, node in enumerate(["draft", "check", "answer"])
    ]
    for report in made:
        store(report)

    page = open_run(view, made[1])
    tree = page.locator(".tree")

    expect(tree.locator("h2")).to_contain_text("my graph has not ended yet · 3 model calls")
    expect(tree.locator(".label")).to_have_text(["draft", "check", "answer"])
    expect(tree.locator("[aria-current]")).to_contain_text("check")
    tree.get_by_text("answer").click()
    expect(tree.locator("[aria-current]")).to_contain_text("answer")
    expect(page.locator(".main-figure")).to_contain_text("0.12")
    page.go_back()
    expect(tree.locator("[aria-current]")).to_contain_text("check")


def test_fields_stand_beside_the_json_and_show_their_tokens(view: Open, store: Store) -> None:
    report = a_report(
        *(token(of, logprob) for of, logprob in [('{"', -0.01), ("city", -0.1), ('":"', -0.01)]),
        *(token(of, logprob) for of, logprob in [("Ro", -1.5), ("me", -0.1), ('","', -0.01)]),
        *(token(of, logprob) for of, logprob in [("n", -0.01), ('":', -0.01), ("7}", -0.3)]),
    )
    store(report)

    page = open_run(view, report)
    fields = page.locator(".field")

    expect(fields.locator(".path")).to_have_text(["city", "n"])
    expect(fields.locator(".value")).to_have_text(['"Rome"', "7"])
    expect(fields.locator(".number")).to_have_text(["0.45", "0.74"])
    fields.first.hover()
    expect(page.locator(".of-field")).to_have_text(["Ro", "me"])
    fields.nth(1).focus()
    expect(page.locator(".of-field")).to_have_text(["7}"])


def test_several_answers_and_channels_are_chosen_among(view: Open, store: Store) -> None:
    report = a_report(token("think", -0.5, channel="reasoning"), token("Yes", -0.1), text="Yes")
    second = Completion(tokens=(token("No", -0.2),), text="No")
    call = replace(report.call, completions=(*report.call.completions, second))
    store(call_report(call))

    page = open_run(view, report)
    chooser = page.locator(".chooser button")

    expect(chooser).to_have_text(["answer 1 (1)", "reasoning 1 (1)", "answer 2 (1)"])
    pressed = "of => of.map(of => of.getAttribute('aria-pressed'))"
    assert chooser.evaluate_all(pressed) == ["true", "false", "false"]
    chooser.nth(1).click()
    expect(page.locator(".heat")).to_have_text("think")
    chooser.nth(2).click()
    expect(page.locator(".heat")).to_have_text("No")
    assert chooser.evaluate_all(pressed) == ["false", "false", "true"]


def test_a_refusal_is_named(view: Open, store: Store) -> None:
    report = replace(
        a_report(token("No.", -0.1, channel="refusal"), text=""), unavailable="refusal"
    )
    store(report)

    page = open_run(view, report)

    expect(page.locator(".chooser button")).to_have_text(["refusal (1)"])
    expect(page.locator(".note")).to_contain_text("refused")
    expect(page.locator(".heat")).to_have_text("No.")


def test_text_of_any_kind_is_only_ever_text(view: Open, store: Store) -> None:
    bad = TokenLogprob(
        HOSTILE, -1.0, None, (Candidate(HOSTILE + "2", -0.5), Candidate("\ud800\0", -3.0))
    )
    report = a_report(
        bad,
        token(b"\xf0\x9f", -0.1),
        token(b"\x98\x80", -0.1),
        token("שלום", -0.4),
        token("\n\t", -0.1),
        model=HOSTILE,
        text=HOSTILE,
        root=uuid4(),
        root_name=HOSTILE,
        metadata={"langgraph_node": HOSTILE, "x": {HOSTILE: HOSTILE}},
    )
    store(report)
    store(replace(report, call=replace(report.call, run_id=uuid4())))

    page = view()
    expect(page.locator(".list .answer").first).to_contain_text("<script>")
    page = open_run(view, report)
    page.locator(".heat span").first.hover()
    expect(page.locator("#pop")).to_contain_text("<img src=x")
    for summary in page.locator("summary").all():
        summary.click()

    assert page.evaluate("window.hacked") is None
    assert page.locator("img, .heat script").count() == 0
    assert "\u202e" not in page.locator("body").inner_text()
    assert page.locator(".heat span").all_text_contents()[1:] == ["", "😀", "שלום", "↵\n⇥\t"]


def frame(page: Page) -> float:
    """How many milliseconds a frame takes while the page scrolls down from its top, the median."""
    frames: list[float] = page.evaluate(
        """async () => {
          const times = [];
          scrollTo(0, 0);
          let last = performance.now();
          for (let of = 0; of < 60; of++) {
            scrollBy(0, 400);
            await new Promise(requestAnimationFrame);
            const now = performance.now();
            times.push(now - last);
            last = now;
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    return frames[len(frames) // 2]


def test_ten_thousand_tokens_scroll_smoothly(view: Open, store: Store) -> None:
    tokens = [
        TokenLogprob(f" word{of}", -0.1 - of % 7 / 3, None, (Candidate(f" other{of}", -2.0),))
        for of in range(10_000)
    ]
    report = a_report(*tokens)
    store(report)

    page = open_run(view, report)
    expect(page.locator(".heat span")).to_have_count(10_000)
    # Without a graphics card; a smooth one has 16 ms. A busy machine is late now and then.
    assert any(frame(page) < 50 for _ in range(10))
    page.locator(".heat span").nth(9_990).hover()
    expect(page.locator("#pop")).to_contain_text("token 9990")


@pytest.mark.parametrize("width", [320, 700])
def test_in_a_narrow_window_nothing_is_cut_off_sideways(
    view: Open, store: Store, width: int
) -> None:
    root = uuid4()
    report = a_report(
        *(token(of, -0.3) for of in ('{"', "a", '":"', "b" * 60, '"}')), root=root, model="m" * 80
    )
    store(report)
    store(a_report(root=root, ended_ns=time.time_ns() - 60 * SECOND))
    options = {"viewport": {"width": width, "height": 700}}

    for query in ("", f"?run={report.call.run_id}"):
        page = view(query, **options)
        page.wait_for_selector(".list .row, .heat")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".heat span").nth(3).click()
    box = page.locator("#pop").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_a_run_that_is_not_there_says_so(browser: Browser, store: Store, path: Path) -> None:
    store(a_report())
    store.flush()
    with serving(path) as server, closing(browser.new_context()) as context:
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.goto(f"{server.url}?run=nonsense")

        expect(page.get_by_role("alert")).to_contain_text("There is no run nonsense")


# Who may ask


def get(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {key.lower(): of for key, of in answer.getheaders()}, answer.read()


@pytest.fixture
def served(store: Store, path: Path) -> Iterator[tuple[int, str]]:
    store(a_report())
    store.flush()
    with serving(path) as server:
        port, _, rest = server.url.removeprefix("http://127.0.0.1:").partition("/")
        yield int(port), f"/{rest}"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(served: tuple[int, str], host: str) -> None:
    port, root = served

    assert get(port, f"{root}api/runs", Host=host)[0] == 421


@pytest.mark.parametrize(
    "address", ["/", "/wrong/", "/wrong/api/runs", "/static/app.js", "//", "/%2e"]
)
def test_without_the_secret_there_is_nothing(served: tuple[int, str], address: str) -> None:
    status, _, body = get(served[0], address)

    assert status == 403
    assert b"whole address" in body


def test_it_only_reads(served: tuple[int, str]) -> None:
    port, root = served

    assert {get(port, f"{root}api/runs", of)[0] for of in ("POST", "PUT", "DELETE")} == {405}


def test_every_answer_tells_the_browser_to_load_nothing_from_elsewhere(
    served: tuple[int, str],
) -> None:
    port, root = served
    for path in ("", "api/runs", "static/app.js", "nothing"):
        _, headers, _ = get(port, root + path)

        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in headers


def test_it_listens_on_the_loopback_interface_alone(path: Path, store: Store) -> None:
    del store
    with serving(path) as server:
        assert server.url.startswith("http://127.0.0.1:")


def test_static_files_do_not_lead_out_of_their_folder(served: tuple[int, str]) -> None:
    port, root = served

    assert get(port, f"{root}static/../app.py")[0] == 404
    assert get(port, f"{root}static/%2e%2e/app.py")[0] == 404


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sort=sideways", "is no order"),
        ("under=lots", "takes a number"),
        ("since=-1", "takes a number"),
        ("up_to=nan", "takes a number"),
        ("offset=-1", "takes a whole number"),
    ],
)
def test_a_bad_address_is_told(served: tuple[int, str], query: str, told: str) -> None:
    port, root = served
    status, _, body = get(port, f"{root}api/runs?{query}")

    assert status == 400
    assert told in json.loads(body)["error"]


def test_a_store_that_goes_away_is_told_and_the_server_stays(
    served: tuple[int, str], path: Path
) -> None:
    port, root = served
    path.rename(path.with_name("away.db"))

    status, _, body = get(port, f"{root}api/choices")

    assert status == 404
    assert "There is no store" in json.loads(body)["error"]
    path.with_name("away.db").rename(path)
    assert get(port, f"{root}api/choices")[0] == 200


def test_a_port_in_use_is_told(path: Path, store: Store) -> None:
    del store
    with (
        closing(create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(PortTakenError),
        serving(path, port=taken.getsockname()[1]),
    ):
        pytest.fail("it listens where something else does")


def test_the_server_ends_while_pages_still_listen(
    path: Path, store: Store, browser: Browser
) -> None:
    store(a_report())
    store.flush()
    with closing(browser.new_context()) as context:
        with serving(path) as server:
            context.set_default_timeout(PATIENCE * 1000)
            page = context.new_page()
            page.goto(server.url)
            expect(page.locator("#live")).to_have_text("● live")

        assert server.ended.wait(PATIENCE)
        expect(page.locator("#live")).to_have_text("○ not connected")


def test_whoever_interrupts_it_waits_for_the_server_to_end(
    path: Path, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    store(a_report())
    store.flush()
    served = []

    def interrupted() -> None:
        with serving(path) as server:
            served.append(server)
            threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
            server.wait()

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert served[0].ended.is_set()
    assert capfd.readouterr().err == ""  # it lost its socket while it was still there


def test_ctrl_c_with_a_page_open_ends_in_one_word(
    browser: Browser, store: Store, path: Path
) -> None:
    store(sydney())
    assert store.flush()
    viewer = subprocess.Popen(
        [sys.executable, "-m", "langchain_logprobs.cli", "view", "--no-open", "-s", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert viewer.stdout is not None
    said = [viewer.stdout.readline() for _ in range(3)]
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(said[1].strip())
    expect(page.locator("#live")).to_have_text("● live")
    viewer.send_signal(signal.SIGINT)
    out, err = viewer.communicate(timeout=PATIENCE)

    assert (viewer.returncode, out.strip(), err) == (0, "Stopped.", "")
    expect(page.locator("#live")).to_have_text("○ not connected")
    page.close()
