"""The page, served on the loopback interface by uvicorn in a thread."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from langchain_logprobs.viewer.app import create_app

_HOST = "127.0.0.1"
_STOP_SECONDS = 10.0


class PortTakenError(OSError):
    """That port cannot be had: something else listens on it, or it is for others."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        url: The page's address, secret and all.
        ended: Set once it answers no more.
    """

    url: str
    ended: threading.Event

    def wait(self) -> None:
        """Returns when it has ended; a `KeyboardInterrupt` comes through."""
        # A `join()` that is interrupted takes the thread for ended, in Python before 3.13.
        while not self.ended.wait(0.5):
            pass


@contextmanager
def serving(path: Path, *, port: int = 0, token: str | None = None) -> Iterator[RunningServer]:
    """A server for as long as the `with` block runs.

    Args:
        path: The store.
        port: On the loopback interface; 0 for any that is free.
        token: The secret in the address; a new one by default.

    Raises:
        PortTakenError: It cannot be had.
    """
    token = token or secrets.token_urlsafe(16)
    stopping = threading.Event()
    config = uvicorn.Config(
        create_app(path, token, stopping),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server, ended = uvicorn.Server(config), threading.Event()
    with closing(_bound(port)) as listening:
        threading.Thread(
            target=_run,
            args=(server, listening, ended),
            name="langchain-logprobs-viewer",
            daemon=True,
        ).start()
        try:
            while not (server.started or ended.wait(0.01)):  # a busy machine takes its time
                pass
            chosen = listening.getsockname()[1]
            yield RunningServer(f"http://{_HOST}:{chosen}/{token}/", ended)
        finally:
            stopping.set()  # an open page's live connection would have to be cut off
            server.should_exit = True
            ended.wait(_STOP_SECONDS)


def _run(server: uvicorn.Server, listening: socket.socket, ended: threading.Event) -> None:
    try:
        server.run([listening])
    finally:
        ended.set()


def _bound(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
    except OSError as error:
        listening.close()
        raise PortTakenError(*error.args) from error
    return listening
