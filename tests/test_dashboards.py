"""The dashboards and alert rules name what exists, and are what their generator writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from conftest import Observed
from langchain_core.output_parsers import StrOutputParser
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest
from yaml import safe_load

from langchain_logprobs.core.report import Unavailable
from langchain_logprobs.dashboards import FILES, text_of, write_to
from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.metrics import metrics_of
from langchain_logprobs.testing import ScriptedChatModel, answer
from tools.dashboards import confidence, tokens
from tools.dashboards.__main__ import FOLDER, dashboards
from tools.dashboards.panels import COLOURS
from tools.dashboards.promql import WITHOUT_MODEL, label, series

BOARDS = {name: json.loads(text_of(name)) for name in FILES if name.endswith(".json")}
RULES = text_of("alerts.yml")
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",)}
SERIES = {series(of) + end for of in names.INSTRUMENTS for end in ENDINGS[of.kind]}
ATTRIBUTES = {
    of
    for name, of in vars(names).items()
    if name.isupper() and isinstance(of, str) and of.startswith(("langchain_logprobs.", "gen_ai."))
}
LABELS = {
    "le",
    "job",
    *(label(of) for name, of in vars(names).items() if name.startswith("METRIC_")),
    *(label(of) for of in (names.REQUEST_MODEL, names.RESPONSE_MODEL)),
}


def queries(board: dict[str, Any]) -> list[str]:
    """Everything a dashboard asks its source."""
    return [
        target.get("expr") or target["query"]
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ] + [of["expr"] for of in board.get("annotations", {}).get("list", ())]


def expressions() -> list[str]:
    (group,) = safe_load(RULES)["groups"]
    return [rule["expr"] for rule in group["rules"]]


def test_the_committed_files_are_what_the_generator_writes() -> None:
    for name, text in dashboards().items():
        assert (FOLDER / name).read_text() == text, "run: python -m tools.dashboards"


def test_every_metric_they_ask_for_exists_and_every_metric_is_shown() -> None:
    asked = [*queries(BOARDS["confidence.json"]), *expressions()]
    named = set(re.findall(r"(?<!:)\blangchain_logprobs_\w+", " ".join(asked)))

    assert named <= SERIES
    shown = " ".join(queries(BOARDS["confidence.json"]))
    assert [of.name for of in names.INSTRUMENTS if series(of) not in shown] == []


def test_every_label_they_ask_for_exists() -> None:
    asked = " ".join([*queries(BOARDS["confidence.json"]), *expressions()])

    matched = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", asked))
    grouped = {
        of.strip() for listed in re.findall(r"by \(([^)]*)\)", asked) for of in listed.split(",")
    }
    assert matched | grouped <= LABELS


@pytest.mark.parametrize(
    ("of", "values"),
    [
        (names.METRIC_CONFIDENCE, {"ok", "low", "unavailable"}),
        (names.METRIC_REASON, set(get_args(Unavailable))),
        (names.METRIC_RESULT, set(COLOURS)),
    ],
)
def test_every_value_of_a_label_they_ask_for_exists(of: str, values: set[str]) -> None:
    asked = " ".join([*queries(BOARDS["confidence.json"]), *expressions()])

    named = re.findall(rf'\b{of}\s*(?:=~|!=|!~|=)\s*"([^"]*)"', asked)

    assert named
    assert {value for listed in named for value in listed.split("|")} <= values


def test_every_record_an_alert_reads_is_recorded() -> None:
    (group,) = safe_load(RULES)["groups"]
    recorded = [rule["record"] for rule in group["rules"] if "record" in rule]

    read = set(re.findall(r"job:\w+:\w+", " ".join(expressions())))

    assert read == set(recorded)
    assert len(recorded) == len(set(recorded))


def test_every_attribute_traceql_asks_for_exists() -> None:
    asked = " ".join(queries(BOARDS["tokens.json"]))

    named = set(re.findall(r"\bspan\.([\w.]+)", asked))

    assert named <= ATTRIBUTES


def test_prometheus_has_the_names_that_its_exporter_writes() -> None:
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader])
    metrics = metrics_of(provider)
    for of in names.INSTRUMENTS:
        if of.kind == "histogram":
            metrics._histograms[of].record(0.5)
        else:
            metrics._counters[of].add(1)

    written = set(
        re.findall(r"^(langchain_logprobs_\w+)", generate_latest(REGISTRY).decode(), re.MULTILINE)
    )
    provider.shutdown()

    assert written == SERIES


def test_an_exemplar_leads_from_a_number_to_the_call_it_is_of(observed: Observed) -> None:
    handler = observed.handler()
    chain = ScriptedChatModel(answers=[answer(("a", -0.5))]) | StrOutputParser()
    with observed.tracer.start_as_current_span("request"):
        chain.invoke("", {"callbacks": [handler]})

    (call,) = observed.spans("chat")
    points = {
        metric.name: point
        for resource in observed.reader.get_metrics_data().resource_metrics  # type: ignore[union-attr]
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    (exemplar,) = points[names.UNCERTAINTY.name].exemplars
    assert (exemplar.trace_id, exemplar.span_id) == (call.context.trace_id, call.context.span_id)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_imported_anywhere(name: str) -> None:
    board = BOARDS[name]

    sources = {
        of["datasource"]["uid"]
        for of in (*board["panels"], *board["templating"]["list"])
        if "datasource" in of
    }
    assert sources == {"${datasource}"}
    (first, *_) = board["templating"]["list"]
    assert (first["type"], first["name"]) == ("datasource", "datasource")
    assert {"model"} <= {of["name"] for of in board["templating"]["list"]}
    assert board["uid"] in {confidence.UID, tokens.UID}
    assert "id" not in board


def test_every_query_is_narrowed_to_the_chosen_application_and_model() -> None:
    without_model = tuple(map(series, WITHOUT_MODEL))
    for query in queries(BOARDS["confidence.json"]):
        for name, chosen in re.findall(r"(langchain_logprobs_\w+)(\{[^}]*\})?", query):
            assert 'job=~"$job"' in chosen
            assert name.startswith(without_model) or 'gen_ai_request_model=~"$model"' in chosen


def test_the_files_can_be_written_where_they_are_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "langchain_logprobs.dashboards"]

    done = subprocess.run(
        [*command, str(tmp_path / "grafana")], capture_output=True, text=True, check=True
    )

    written = [Path(line) for line in done.stdout.splitlines()]
    assert written == [tmp_path / "grafana" / name for name in FILES]
    assert [path.read_text() for path in written] == [text_of(name) for name in FILES]
    assert write_to(tmp_path / "grafana") == written
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
