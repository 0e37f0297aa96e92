"""The example stack without containers: an application's spans and numbers through all of it.

`make stack` runs this. It needs the programs the Compose file has as images, in the same versions
or near: `otelcol`, `tempo` and `prometheus`, on the PATH or named by OTELCOL, TEMPO, PROMETHEUS. It
is no part of the ordinary tests. The files are those of examples/observability; only where each
listens and what it writes to is changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from matrix.programs import free_port, program, running, wait_for
from matrix.tempo.check_tempo import Tempo, tempo_here
from test_dashboards import SERIES
from yaml import safe_dump, safe_load

from langchain_logprobs.telemetry import names

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "observability"
RULES = ROOT / "langchain_logprobs" / "dashboards" / "alerts.yml"
COMPOSE = safe_load((EXAMPLE / "compose.yml").read_text())
CONFIDENCE = json.loads((RULES.parent / "confidence.json").read_text())
VARIABLES = {"$job": "quiz", "$model": ".*", "$window": "10m", "$__rate_interval": "10m"}
WHERE = "see the top of tests/matrix/stack/check_stack.py"
TIMES = 12
"""Questions the application asks."""


@dataclass(frozen=True)
class Stack:
    """Where its parts are, and what the application printed."""

    tempo: Tempo
    prometheus: str
    printed: str

    def asked(self, path: str, **query: str) -> Any:
        """What Prometheus answers."""
        with urlopen(f"{self.prometheus}/api/v1/{path}?{urlencode(query)}", timeout=10) as response:
            return json.load(response)["data"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with (
        tempo_here(folder, "grpc") as tempo,
        _prometheus(folder) as prometheus,
        _collector(folder, tempo, prometheus) as collector,
    ):
        yield Stack(tempo, prometheus, _application(collector))


def test_the_collector_knows_its_file() -> None:
    given = f"--config={EXAMPLE / 'collector.yml'}"

    done = subprocess.run(
        [program("otelcol", WHERE), "validate", given], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_every_trace_arrives_with_its_tokens(stack: Stack) -> None:
    traces = [line.rpartition("trace ")[2][:32] for line in stack.printed.splitlines()[:TIMES]]

    for trace_id in traces:
        spans = wait_for(lambda of=trace_id: stack.tempo.trace(int(of, 16)), 1)
        named = {span["name"] for span in spans}
        assert {"request", "token"} < named


def test_every_metric_has_the_name_the_dashboard_asks_for(stack: Stack) -> None:
    found = stack.asked("label/__name__/values", **{"match[]": '{job="quiz"}'})

    ours = {name for name in found if name.startswith(names.SCOPE)}
    assert ours
    assert ours <= SERIES


def test_the_responses_are_counted(stack: Stack) -> None:
    query = "sum by (job, gen_ai_request_model) (langchain_logprobs_responses_total)"

    (line,) = stack.asked("query", query=query)["result"]

    assert line["metric"]["job"] == "quiz"
    assert line["metric"]["gen_ai_request_model"]
    assert line["value"][1] == str(TIMES)


@pytest.mark.parametrize("of", ["responses_total", "response_uncertainty_count"])
def test_a_graph_rises_from_the_first_response_on(stack: Stack, of: str) -> None:
    query = f"sum (increase(langchain_logprobs_{of}[10m]))"

    (line,) = stack.asked("query", query=query)["result"]

    assert float(line["value"][1]) >= TIMES


@pytest.mark.parametrize(
    ("title", "query"),
    [
        pytest.param(panel["title"], target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in CONFIDENCE["panels"]
        for target in panel.get("targets", ())
    ],
)
def test_every_panel_has_a_line_where_there_is_anything_to_show(
    stack: Stack, title: str, query: str
) -> None:
    found = stack.asked("label/__name__/values")

    lines = stack.asked("query", query=_filled(query))["result"]

    of = set(re.findall(r"langchain_logprobs_\w+", query))
    of_none = "offset 1w" in query or 'confidence="unavailable"' in query
    expected = of <= set(found) and not of_none
    assert bool(lines) == expected, title


def test_an_exemplar_leads_to_a_trace(stack: Stack) -> None:
    now = time.time()
    found = stack.asked(
        "query_exemplars",
        query="langchain_logprobs_response_uncertainty_bucket",
        start=str(now - 600),
        end=str(now + 60),
    )

    traces = {of["labels"]["trace_id"] for line in found for of in line["exemplars"]}
    assert traces
    for trace_id in traces:
        assert trace_id in stack.printed
        assert stack.tempo.trace(int(trace_id, 16))


def test_the_alert_rules_are_loaded(stack: Stack) -> None:
    (group,) = stack.asked("rules")["groups"]

    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert [rule["name"] for rule in group["rules"]] == [
        rule.get("alert") or rule["record"]
        for rule in safe_load(RULES.read_text())["groups"][0]["rules"]
    ]


def _application(collector: str) -> str:
    """What the example printed, which sent what it measured to the collector."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "otlp_collector.py"), "--times", str(TIMES)],
        env={
            **{key: of for key, of in os.environ.items() if key != "OPENAI_API_KEY"},
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_SERVICE_NAME": "quiz",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _filled(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


@contextmanager
def _prometheus(folder: Path) -> Iterator[str]:
    """The address of a Prometheus with the example's configuration, rules and flags."""
    address = f"127.0.0.1:{free_port()}"
    for path in (EXAMPLE / "prometheus.yml", RULES):
        shutil.copy(path, folder)
    flags = COMPOSE["services"]["prometheus"]["command"]
    command = [
        program("prometheus", WHERE),
        *(flag for flag in flags if not flag.startswith("--config.file")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield f"http://{address}"


@contextmanager
def _collector(folder: Path, tempo: Tempo, prometheus: str) -> Iterator[str]:
    """The address of a collector with the example's configuration, which sends to these."""
    address = f"127.0.0.1:{free_port()}"
    config = (EXAMPLE / "collector.yml").read_text()
    for elsewhere, here in {
        "0.0.0.0:4317": f"127.0.0.1:{free_port()}",
        "0.0.0.0:4318": address,
        "tempo:4317": tempo.otlp,
        "http://prometheus:9090": prometheus,
    }.items():
        assert elsewhere in config
        config = config.replace(elsewhere, here)
    loaded = safe_load(config)
    loaded["service"]["telemetry"] = {"metrics": {"level": "none"}}
    (folder / "collector.yml").write_text(safe_dump(loaded))
    command = [program("otelcol", WHERE), f"--config={folder / 'collector.yml'}"]
    with running(command, folder / "collector.log", f"http://{address}"):
        yield f"http://{address}"
