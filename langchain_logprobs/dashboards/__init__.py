"""Grafana dashboards and Prometheus alert rules, as files that come with the package.

    python -m langchain_logprobs.dashboards FOLDER

writes them where Grafana or Prometheus can be pointed at.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FILES = ("confidence.json", "tokens.json", "alerts.yml")
"""What there is: a dashboard for Prometheus, one for Tempo, rules for Prometheus."""


def text_of(name: str) -> str:
    """The text of one of `FILES`.

    .. versionadded:: 0.1.0
    """
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def write_to(folder: Path) -> list[Path]:
    """Writes `FILES` into a folder, which is made if need be; where they now are.

    .. versionadded:: 0.1.0
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in FILES]
    for path in paths:
        path.write_text(text_of(path.name), encoding="utf-8")
    return paths
