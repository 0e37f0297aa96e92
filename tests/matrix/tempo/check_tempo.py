"""Against a real Tempo: the example's file is understood, and every TraceQL query finds its spans.

`make tempo` runs this; it needs a `tempo` of version 3 (on the PATH, or named by TEMPO), and is no
part of the ordinary tests. The spans are those of the real handler, sent by OpenTelemetry's own
exporter. What a query must find is worked out from what was sent, beside Tempo, in Python.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import pytest
from langchain_core.output_parsers import StrOutputParser
from matrix.programs import free_port, program, running, wait_for
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from yaml import safe_dump, safe_load

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.telemetry import names
from langchain_logprobs.testing import Answer, ScriptedChatModel, answer

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "observability" / "tempo.yml"
BOARD = json.loads((ROOT / "langchain_logprobs" / "dashboards" / "tokens.json").read_text())
QUERIES = {
    (panel["title"], target["refId"]): target["query"]
    for panel in BOARD["panels"]
    for target in panel.get("targets", ())
}
TOKENS = ("The doubtful tokens", "A")
CALLS = ("The calls it was not sure of", "A")
MEAN, LOWEST = ("Confidence of sampled calls", "A"), ("Confidence of sampled calls", "B")
RATE = ("Doubtful tokens a second", "A")
RANGE = 600
"""Seconds that are asked for."""
EXPLORE = re.findall(r"^{ span.*$", (ROOT / "docs" / "dashboards.md").read_text(), re.MULTILINE)
WHERE = "https://github.com/grafana/tempo/releases"
COMPLETE = 90.0
"""Seconds until a graph shows what was sent: Tempo leaves out the last half minute."""

SURE = answer(("Paris", -0.02, {"Paris": -0.02, "Lyon": -4.0}), (".", -0.01))
UNSURE = answer(("Syd", -1.3, {"Syd": -1.3, "Can": -1.2}), ("ney", -0.4))
LONG = answer(*[(f" word{n}", -0.1 if n % 10 else -1.5) for n in range(1000)])
ASKED = (
    ("quiz", "old-1", SURE),
    ("quiz", "new-1", UNSURE),
    ("other", "old-1", UNSURE),
    ("quiz", "old-1", answer("Well", with_logprobs=False)),
)


@dataclass
class Sent:
    """What applications sent: each span as it was, and the name of its application."""

    endpoint: str
    spans: list[ReadableSpan] = field(default_factory=list)

    def ask(self, service: str, model: str, said: Answer) -> int:
        """One question to a chain of an application; the trace's id."""
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=self.endpoint)))
        seen = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(seen))
        handler = LogprobsCallbackHandler(tracer_provider=provider, capture_content=True)
        chain = ScriptedChatModel(answers=[said], model=model) | StrOutputParser()
        with provider.get_tracer("application").start_as_current_span("request") as span:
            list(chain.stream("", {"callbacks": [handler]}))
        handler.flush()
        provider.shutdown()
        self.spans += seen.get_finished_spans()
        return span.get_span_context().trace_id

    def calls(self, service: str, model: str) -> Iterator[ReadableSpan]:
        """The model calls with a number that both patterns fit whole."""
        for span in self.spans:
            asked = {"service.name": "", names.REQUEST_MODEL: "", **_application(span), **of(span)}
            chosen = re.fullmatch(service, asked["service.name"]) and re.fullmatch(
                model, asked[names.REQUEST_MODEL]
            )
            if chosen and names.RESPONSE_CONFIDENCE in asked:
                yield span

    def doubtful(self, service: str, model: str, below: float) -> Iterator[ReadableSpan]:
        """The tokens of those calls that are less probable than this."""
        parents = {span.context.span_id for span in self.calls(service, model)}
        for span in self.spans:
            in_call = span.parent is not None and span.parent.span_id in parents
            if in_call and of(span)[names.TOKEN_PROBABILITY] < below:
                yield span


@dataclass(frozen=True)
class Tempo:
    """A running one."""

    address: str
    otlp: str

    def get(self, path: str, **query: str) -> Any:
        """What its API answers."""
        with urlopen(f"{self.address}{path}?{urlencode(query)}", timeout=30) as response:
            return json.load(response)

    def search(self, query: str) -> dict[str, dict[str, Any]]:
        """The spans it finds, by id, each with the attributes that were selected."""
        found = self.get("/api/search", q=query, limit="200", spss="50", **_lately())
        return {
            span["spanID"]: {of["key"]: _value(of["value"]) for of in span["attributes"]}
            for trace in found["traces"]
            for spans in trace["spanSets"]
            for span in spans["spans"]
        }

    def lines(self, query: str) -> set[tuple[str, ...]]:
        """The labels of the lines a graph has, of those with a point."""
        asked = {"q": query, "step": "10s", **_lately()}
        series = self.get("/api/metrics/query_range", **asked)["series"]
        return {_labels(line) for line in series if any(of.get("value") for of in line["samples"])}

    def number(self, query: str) -> dict[tuple[str, ...], float]:
        """The same over the whole time, as one number for each line."""
        series = self.get("/api/metrics/query", q=query, **_lately())["series"]
        return {_labels(line): line["value"] for line in series}

    def values(self, tag: str) -> set[str]:
        """What a variable of this tag offers, asked for as Grafana does: its scope first."""
        scopes = self.get("/api/v2/search/tags")["scopes"]
        (scope,) = [of["name"] for of in scopes if tag in of["tags"]]
        path = f"/api/v2/search/tag/{quote(f'{scope}.{tag}')}/values"
        return {of["value"] for of in self.get(path)["tagValues"]}

    def trace(self, trace_id: int) -> list[dict[str, Any]]:
        """Every span of a trace."""
        batches = self.get(f"/api/v2/traces/{format_trace_id(trace_id)}")["trace"]["resourceSpans"]
        return [
            span
            for batch in batches
            for scope in batch["scopeSpans"]
            for span in scope.get("spans", ())
        ]


@contextmanager
def tempo_here(folder: Path, protocol: str) -> Iterator[Tempo]:
    """A Tempo with the example's configuration, but for where it listens and what it writes to."""
    http, otlp = free_port(), free_port()
    config = _configuration(folder, http, {protocol: {"endpoint": f"127.0.0.1:{otlp}"}})
    (folder / "tempo.yml").write_text(safe_dump(config))
    here = Tempo(f"http://127.0.0.1:{http}", f"127.0.0.1:{otlp}")
    command = [program("tempo", WHERE), f"-config.file={folder / 'tempo.yml'}"]
    with running(command, folder / "tempo.log", f"{here.address}/ready"):
        yield here


@pytest.fixture(scope="module")
def tempo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempo]:
    with tempo_here(tmp_path_factory.mktemp("tempo"), "http") as here:
        yield here


@pytest.fixture(scope="module")
def sent(tempo: Tempo) -> Sent:
    applications = Sent(f"http://{tempo.otlp}/v1/traces")
    traces = [applications.ask(*of) for of in ASKED]
    every = '{ resource.service.name =~ "quiz|other" }'
    wait_for(lambda: tempo.search(every), len(applications.spans))
    assert all(map(tempo.trace, traces))
    return applications


def test_the_example_is_a_configuration() -> None:
    done = subprocess.run(
        [program("tempo", WHERE), "-config.verify", f"-config.file={EXAMPLE}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_every_query_of_the_dashboard_is_known_here() -> None:
    assert sorted(QUERIES) == sorted((TOKENS, CALLS, MEAN, LOWEST, RATE))


@pytest.mark.parametrize("service", [".*", "quiz", "quiz|other", "nobody"])
@pytest.mark.parametrize("model", [".*", "old-1"])
@pytest.mark.parametrize("below", ["0.5", "0.7", "1"])
def test_the_doubtful_tokens_are_those_under_the_probability_chosen(
    tempo: Tempo, sent: Sent, service: str, model: str, below: str
) -> None:
    found = tempo.search(_filled(TOKENS, service, model, below))

    expected = {_id(span): span for span in sent.doubtful(service, model, float(below))}
    assert set(found) == set(expected)
    for span_id, attributes in found.items():
        shown = {
            key: of(expected[span_id])[key] for key in attributes if key.startswith(names.SCOPE)
        }
        assert attributes.items() >= shown.items()
        assert shown.keys() >= {names.TOKEN_TEXT, names.TOKEN_PROBABILITY, names.TOKEN_INDEX}


@pytest.mark.parametrize("service", [".*", "quiz", "other"])
@pytest.mark.parametrize("model", [".*", "old-1|new-1", "new-1"])
def test_the_unsure_calls_are_those_under_low_response(
    tempo: Tempo, sent: Sent, service: str, model: str
) -> None:
    found = tempo.search(_filled(CALLS, service, model, "0.5"))

    calls = sent.calls(service, model)
    expected = {_id(span): span for span in calls if of(span)[names.RESPONSE_LOW]}
    assert found.keys() == expected.keys()
    for span_id, attributes in found.items():
        assert (
            attributes.items() <= (of(expected[span_id]) | _application(expected[span_id])).items()
        )
        assert names.RESPONSE_CONFIDENCE in attributes


@pytest.mark.parametrize(("graph", "of_several"), [(MEAN, fmean), (LOWEST, min)])
def test_the_graph_of_confidence_has_its_line_for_each_model(
    tempo: Tempo, sent: Sent, graph: tuple[str, str], of_several: Callable[[list[float]], float]
) -> None:
    query = _filled(graph, ".*", ".*", "0.5")
    lines = wait_for(lambda: tempo.lines(query), 2, COMPLETE)

    expected: dict[str, list[float]] = {}
    for span in sent.calls(".*", ".*"):
        number = of(span)[names.RESPONSE_CONFIDENCE]
        expected.setdefault(of(span)[names.REQUEST_MODEL], []).append(number)
    assert lines == {(model,) for model in expected}
    assert tempo.number(query) == {
        (model,): pytest.approx(of_several(numbers)) for model, numbers in expected.items()
    }


def test_the_graph_of_doubtful_tokens_counts_each_once(tempo: Tempo, sent: Sent) -> None:
    query = _filled(RATE, "quiz", ".*", "0.7")
    lines = wait_for(lambda: tempo.lines(query), 1, COMPLETE)

    tokens = len(list(sent.doubtful("quiz", ".*", 0.7)))
    assert lines == {("content",)}
    assert tempo.number(query) == {("content",): pytest.approx(tokens / RANGE)}


@pytest.mark.parametrize(
    ("variable", "offered"), [("service", {"quiz", "other"}), ("model", {"old-1", "new-1"})]
)
def test_every_variable_has_values_to_choose_from(
    tempo: Tempo, sent: Sent, variable: str, offered: set[str]
) -> None:
    (chosen,) = [of for of in BOARD["templating"]["list"] if of["name"] == variable]
    assert sent.spans

    assert tempo.values(chosen["query"]["label"]) == offered


@pytest.mark.parametrize("query", EXPLORE)
def test_the_queries_of_the_documentation_find_something(
    tempo: Tempo, sent: Sent, query: str
) -> None:
    assert sent.spans

    assert tempo.search(query)


def test_a_long_answer_arrives_whole(tempo: Tempo, sent: Sent) -> None:
    before = len(sent.spans)
    trace_id = sent.ask("novel", "old-1", LONG)
    made = {_id(span): span for span in sent.spans[before:]}

    spans = wait_for(lambda: tempo.trace(trace_id), len(made))

    assert len(spans) == 1000 + 2
    (call,) = [span for span in spans if span["name"] == "chat old-1"]
    arrays = {attribute["key"]: attribute["value"] for attribute in call["attributes"]}
    for name in (names.TOKENS_LOGPROBS, names.TOKENS_TEXTS):
        assert len(arrays[name]["arrayValue"]["values"]) == 1000


def of(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


def _application(span: ReadableSpan) -> dict[str, str]:
    return {"service.name": str(span.resource.attributes["service.name"])}


def _id(span: ReadableSpan) -> str:
    return format_span_id(span.context.span_id)


def _filled(asked: tuple[str, str], service: str, model: str, below: str) -> str:
    """A query as Grafana sends it: what is chosen of several is joined by `|`."""
    query = QUERIES[asked]
    for variable, value in {"$service": service, "$model": model, "$below": below}.items():
        query = query.replace(variable, value)
    return query


def _value(typed: dict[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    return int(value) if kind == "intValue" else value


def _labels(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_value(label["value"]) for label in line["labels"])


def _lately() -> dict[str, str]:
    now = int(time.time())
    return {"start": str(now - RANGE), "end": str(now)}


def _configuration(folder: Path, http: int, protocols: dict[str, Any]) -> dict[str, Any]:
    config = safe_load(EXAMPLE.read_text())
    loopback = {"http_listen_address": "127.0.0.1", "grpc_listen_address": "127.0.0.1"}
    config["server"] |= loopback | {"http_listen_port": http, "grpc_listen_port": free_port()}
    config["distributor"]["receivers"]["otlp"]["protocols"] = protocols
    config["storage"]["trace"] |= {
        "wal": {"path": str(folder / "wal")},
        "local": {"path": str(folder / "blocks")},
    }
    return {
        **config,
        "backend_scheduler": {"local_work_path": str(folder / "work")},
        "live_store": {
            "wal": {"path": str(folder / "live")},
            "shutdown_marker_dir": str(folder / "marker"),
        },
    }
