"""The example stack fits together: every file, component and data source it names is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_load

from langchain_logprobs.dashboards import FILES

FOLDER = Path(__file__).parent.parent / "examples" / "observability"
COMPOSE = safe_load((FOLDER / "compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def config(name: str) -> Any:
    return safe_load((FOLDER / name).read_text())


def mounts() -> list[list[str]]:
    return [of.split(":") for service in SERVICES.values() for of in service["volumes"]]


def test_every_file_that_is_mounted_is_there() -> None:
    for source, *_ in mounts():
        assert source in COMPOSE["volumes"] or (FOLDER / source).is_file(), source


def test_the_dashboards_and_rules_are_the_ones_that_are_shipped() -> None:
    mounted = {Path(source).name for source, *_ in mounts() if "langchain_logprobs" in source}

    assert mounted == set(FILES)


def test_every_command_reads_a_file_that_is_mounted_there() -> None:
    targets = {target for _, target, *_ in mounts()}

    read = {
        option.partition("=")[2]
        for service in SERVICES.values()
        for option in service.get("command", ())
        if "config" in option
    }
    assert read
    assert read <= targets
    (rules,) = config("prometheus.yml")["rule_files"]
    assert f"/etc/prometheus/{rules}" in targets


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_image_is_of_one_version() -> None:
    assert all(service["image"].partition(":")[2][-1].isdigit() for service in SERVICES.values())


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_the_collector_hands_on_what_it_receives(signal: str) -> None:
    collector = config("collector.yml")
    pipeline = collector["service"]["pipelines"][signal]

    for kind, used in pipeline.items():
        assert set(used) <= set(collector[kind])
    hosts = {of.partition("/")[2] for of in pipeline["exporters"]}
    assert hosts <= set(SERVICES)


def test_exemplars_lead_to_a_data_source_that_exists() -> None:
    sources = {of["uid"]: of for of in config("grafana/datasources.yml")["datasources"]}

    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["datasourceUid"] in sources
    assert {of["type"] for of in sources.values()} == {"prometheus", "tempo"}
    for of in sources.values():
        assert of["url"].split("//")[1].split(":")[0] in SERVICES


def test_grafana_opens_with_a_dashboard_that_is_provisioned() -> None:
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    (provider,) = config("grafana/dashboards.yml")["providers"]

    assert str(home.parent) == provider["options"]["path"]
    shipped = Path(FOLDER, "../../langchain_logprobs/dashboards", home.name)
    assert json.loads(shipped.read_text())["title"] == "LLM confidence"
