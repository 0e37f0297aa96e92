"""What reports, spans and metrics look like in a terminal: exact, at a fixed width."""

import io
import math
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import set_span_in_context
from rich.console import Console, RenderableType

from langchain_logprobs.cli import render, sent
from langchain_logprobs.core.model import Completion, ModelCall
from langchain_logprobs.core.report import CallReport, Unavailable, call_report
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob

RUN = UUID(int=1)


def token(text: str, probability: float | None, **others: float) -> TokenLogprob:
    logprob = None if probability is None else math.log(probability)
    candidates = {text: probability or 0.5, **others}
    ranked = sorted(candidates.items(), key=lambda item: -item[1])
    return TokenLogprob(
        text, logprob, None, tuple(Candidate(name, math.log(value)) for name, value in ranked)
    )


def report_of(*tokens: TokenLogprob, unavailable: Unavailable | None = None) -> CallReport:
    text = "".join(each.text for each in tokens)
    call = ModelCall(
        run_id=RUN,
        root_run_id=RUN,
        started_ns=0,
        ended_ns=1,
        completions=(Completion(tokens=tokens, text=text),),
    )
    return call_report(call, unavailable=unavailable)


RIO = (
    token(" Rio", 0.56, **{" Sao": 0.27, " Brasília": 0.01}),
    token(" de", 0.99),
    token(" Jan", 0.42),
    token("eiro", 0.99),
    token(".", 0.95),
)


def printed(
    renderable: RenderableType, *, width: int = 60, color: str | None = None, no_color: bool = False
) -> str:
    """What a console of this width writes, without the blanks at the ends of the lines."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color is not None,
        color_system=color,  # type: ignore[arg-type]
        no_color=no_color,
        legacy_windows=False,
        _environ={},
    )
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_a_strip_has_a_bar_and_a_number_under_each_token() -> None:
    assert printed(render.strip(RIO)) == (
        " Rio de Jan│eiro│.\n ▅▅▅ ██ ▄▄▄ ████ █\n 56  99 42  99   95"
    )


def test_a_strip_wraps_between_tokens() -> None:
    assert printed(render.strip(RIO), width=12) == (
        " Rio de Jan\n ▅▅▅ ██ ▄▄▄\n 56  99 42\n eiro│.\n ████ █\n 99   95"
    )


def test_a_strip_shows_what_cannot_be_seen_and_what_is_not_known() -> None:
    tokens = (
        token(" ", 0.5),
        token("1", 1.0),
        token("\n\n", 0.25),
        token("日本", None),
        token("\x1b", 0.0001),
        TokenLogprob("x", CENSORED),
    )

    assert printed(render.strip(tokens)) == (
        " ␣ │1  │↵↵│日本│�│x\n ▅  █   ▃▃ ···· ▁ ▁\n 50 100 25 ?    0 0"
    )


def test_no_tokens_are_no_lines() -> None:
    assert printed(render.strip(())) == ""


def test_without_colour_low_tokens_are_still_underlined() -> None:
    written = printed(render.strip(RIO), color="truecolor", no_color=True)

    assert written.splitlines()[0] == " Rio de \x1b[4mJan\x1b[0m\x1b[2m│\x1b[0meiro\x1b[2m│\x1b[0m."


def test_with_colour_each_token_is_on_that_of_its_probability() -> None:
    written = printed(render.heat(RIO), color="truecolor")

    assert written == (
        "\x1b[38;2;0;0;0;48;2;230;162;52m Rio\x1b[0m de"
        "\x1b[4;38;2;0;0;0;48;2;229;131;0m Jan\x1b[0meiro."
    )


def test_a_pipe_gets_no_escape_codes() -> None:
    assert printed(render.heat(RIO)) == " Rio de Janeiro."


def test_the_legend_names_every_band() -> None:
    assert printed(render.legend(low_token=0.4, low_response=0.8), width=80) == (
        "Probability in per cent: ▁0 ▂10 ▃20 ▃30 ▄40 ▅50 ▆60 ▇70 ▇80 █90 and up.\n"
        "Underlined: under 40%. Confidence: the geometric mean. ▼ unsure: under 0.80."
    )


def test_the_figures_are_those_of_the_report() -> None:
    assert printed(render.figures(report_of(*RIO)), width=80) == (
        "confidence 0.74 · least log odds -0.3 · entropy 0.40 nat"
    )
    assert printed(render.doubt(report_of(*RIO)), width=80) == "least sure “ Jan” 42%"
    assert printed(render.doubt(report_of(*RIO[:2])), width=80) == (
        "least sure “ Rio” 56%, or “ Sao” 27%, “ Brasília” 1%"
    )


def test_a_call_without_numbers_says_why() -> None:
    report = report_of(unavailable="not_sent")

    assert printed(render.figures(report)) == "no confidence: not_sent"
    assert printed(render.doubt(report)) == "no token has a probability"
    assert printed(render.verdict(report)) == "? not_sent"


def test_a_table_has_a_row_for_every_report() -> None:
    reports = [report_of(*RIO), report_of(token("No", 0.3)), report_of(unavailable="not_requested")]
    table = render.reports_table(reports, {"truth": ["wrong", "right", "?"]})

    assert printed(table, width=90) == (
        "\n"
        " answer           confidence  least sure  log odds  entropy  verdict          truth\n"
        " ──────────────────────────────────────────────────────────────────────────────────\n"
        " Rio de Janeiro.        0.74  “ Jan” 42%      -0.3     0.40  ▲ sure           wrong\n"
        " No                     0.30  “No” 30%        -0.8     0.61  ▼ unsure         right\n"
        "                           -  -                  -        -  ? not_requested  ?\n"
    )


def test_what_a_model_says_is_no_markup() -> None:
    shown = printed(render.reports_table([report_of(token("[red]a[/b]\\[c]", 0.3))]), width=99)

    assert "[red]a[/b]\\[c]  " in shown
    assert "“[red]a[/b]\\[c]” 30%" in shown


# Colours


def oklab(colour: str) -> tuple[float, float, float]:
    """Ottosson's perceptual colour space: distances in it are differences as seen."""

    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def luminance(colour: str) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines define it."""
    r, g, b = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_neighbouring_colours_are_about_equally_far_apart_as_seen() -> None:
    steps = [math.dist(oklab(one), oklab(other)) for one, other in pairwise(render.HEAT)]

    assert steps == pytest.approx([0.0722] * 8, rel=0.15)


def test_a_lower_probability_is_darker_in_greyscale_too() -> None:
    lightness = [oklab(colour)[0] for colour in render.HEAT]

    assert lightness == sorted(lightness)
    assert min(b - a for a, b in pairwise(lightness)) > 0.05


@pytest.mark.parametrize("band", range(9))
def test_text_has_the_contrast_that_wcag_asks_for(band: int) -> None:
    style = render.heat_style((band + 0.5) / 10)
    assert style.color
    assert style.bgcolor
    shades = sorted(luminance(each.name) for each in (style.color, style.bgcolor))

    assert (shades[1] + 0.05) / (shades[0] + 0.05) >= 4.5


# Spans and metrics


@pytest.fixture
def spans() -> tuple[ReadableSpan, ...]:
    """A trace of 2 s: a chain, in it one call of 1.5 s, in that two tokens; and one of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    def span(name: str, parent: object, begin: float, end: float, **attributes: object) -> object:
        context = set_span_in_context(parent) if parent else None  # type: ignore[arg-type]
        started = tracer.start_span(name, context, start_time=int(begin * 1e9))
        started.set_attributes(
            {key.replace("__", "."): value for key, value in attributes.items()}  # type: ignore[misc]
        )
        started.end(int(end * 1e9))
        return started

    prefix = "langchain_logprobs__"
    chain = span("chain", None, 10, 12)
    call = span("chat m", chain, 10.5, 12, **{f"{prefix}response__confidence": 0.46})
    text, probability = f"{prefix}token__text", f"{prefix}token__probability"
    span("token", call, 10.5, 11.5, **{text: " Rio", probability: 0.21})
    span("token", call, 11.5, 11.5, **{f"{prefix}token__index": 1, probability: 0.99})
    span("alone", None, 20, 20.25)
    return exporter.get_finished_spans()


def test_spans_are_shown_as_a_tree_with_times(spans: tuple[ReadableSpan, ...]) -> None:
    assert printed(sent.span_tree(spans, width=16), width=64) == (
        "chain                       2.00 s  ████████████████\n"
        "└─ chat m  confidence 0.46  1.50 s      ████████████\n"
        "   ├─ token “ Rio” 21%      1.00 s      ████████\n"
        "   └─ token #1 99%            0 ms              ▎\n"
        "alone                       250 ms  ████████████████"
    )


def test_token_spans_may_be_counted_instead(spans: tuple[ReadableSpan, ...]) -> None:
    tree = sent.span_tree(spans, width=16, expand=lambda span: span.name != "chat m")

    assert printed(tree, width=64) == (
        "chain                                  2.00 s  ████████████████\n"
        "└─ chat m  confidence 0.46  +2 tokens  1.50 s      ████████████\n"
        "alone                                  250 ms  ████████████████"
    )


def test_a_span_whose_parent_is_elsewhere_is_a_root(spans: tuple[ReadableSpan, ...]) -> None:
    tokens = [span for span in spans if span.name == "token"]

    assert printed(sent.span_tree(tokens, width=8), width=64) == (
        "token “ Rio” 21%  1.00 s  ████████\ntoken #1 99%        0 ms  ▎"
    )


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    histogram = meter.create_histogram(
        "langchain_logprobs.response.surprisal",
        "{nat}",
        explicit_bucket_boundaries_advisory=[0.1, 0.2, 0.5, 1],
    )
    for value in (0.15, 0.18, 0.7):
        histogram.record(value, {"gen_ai.request.model": "m"})
    counter = meter.create_counter("langchain_logprobs.tokens", "{token}")
    counter.add(1234, {"band": "high", "gen_ai.request.model": "m"})
    meter.create_counter("other", "1").add(1)
    yield reader
    provider.shutdown()


def test_metrics_are_shown_with_their_distribution(reader: InMemoryMetricReader) -> None:
    assert printed(sent.metrics_table(reader.get_metrics_data())) == (
        "\n"
        " langchain_logprobs.     count  mean  least  most  spread\n"
        " ────────────────────────────────────────────────────────\n"
        " response.surprisal nat      3  0.34   0.15  0.70  █ ▅\n"
        " tokens band=high        1,234\n"
        " other                       1\n"
    )


def test_no_metrics_are_an_empty_table() -> None:
    assert printed(sent.metrics_table(None)).split() == [
        "langchain_logprobs.",
        *("count", "mean", "least", "most", "spread"),
        "─" * 53,
    ]
