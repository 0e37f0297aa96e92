"""The example stack fits together: every file, component and data source it names is there."""

from __future__ import annotations

import json
import re
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


def endpoints(configured: dict[str, Any]) -> list[str]:
    """Every address in a configuration, however deep."""
    here = [configured["endpoint"]] if "endpoint" in configured else []
    inside = [endpoints(of) for of in configured.values() if isinstance(of, dict)]
    return [*here, *(address for of in inside for address in of)]


def port_of(address: str) -> int:
    (port,) = re.findall(r":(\d+)", address)
    return int(port)


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


def test_what_was_tried_is_what_is_started() -> None:
    readme = (FOLDER / "README.md").read_text()
    images = {
        name: of["image"].partition(":")[2].removeprefix("v") for name, of in SERVICES.items()
    }

    (tried,) = re.findall(r"collector ([\d.]+), Tempo ([\d.]+), Prometheus ([\d.]+)\)", readme)
    assert (
        dict(zip(("collector", "tempo", "prometheus"), tried, strict=True))
        | {"grafana": images["grafana"]}
        == images
    )


def test_each_part_is_asked_where_it_listens() -> None:
    listening = {
        "collector": set(map(port_of, endpoints(config("collector.yml")["receivers"]))),
        "tempo": {
            *map(port_of, endpoints(config("tempo.yml")["distributor"]["receivers"])),
            config("tempo.yml")["server"]["http_listen_port"],
        },
        "prometheus": {9090},
        "grafana": {3000},
    }
    asked = [
        *endpoints(config("collector.yml")["exporters"]),
        *(of["url"] for of in config("grafana/datasources.yml")["datasources"]),
    ]

    for address in asked:
        host = address.removeprefix("http://").partition(":")[0]
        assert port_of(address) in listening[host], address
    for name, service in SERVICES.items():
        for published in service.get("ports", ()):
            _, outside, inside = published.split(":")
            assert outside == inside
            assert int(inside) in listening[name]


def test_a_part_waits_for_those_it_asks() -> None:
    needed = {
        "collector": {"tempo", "prometheus"},
        "grafana": {"tempo", "prometheus"},
    }

    assert {
        name: set(of["depends_on"]) for name, of in SERVICES.items() if "depends_on" in of
    } == needed


def test_what_is_kept_is_kept_in_a_volume() -> None:
    volumes = {source: target for source, target, *_ in mounts() if source in COMPOSE["volumes"]}

    trace = config("tempo.yml")["storage"]["trace"]
    assert set(volumes) == set(COMPOSE["volumes"])
    for path in (trace["wal"]["path"], trace["local"]["path"]):
        assert path.startswith(f"{volumes['tempo']}/")
    # The image's working directory, which its storage is in by default.
    assert volumes["prometheus"] == "/prometheus"
    options = SERVICES["prometheus"]["command"]
    assert not [of for of in options if of.startswith("--storage.tsdb.path")]


def test_prometheus_takes_what_the_collector_sends() -> None:
    options = SERVICES["prometheus"]["command"]
    (url,) = endpoints(
        {key: of for key, of in config("collector.yml")["exporters"].items() if "http" in key}
    )

    assert url.endswith("/api/v1/otlp")
    features = ("exemplar-storage", "created-timestamp-zero-ingestion")
    needed = {"--web.enable-otlp-receiver", *(f"--enable-feature={of}" for of in features)}
    assert needed <= set(options)
    kept = re.search(r"retention\.time=(\d+)d", " ".join(options))
    assert kept is not None
    assert int(kept[1]) > 7 + 1


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
