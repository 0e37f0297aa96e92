"""Contestants in processes of their own, which measure when they are told to, one at a time.

None can slow another, what one costs is counted for nobody else, and an instrumentation that
changes LangChain for everybody in its process does no more than that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, cast

from benchmarks.contestants import Contestant, contestant
from benchmarks.rounds import Figures, progress

Measure = Callable[..., Figures]
"""Is given a contestant, then the arguments it was asked with."""

PATIENCE = 300.0
"""Seconds that any one measurement may take."""


class Stage:
    """Those who take part, each waiting in a process of its own."""

    def __init__(self, connections: Mapping[str, Connection]) -> None:
        self._connections = connections

    def asking(
        self, measure: Measure, *arguments: object, names: Sequence[str] = ()
    ) -> dict[str, Callable[[], Figures]]:
        """For each of them, how to have it measure."""
        return {
            name: partial(self.ask, name, measure, *arguments)
            for name in names or self._connections
        }

    def ask(self, name: str, measure: Measure, *arguments: object) -> Figures:
        """What one of them measures.

        Raises:
            RuntimeError: It failed, or took too long.
        """
        connection = self._connections[name]
        connection.send((measure, arguments))
        if not connection.poll(PATIENCE):
            raise RuntimeError(f"{name} did not answer for {PATIENCE:.0f} s")
        match connection.recv():
            case str(error):
                raise RuntimeError(f"{name}: {error}")
            case found:
                return cast("Figures", found)


@contextmanager
def staged(
    names: Sequence[str], address: str | None = None, patch: str | None = None
) -> Iterator[Stage]:
    """A stage with these, until the context ends.

    Args:
        names: Who takes part.
        address: Of the receiver their spans go to by the default `BatchSpanProcessor` and OTLP
            exporter; without it nobody has a span processor.
        patch: The name of a patch to apply in all of their processes.
    """
    context = multiprocessing.get_context("spawn")
    processes, connections = [], {}
    for name in names:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_take_part, args=(name, address, patch, theirs), daemon=True
        )
        process.start()
        processes.append(process)
        connections[name] = ours
    try:
        for name, connection in connections.items():
            progress(f"setting up: {name}")
            if not connection.poll(PATIENCE) or connection.recv() != "ready":
                raise RuntimeError(f"{name} could not be set up")
        yield Stage(connections)
    finally:
        for connection in connections.values():
            connection.close()
        for process in processes:
            process.join(10)
            process.kill()


def _take_part(name: str, address: str | None, patch: str | None, asked: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks ends it
    if patch is not None and not import_module(f"langchain_logprobs.patches.{patch}").apply():
        asked.send("the patch is not applied")
        return
    of = contestant(name, address)
    asked.send("ready")
    while True:
        try:
            measure, arguments = asked.recv()
        except EOFError:
            os._exit(0)  # what is still on its way is nobody's
        asked.send(_measured(measure, of, arguments))


def _measured(measure: Measure, of: Contestant, arguments: Sequence[Any]) -> Figures | str:
    try:
        return measure(of, *arguments)
    except Exception as error:  # noqa: BLE001 - told to who asked, who raises it
        return f"{type(error).__name__}: {error}"
