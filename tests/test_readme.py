"""The README says what is so: its code runs against a real model, its table is the settings'."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from receiver import receiving

from langchain_logprobs.local import LocalModel
from langchain_logprobs.settings import table
from langchain_logprobs.telemetry import names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_its_code_runs(
    local: LocalModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", local.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", local.api_key)
    namespace: dict[str, Any] = {}

    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, namespace)

    confidence, log_odds, unavailable, *words = capsys.readouterr().out.splitlines()
    assert 0 < float(confidence) < 1
    assert float(log_odds) < 10
    assert unavailable == "None"
    assert words


PROGRAM = """
from langchain_logprobs.testing import ScriptedChatModel, answer

ScriptedChatModel(answers=[answer("Syd", "ney")]).invoke("?")
"""


def test_a_program_is_seen_without_code_with_what_it_says_to_set(tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    (block,) = [of for of in blocks if "opentelemetry-instrument" in of]
    said = dict(re.findall(r"(OTEL_\w+)=(\S+)", block))
    (tmp_path / "app.py").write_text(PROGRAM)
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    plain = {key: of for key, of in os.environ.items() if not key.startswith("OTEL_")}

    with receiving() as received:
        subprocess.run(
            [program, sys.executable, "app.py"],
            env={**plain, **said, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint},
            cwd=tmp_path,
            timeout=120,
            check=True,
        )

    assert "[instrument,otlp]" in block
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said
    assert len(received.spans("token")) == 2


def test_it_knows_as_many_models_as_were_tried() -> None:
    page = (ROOT / "docs" / "providers.md").read_text()
    brought = re.findall(r"^\| [^|]*, `(\w+)` \| (\d)/\2 ", page, re.MULTILINE)

    (said,) = re.findall(r"(\d+) classes of models", README)
    assert int(said) == len({name for name, _ in brought})


def test_its_settings_are_the_settings() -> None:
    rows = "".join(f"| `{row[0]}` | `{row[1]}` | `{row[2]}` | {row[3]} |\n" for row in table())

    shown = re.search(r"<!-- settings -->\n.*?---\|\n(.*?)<!-- /settings -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == rows


def test_every_metric_it_names_exists_and_none_is_missing() -> None:
    (row,) = [line for line in README.splitlines() if line.startswith("| **metrics**")]

    written = re.findall(r"`((?:langchain_logprobs)?\.[a-z._]+)`", row)
    named = {f"langchain_logprobs{of.removeprefix('langchain_logprobs')}" for of in written}
    assert named == {of.name for of in names.INSTRUMENTS}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_what_it_links_to_exists(target: str) -> None:
    assert (ROOT / target).exists()
