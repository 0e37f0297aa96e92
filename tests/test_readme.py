"""The README says what is so: its code runs against a real model, its table is the settings'."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

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
