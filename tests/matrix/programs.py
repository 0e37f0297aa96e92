"""Programs that run on this machine while a context does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

START = 120.0
"""Seconds for a program to be ready."""


def program(name: str, where: str) -> str:
    """The path of a program: the one its variable names, or the one on the PATH."""
    path = shutil.which(os.environ.get(name.upper()) or name)
    assert path is not None, f"{name} is missing: {where}"
    return path


@contextmanager
def running(command: Sequence[str], log: Path, url: str) -> Iterator[None]:
    """Runs it until the context ends, which begins once the address answers."""
    with log.open("w") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        wait_for(lambda: _answers(process, url), 1, START)
        yield
    except TimeoutError as late:
        raise TimeoutError(log.read_text()) from late
    finally:
        process.kill()  # Asked to end, some first finish what is of no use to anybody here.
        process.wait(30)


def wait_for(what: Callable[[], Any], least: int, seconds: float = 60.0) -> Any:
    """What it gives, once that is at least so many."""
    ends = time.monotonic() + seconds
    found: Any = ()
    while len(found) < least:
        if time.monotonic() > ends:
            raise TimeoutError(f"{len(found)} of {least}")
        time.sleep(0.5)
        with suppress(OSError, HTTPException):
            found = what()
    return found


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(process: subprocess.Popen[bytes], url: str) -> list[int]:
    if process.poll() is not None:
        raise TimeoutError(f"It ended with status {process.returncode}.")
    try:
        with urlopen(url, timeout=5) as response:
            return [response.status]
    except HTTPError as error:
        return [] if error.code == 503 else [error.code]
