"""Against a real Prometheus: the rules hold, and every query of every panel has an answer.

Needs Debian's `prometheus` (`make prometheus` installs it), and is no part of the ordinary tests.
The metrics are those of a running application with the real handler, through OpenTelemetry's own
Prometheus exporter: the hours of a week ago and of the last day laid into the past, and then
scraped as it runs.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from langchain_core.output_parsers import StrOutputParser
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, start_http_server
from yaml import safe_dump, safe_load

from langchain_logprobs import CallReport, LogprobsCallbackHandler
from langchain_logprobs.testing import Answer, ScriptedChatModel, answer

HERE = Path(__file__).parent
DASHBOARDS = HERE.parents[2] / "langchain_logprobs" / "dashboards"
RULES = DASHBOARDS / "alerts.yml"
EXAMPLE = HERE.parents[2] / "examples" / "observability"
CONFIDENCE = json.loads((DASHBOARDS / "confidence.json").read_text())
PATIENCE = 120.0
"""Seconds in which what is waited for comes, however busy the machine is."""
QUARTER = 15 * 60
HOUR, WEEK = 3600, 7 * 24 * 3600
PAST = ((WEEK + 7 * HOUR, WEEK - HOUR), (25 * HOUR, 60))
"""The hours that anything looks at: how long ago they began and ended, in seconds."""
VARIABLES = {
    "$job": ".*",
    "$model": ".*",
    "$window": "1h",
    "$__rate_interval": "1m",
}
SURE = answer(("Paris", -0.02, {"Paris": -0.02, "Lyon": -4.0}), (".", -0.01))
UNSURE = answer(("Syd", -0.9, {"Syd": -0.9, "Can": -1.2}), ("ney", -0.4))
RECORD = answer('{"', ("city", -0.01), '": "', ("Syd", -0.9), ("ney", -0.1), '"}')
SILENT = answer("Well", with_logprobs=False)


@dataclass
class Application:
    """Two models behind one handler; what it has counted, laid out over a week and a day."""

    tracer_provider: TracerProvider = field(default_factory=TracerProvider)
    meter_provider: MeterProvider = field(
        default_factory=lambda: MeterProvider([PrometheusMetricReader()])
    )

    def __post_init__(self) -> None:
        self.handler = self._handler(metric_fields=("$.city",))
        # One whose queue is full, and whose hook is broken: what is lost and swallowed is counted.
        self.failing = self._handler(max_pending_spans=0, on_report=_break)

    def ask(self, said: Answer, model: str = "old-1", **config: Any) -> None:
        """One question to a chain."""
        chain = ScriptedChatModel(answers=[said], model=model) | StrOutputParser()
        chain.invoke("", {"callbacks": [self.handler], **config})

    def quarter(self, *, fallen: bool) -> None:
        """A quarter of an hour: a few questions, or many after the model was changed."""
        for said in (UNSURE, SURE) * 20 if fallen else (SURE,) * 3:
            self.ask(said, "new-1" if fallen else "old-1")
        self.ask(RECORD)
        self.ask(SILENT)
        self.ask(UNSURE, callbacks=[self.failing])

    def samples(self) -> Iterator[tuple[str, str]]:
        """Every series as it stands, by name and labels."""
        for family in REGISTRY.collect():
            for sample in family.samples if family.name.startswith("langchain_logprobs") else ():
                labels = {**sample.labels, "job": "application", "instance": "one"}
                shown = ",".join(f'{key}="{of}"' for key, of in sorted(labels.items()))
                yield f"{sample.name}{{{shown}}}", repr(sample.value)

    def _handler(self, **settings: Any) -> LogprobsCallbackHandler:
        return LogprobsCallbackHandler(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **settings
        )


@dataclass
class Prometheus:
    """A running one."""

    address: str

    def get(self, path: str, **query: str) -> Any:
        """What its API answers."""
        with urlopen(
            f"{self.address}/api/v1/{path}?{urlencode(query)}", timeout=PATIENCE
        ) as response:
            return json.load(response)["data"]

    def wait_for(self, query: str, at_least: float) -> None:
        """Returns once a query's first value is that large."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            result = self.get("query", query=query)["result"]
            if result and float(result[0]["value"][1]) >= at_least:
                return
            time.sleep(0.2)
        raise TimeoutError(query)


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    running = Application()
    yield running
    running.meter_provider.shutdown()
    running.tracer_provider.shutdown()


@pytest.fixture(scope="module")
def prometheus(
    application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    past = folder / "past.om"
    past.write_text(_history(application, time.time()))
    _run("promtool", "tsdb", "create-blocks-from", "openmetrics", str(past), str(folder / "data"))
    server, thread = start_http_server(0, addr="127.0.0.1")
    with _serving(folder, server.server_port) as running:
        for scrapes in range(1, 4):
            running.wait_for("count_over_time(up[1m])", scrapes)
            application.ask(UNSURE, "new-1")
            application.ask(UNSURE, callbacks=[application.failing])
        running.wait_for("count_over_time(up[1m])", 5)
        yield running
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_rules_are_rules() -> None:
    _run("promtool", "check", "rules", str(RULES))


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    for path in (RULES, EXAMPLE / "prometheus.yml"):
        shutil.copy(path, tmp_path)

    _run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("name", ["alerts_test.yml", "alerts_timing_test.yml"])
def test_each_alert_fires_at_a_fall_and_not_at_a_false_alarm(name: str) -> None:
    _run("promtool", "test", "rules", str(HERE / name))


@pytest.mark.parametrize(
    ("title", "query"),
    [
        pytest.param(panel["title"], target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in CONFIDENCE["panels"]
        for target in panel.get("targets", ())
    ],
)
def test_every_query_of_every_panel_answers_with_numbers(
    prometheus: Prometheus, title: str, query: str
) -> None:
    result = prometheus.get("query", query=_filled(query))["result"]

    values = [float(of["value"][1]) for of in result]
    assert values, title
    assert all(0 <= value < float("inf") for value in values)


@pytest.mark.parametrize("name", ["job", "model"])
def test_every_variable_has_values_to_choose_from(prometheus: Prometheus, name: str) -> None:
    (variable,) = [of for of in CONFIDENCE["templating"]["list"] if of["name"] == name]
    asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert asked is not None

    values = prometheus.get(f"label/{asked[2]}/values", **{"match[]": _filled(asked[1])})

    assert values == {"job": ["application"], "model": ["new-1", "old-1"]}[name]


def test_the_model_that_is_new_is_marked(prometheus: Prometheus) -> None:
    (annotation,) = CONFIDENCE["annotations"]["list"]

    result = prometheus.get("query", query=_filled(annotation["expr"]))["result"]

    assert [of["metric"] for of in result] == [{"gen_ai_response_model": "new-1"}]


def test_every_rule_is_evaluated_and_the_fall_is_seen(prometheus: Prometheus) -> None:
    prometheus.wait_for('count(ALERTS{alertname="LogprobsLowConfidenceRateUp"})', 1)

    (group,) = prometheus.get("rules")["groups"]
    assert {rule["name"]: rule.get("lastError", "") for rule in group["rules"]} == {
        rule.get("alert") or rule["record"]: "" for rule in _rules()["groups"][0]["rules"]
    }
    alerts = {of["labels"]["alertname"] for of in prometheus.get("alerts")["alerts"]}
    assert alerts == {"LogprobsLowConfidenceRateUp", "LogprobsTokenSpansLost", "LogprobsErrors"}


def _break(report: CallReport) -> None:
    raise ZeroDivisionError(report.call.run_id)


def _history(application: Application, now: float) -> str:
    """What the application counted, a sample every quarter of an hour; its model changes late."""
    lines: dict[str, list[str]] = {}
    for begin, end in PAST:
        for ago in range(begin, end, -QUARTER):
            application.quarter(fallen=ago < HOUR)
            for series, value in application.samples():
                lines.setdefault(series, []).append(f"{series} {value} {int(now) - ago}")
    return "\n".join([line for of in lines.values() for line in of] + ["# EOF\n"])


class _serving:  # noqa: N801 - a context manager
    def __init__(self, folder: Path, target: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        rules = _rules()
        rules["groups"][0]["interval"] = "1s"
        (folder / "rules.yml").write_text(safe_dump(rules))
        job = {
            "job_name": "application",
            "scrape_interval": "1s",
            "static_configs": [{"targets": [f"127.0.0.1:{target}"], "labels": {"instance": "one"}}],
        }
        config = {"rule_files": ["rules.yml"], "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(safe_dump(config))

    def __enter__(self) -> Prometheus:
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    _path("prometheus"),
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        running = Prometheus(f"http://127.0.0.1:{self.port}")
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            try:
                urlopen(f"{running.address}/-/ready", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return running
        raise TimeoutError((self.folder / "log").read_text())

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


def _rules() -> Any:
    return safe_load(RULES.read_text())


def _filled(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def _run(*command: str) -> None:
    program, *arguments = command
    done = subprocess.run([_path(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _path(program: str) -> str:
    path = shutil.which(program)
    assert path is not None, f"{program} is missing: apt-get install prometheus, or make prometheus"
    return path
