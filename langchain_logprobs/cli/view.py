"""`view`: the browser page."""

from __future__ import annotations

import errno
import webbrowser
from pathlib import Path

from langchain_logprobs.cli.options import Failure, console, needs
from langchain_logprobs.store.reader import StoredRuns


def serve(store: Path | None, port: int, *, open_browser: bool) -> None:
    """Serves the page until Ctrl-C.

    Raises:
        Failure: The extra is not installed, or the port is taken.
    """
    try:
        from langchain_logprobs.viewer.server import PortTakenError, serving  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("langchain_logprobs"):
            raise
        raise needs("viewer", missing) from missing
    stored = StoredRuns(store)
    out = console()
    try:
        with serving(stored.path, port=port) as server:
            out.print(f"{stored.count():,} runs in {stored.path}", markup=False)
            out.print(server.url, style="bold", markup=False, soft_wrap=True)
            out.print("Who has this address can read the store. Ctrl-C stops it.", style="dim")
            if open_browser:
                webbrowser.open(server.url)
            server.wait()
    except PortTakenError as error:
        told = (
            "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
        )
        raise Failure(
            f"Port {port} {told}. Choose another with --port, or leave it out for any that is free."
        ) from error
    except KeyboardInterrupt:
        out.print("Stopped.", style="dim")
