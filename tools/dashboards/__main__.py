"""Writes the dashboards, or checks that they are up to date."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from langchain_logprobs.telemetry import names
from tools.dashboards import confidence, tokens
from tools.dashboards.promql import label

FOLDER = Path(__file__).parents[2] / "langchain_logprobs" / "dashboards"


def dashboards() -> dict[str, str]:
    """Every dashboard's file name and text."""
    built = {"confidence.json": confidence.build(), "tokens.json": tokens.build()}
    return {name: _text(json.loads(JSONEncoder().encode(of))) for name, of in built.items()}


def main() -> int:
    """Writes or checks; the exit status is the number of files that were stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    only_check = parser.parse_args().check
    texts = dashboards()
    stale = [name for name, text in texts.items() if _known(name) != text]
    for name in stale:
        print(f"{name} {'is stale: python -m tools.dashboards' if only_check else 'written'}")
        if not only_check:
            (FOLDER / name).write_text(texts[name])
    return len(stale) if only_check else 0


def _known(name: str) -> str:
    path = FOLDER / name
    return path.read_text() if path.exists() else ""


def _text(board: dict[str, Any]) -> str:
    for annotation in board.get("annotations", {}).get("list", ()):
        annotation.update(_ANNOTATION)
    return json.dumps(board, indent=2) + "\n"


_ANNOTATION: Mapping[str, object] = {
    "titleFormat": "{{" + label(names.RESPONSE_MODEL) + "}}",
    "useValueForTime": False,
    "step": "5m",
}
"""What Grafana's Prometheus source knows of an annotation and the SDK does not."""


if __name__ == "__main__":
    raise SystemExit(main())
