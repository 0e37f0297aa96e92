"""Writes the dashboards and alert rules into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from langchain_logprobs.dashboards import write_to


def main(arguments: list[str]) -> int:
    """Writes them, and says where; the exit status."""
    match arguments:
        case [folder] if not folder.startswith("-"):
            for path in write_to(Path(folder)):
                sys.stdout.write(f"{path}\n")
            return 0
        case _:
            sys.stderr.write("usage: python -m langchain_logprobs.dashboards FOLDER\n")
            return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
