"""How a run ended, by the exception that LangChain hands over."""

from __future__ import annotations

from asyncio import CancelledError

from langchain_logprobs.core.model import Outcome


def outcome_of(error: BaseException | None) -> Outcome:
    """How it ended: to be stopped by one's caller is no error."""
    if error is None:
        return "ok"
    stopped = (GeneratorExit, CancelledError, KeyboardInterrupt, SystemExit)
    return "cancelled" if isinstance(error, stopped) else "error"


def error_kind(error: BaseException | None) -> str | None:
    """The exception's type, as it is shown."""
    return None if error is None else type(error).__qualname__
