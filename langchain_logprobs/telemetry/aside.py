"""A call in a thread of its own, for what may take longer than anybody wants to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

NAME = "langchain-logprobs-flush"
"""What the thread is called; our exporters know by it that nobody waits for them."""


class Aside(Generic[T]):
    """The call, which is under way from now on.

    Args:
        call: What to call.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._result: T | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(
            target=self._run,
            args=(call,),
            name=NAME,
            daemon=True,
        )
        try:
            self._thread.start()
        except RuntimeError:  # while the interpreter shuts down no thread starts
            self._run(call)

    @property
    def is_under_way(self) -> bool:
        """Whether it goes on; in a child process after a fork, it does not."""
        return self._thread.is_alive()

    def result(self, timeout: float = 0.0) -> T | None:
        """What the call gave; `None` if it is still under way after so many seconds.

        Raises:
            Exception: What the call raised.
        """
        if self.is_under_way:
            self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._result = call()
        except Exception as error:  # noqa: BLE001 - raised again where somebody asks for the result
            self._error = error
