"""Servers in processes of their own, so that what they cost is not counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen


@contextmanager
def running(module: str, *arguments: str) -> Iterator[str]:
    """The address of a server that runs until the context ends: the first line it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def asked(address: str) -> Any:
    """What a server answers, as JSON."""
    with urlopen(address, timeout=60) as response:
        return json.load(response)
