"""Reports in a notebook: whole, self-contained, and safe against any text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from stored import a_report

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.cli import render
from langchain_logprobs.core import heat, html
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.testing import ScriptedChatModel, answer, token


class Reader(HTMLParser):
    """What a browser would make of it: elements, their attributes, the text in each token."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def test_a_report_shows_its_confidence_its_tokens_and_what_else_was_weighed() -> None:
    report = a_report(
        token(" Syd", -0.7, {" Syd": -0.7, " Can": -1.2}), token("ney", -0.01, {"ney": -0.01})
    )

    shown = Reader(report._repr_html_())
    tokens = [of for name, of in shown.elements if name == "span" and "title" in of]

    assert "0.70" in shown.shown
    assert [of.get("class") for of in tokens] == ["h4 low", None]
    assert tokens[0]["title"] == "49.7 %   Syd\n30.1 %   Can"
    assert ["least certain" in "".join(shown.shown), "m" in "".join(shown.shown)] == [True, True]


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_stays_text(text: str, other: str) -> None:
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;' + text
    made = TokenLogprob(hostile, -2.0, None, (Candidate(other + hostile, -0.5),))
    report = a_report(made, model=hostile, text=hostile)

    page = report._repr_html_()
    shown = Reader(page)

    names = {name for name, _ in shown.elements}
    assert names <= {"div", "style", "b", "br", "span", "table", "tr", "th", "td", "code"}
    assert not any(key.startswith("on") or key == "src" for _, of in shown.elements for key in of)
    assert html._text(hostile) in page


def test_nothing_comes_from_outside() -> None:
    page = a_report()._repr_html_()

    assert re.findall(r"https?:|url\(|@import|<link|<script", page) == []


def test_without_numbers_it_says_why() -> None:
    handler = LogprobsCallbackHandler(sinks=(), keep=1)
    model = ScriptedChatModel(answers=[answer("Hi", with_logprobs=False)])
    model.invoke("?", config={"callbacks": [handler]})

    report = handler.last

    assert report is not None
    assert "no confidence: not_sent" in report._repr_html_()
    assert "Hi" in report._repr_html_()


def test_a_handler_shows_the_calls_it_keeps_and_how_many_more_there_are() -> None:
    handler = LogprobsCallbackHandler(sinks=(), keep=200)
    model = ScriptedChatModel(answers=[answer(("yes", -0.1)), answer(("no", -2.0))])
    for _ in range(60):
        model.invoke("?", config={"callbacks": [handler]})
        model.invoke("?", config={"callbacks": [handler]})

    page = handler._repr_html_()

    assert page.count("<summary>") == html.MOST_CALLS
    assert "<b>120</b> calls kept" in page
    assert "The last 100 are shown." in page
    assert page.count("▼ unsure") == 100  # in the summary and in the call
    assert page.count("<style>") == 1


def test_a_long_answer_says_how_much_is_left_out() -> None:
    page = a_report(count=html.MOST_TOKENS + 1234)._repr_html_()

    assert "… and 1,234 more tokens" in page
    assert page.count("title=") == html.MOST_TOKENS


def test_the_values_of_a_json_answer_are_listed() -> None:
    handler = LogprobsCallbackHandler(sinks=(), keep=1)
    model = ScriptedChatModel(answers=[answer('{"', "city", '":"', ("Rome", -0.5), '"}')])
    model.invoke("?", config={"callbacks": [handler]})

    shown = Reader(handler.reports[0]._repr_html_())

    assert "$.city" in shown.shown
    assert "'Rome'" in shown.shown


def test_what_was_said_beside_the_answer_is_shown_under_its_name() -> None:
    handler = LogprobsCallbackHandler(sinks=(), keep=1)
    refusal = [token("I", -0.1, channel="refusal"), token(" won't", -1.0, channel="refusal")]
    model = ScriptedChatModel(answers=[answer(*refusal)])
    model.invoke("?", config={"callbacks": [handler]})
    thought = a_report(token("Hm", -0.4, channel="reasoning"), token("Yes", -0.1), text="Yes")

    refused, thinking = (Reader(of._repr_html_()) for of in (handler.reports[0], thought))

    at = refused.shown.index("refusal")
    assert refused.shown[at : at + 3] == ["refusal", "I", " won't"]
    at = thinking.shown.index("reasoning")
    assert thinking.shown[at : at + 2] == ["reasoning", "Hm"]


def test_characters_split_over_tokens_are_whole() -> None:
    page = a_report(token(b"\xf0\x9f", -0.1), token(b"\x98\x80", -0.1), text="😀")._repr_html_()

    assert ">😀</span>" in page


# The scale


def test_the_terminal_and_the_page_have_one_scale() -> None:
    colours = [render.heat_style((of + 0.5) / 10).bgcolor for of in range(9)]

    assert [of.name if of else None for of in colours] == list(heat.LIGHT)


def test_the_scale_has_a_step_for_each_tenth_under_nine() -> None:
    shares = [0.0, 0.05, 0.1, 0.55, 0.899, 0.9, 1.0, None]

    assert [heat.band(of) for of in shares] == [0, 0, 1, 5, 8, None, None, None]


def lightness(colour: str) -> float:
    """In OKLab."""
    red, green, blue = (
        of / 12.92 if of <= 0.04045 else ((of + 0.055) / 1.055) ** 2.4
        for of in (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    )
    long = 0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue
    middle = 0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue
    short = 0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue
    return float(
        0.2104542553 * long ** (1 / 3)
        + 0.793617785 * middle ** (1 / 3)
        - 0.0040720468 * short ** (1 / 3)
    )


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [of / 12.92 if of <= 0.04045 else ((of + 0.055) / 1.055) ** 2.4 for of in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_order_of_the_scales_shows_in_greyscale() -> None:
    light, dark = ([lightness(of) for of in scale] for scale in (heat.LIGHT, heat.DARK))

    assert light == sorted(light)
    assert dark == sorted(dark, reverse=True)
    assert min(abs(a - b) for a, b in pairwise(dark)) > 0.05


def test_text_on_every_step_has_the_contrast_that_reading_takes() -> None:
    pairs = [
        *zip(heat.LIGHT, heat.LIGHT_INK, strict=True),
        *zip(heat.DARK, heat.DARK_INK, strict=True),
    ]
    contrasts = []
    for ground, ink in pairs:
        low, high = sorted((luminance(ground), luminance(ink)))
        contrasts.append((high + 0.05) / (low + 0.05))

    assert min(contrasts) >= 4.5


def test_what_is_invisible_or_turns_the_line_is_made_visible() -> None:
    assert heat.safe("a\tb\n\u202ec\0\u200d\u00a0\ud800é") == "a⇥\tb↵\n�c�\u200d\u00a0�é"
