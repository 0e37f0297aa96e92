"""Ask a real model a few questions, and see how sure it is of every word of its answers.

Without arguments: a small local model, or OpenAI's if OPENAI_API_KEY is set. See `--help`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI
    from openai import OpenAIError
    from pydantic import SecretStr
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.padding import Padding
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text
except ImportError as missing:
    sys.exit(f'{missing}. Install it: pip install "langchain-logprobs[openai,local,cli]"')

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_logprobs import CallReport, LogprobsCallbackHandler, TokenLogprob, with_logprobs
from langchain_logprobs.cli import render, sent
from langchain_logprobs.local import LocalModel, LocalModelUnavailable, local_model
from langchain_logprobs.telemetry import names

OPENAI = "https://api.openai.com/v1"
LOCAL = (
    "No OPENAI_API_KEY and no --base-url: a small model on this machine answers. "
    "Its weights come under the Gemma Terms of Use, ai.google.dev/gemma/terms"
)
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
THRESHOLD = 0.7

# What a right answer has in it. Of sixty such questions, the local model gets 16 of the 21 right
# that it is sure of, and 15 of the other 39. These eight are like that: one is sure and wrong.
QUESTIONS = {
    "Who wrote Pride and Prejudice?": "austen",
    "What is the capital of Burkina Faso?": "ouagadougou",
    "Who wrote Crime and Punishment?": "dosto",
    "What is the capital of Brazil?": "bras",
    "What is the capital of Kazakhstan?": "astana",
    "Who invented the telephone?": "bell",
    "Which country has the most people?": "india",
    "Who was the first person to walk on the Moon?": "armstrong",
}

PROMPT = ChatPromptTemplate(
    [
        ("system", "Trivia quiz with the correct answers."),
        ("human", "Who wrote Hamlet?"),
        ("ai", "William Shakespeare."),
        ("human", "What is the capital of France?"),
        ("ai", "Paris."),
        ("human", "{question}"),
    ]
)


def ask(
    endpoint: LocalModel, console: Console, tracers: TracerProvider, meters: MeterProvider
) -> Sequence[CallReport]:
    """The whole of it: a chain as in any application, and our callback."""
    arrived: list[TokenLogprob] = []
    handler = LogprobsCallbackHandler(
        tracer_provider=tracers,
        meter_provider=meters,
        low_response=THRESHOLD,
        capture_content=True,  # the tokens' texts go into the spans too: off unless asked for
        keep=len(QUESTIONS),
        on_token=lambda token, _: arrived.append(token),
    )
    model = ChatOpenAI(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=SecretStr(endpoint.api_key),
        temperature=0,
        max_completion_tokens=40,
        stop_sequences=list(endpoint.stop),
        timeout=60,
    )
    chain = PROMPT | with_logprobs(model, top_logprobs=5) | StrOutputParser()

    with tracers.get_tracer("quickstart").start_as_current_span("quiz"):
        for number, (question, truth) in enumerate(QUESTIONS.items(), 1):
            console.print(f"\n[bold]{number}  {question}[/]")
            arrived.clear()
            with showing(console, arrived) as refresh:
                for _ in chain.stream({"question": question}, {"callbacks": [handler]}):
                    refresh()
            console.print(indented(outcome(handler.reports[-1], truth)))
    handler.close()
    return handler.reports


# What is shown


@contextmanager
def showing(console: Console, tokens: Sequence[TokenLogprob]) -> Iterator[Callable[[], None]]:
    """Shows the tokens as they arrive; a recording or a pipe gets them once, at the end."""
    if console.record or not console.is_terminal:
        yield lambda: None
        console.print(indented(render.strip(tokens)))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda: live.update(indented(render.strip(tokens)), refresh=True)


def outcome(report: CallReport, truth: str) -> RenderableType:
    """Whether the answer was right, whether the model was sure of it, and the figures."""
    line = Text("  ").join(
        (is_right(report, truth), render.verdict(report), render.figures(report))
    )
    return Group(line, render.doubt(report))


def is_right(report: CallReport, truth: str) -> Text:
    """Right or wrong, in a word and a colour."""
    right = truth in report.text.lower()
    return Text.assemble(("✓ right", "green") if right else ("✗ wrong", "red"))


def indented(renderable: RenderableType) -> Padding:
    """The renderable, under the question's text."""
    return Padding.indent(renderable, 3)


def show_summary(console: Console, reports: Sequence[CallReport]) -> None:
    """All answers in a table, and how many of the sure and of the unsure ones are right."""
    truths = [is_right(*pair) for pair in zip(reports, QUESTIONS.values(), strict=True)]
    rule(console, "How sure, and how right")
    console.print(render.reports_table(reports, {"truth": truths}))
    for name, low in ((f"At {THRESHOLD} or more", False), (f"Under {THRESHOLD}", True)):
        marks = [
            str(mark) for mark, report in zip(truths, reports, strict=True) if report.low is low
        ]
        console.print(f"{name}: {marks.count('✓ right')} of {len(marks)} right.", highlight=False)
    console.print(
        "[dim]A logprob is confidence in a word, not in the truth: a model can be sure and wrong. "
        "Calibrate the threshold on answers you know.[/]"
    )


def show_trace(console: Console, spans: Sequence[ReadableSpan]) -> None:
    """The trace, with the tokens of the calls that were unsure."""
    rule(console, f"The trace: {len(spans)} spans (tokens of the unsure answers shown)")
    console.print(sent.span_tree(spans, expand=is_unsure, width=console.width // 4))


def is_unsure(span: ReadableSpan) -> bool:
    """Whether the span is no model call, or one under the threshold."""
    confidence = (span.attributes or {}).get(names.RESPONSE_CONFIDENCE, 0.0)
    return isinstance(confidence, float) and confidence < THRESHOLD


def rule(console: Console, title: str) -> None:
    """A heading."""
    console.print()
    console.rule(f"[bold]{title}[/]", align="left")


# Where the model is


@contextmanager
def chosen_model(options: argparse.Namespace, console: Console) -> Iterator[LocalModel]:
    """The model asked for; without one, OpenAI's if there is a key, else a local one."""
    key = os.environ.get("OPENAI_API_KEY")
    if options.base_url or key:
        model = options.model or "gpt-4o-mini"
        yield LocalModel(options.base_url or OPENAI, model, key or "none", stop=("\n",))
        return
    # A proxy for the rest of the world is not for this machine.
    variable = "no_proxy" if "no_proxy" in os.environ else "NO_PROXY"
    os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1"]))
    with ExitStack() as stack:
        with progress_bar(console) as progress:
            model = stack.enter_context(local_model(progress=progress))
        console.print(LOCAL, style="dim", highlight=False)
        yield model


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, float | None], None]]:
    """A bar that shows what it is told."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Starting", total=None)
        yield lambda doing, done: progress.update(
            task, description=doing, completed=done or 0, total=None if done is None else 1
        )


# Where the telemetry goes


class Telemetry:
    """OpenTelemetry's own SDK: into memory, and over OTLP where the environment says so."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": "langchain-logprobs-quickstart"})
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader, *self._otlp()], resource=resource)

    def _otlp(self) -> Iterator[PeriodicExportingMetricReader]:
        if not os.environ.get(OTLP):
            return
        try:
            from opentelemetry.exporter.otlp.proto.http import (  # noqa: PLC0415 - an extra
                metric_exporter,
                trace_exporter,
            )
        except ImportError:
            sys.exit(f'{OTLP} is set: pip install "langchain-logprobs[otlp]"')
        self.tracers.add_span_processor(BatchSpanProcessor(trace_exporter.OTLPSpanExporter()))
        yield PeriodicExportingMetricReader(metric_exporter.OTLPMetricExporter())

    def close(self) -> None:
        """Sends what is left."""
        self.tracers.shutdown()
        self.meters.shutdown()


# The command


def main() -> int:
    """Runs it all; gives the exit status."""
    options = arguments()
    console = Console(record=options.save_svg is not None, width=options.width)
    telemetry = Telemetry()
    try:
        with chosen_model(options, console) as endpoint:
            introduce(console, endpoint)
            reports = ask(endpoint, console, telemetry.tracers, telemetry.meters)
    except LocalModelUnavailable as error:
        return failed(console, str(error))
    except OpenAIError as error:
        return failed(console, f"The model at {options.base_url or OPENAI} said: {error}")
    except KeyboardInterrupt:
        return failed(console, "Stopped.")
    show_summary(console, reports)
    save(console, options.save_svg)
    show_trace(console, telemetry.exporter.get_finished_spans())
    rule(console, "The metrics")
    console.print(sent.metrics_table(telemetry.reader.get_metrics_data()))
    save(console, options.save_svg and options.save_svg.with_stem(f"{options.save_svg.stem}-trace"))
    if os.environ.get(OTLP):
        console.print(f"Sending it to {os.environ[OTLP]} as well, over OTLP/HTTP.")
    telemetry.close()
    return 0


def introduce(console: Console, endpoint: LocalModel) -> None:
    """Which model answers, and how to read what follows."""
    console.print(f"[bold]{endpoint.model}[/] at {endpoint.base_url}", highlight=False)
    console.print(render.legend(low_response=THRESHOLD))


def save(console: Console, file: Path | None) -> None:
    """Writes what was printed since the last time as a picture, if asked to."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = console.export_svg(title="make demo")
        # Rich's picture would fetch its fonts from the network; any monospaced one will do.
        file.write_text(re.sub(r"@font-face {.*?}\s*", "", picture, flags=re.DOTALL), "utf-8")


def failed(console: Console, message: str) -> int:
    """Says why it stops; gives the exit status."""
    console.print(message, style="red", markup=False, highlight=False)
    return 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__, epilog=EPILOG
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="any OpenAI-compatible API that gives logprobs"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="its model; of OpenAI's, gpt-4o-mini by default"
    )
    parser.add_argument(
        "--save-svg", metavar="FILE", type=Path, help="save two pictures: FILE.svg, FILE-trace.svg"
    )
    parser.add_argument("--width", metavar="N", type=int, help="columns (default: the terminal's)")
    options = parser.parse_args()
    if options.model and not (options.base_url or os.environ.get("OPENAI_API_KEY")):
        parser.error("--model needs --base-url, or OPENAI_API_KEY for OpenAI's")
    if options.base_url and not options.model:
        parser.error("--base-url needs --model")
    return options


EPILOG = """\
examples:
  quickstart.py                                                   the local model
  OPENAI_API_KEY=... quickstart.py --model gpt-4o                 OpenAI
  quickstart.py --base-url http://localhost:11434/v1 --model llama3.2           Ollama
  quickstart.py --base-url http://localhost:8000/v1 --model Qwen/Qwen3-0.6B     vLLM

environment:
  OPENAI_API_KEY                 sent to the API, whichever it is
  OTEL_EXPORTER_OTLP_ENDPOINT    where traces and metrics are sent too (OTLP over HTTP), such as
                                 http://localhost:4318
  NO_COLOR                       no colours; bars, numbers and underlines remain
"""

if __name__ == "__main__":
    sys.exit(main())
