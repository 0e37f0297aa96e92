"""How a run ended, by the exception that LangChain hands over."""

from __future__ import annotations

import sys
from asyncio import CancelledError

from langchain_logprobs.core.model import Outcome

_STOPPED = (GeneratorExit, CancelledError, KeyboardInterrupt, SystemExit)


def outcome_of(error: BaseException | None) -> Outcome:
    """How it ended: to be stopped by one's caller is no error, nor is to ask a human."""
    if error is None or _is_of_langgraph(error, "ParentCommand"):
        return "ok"
    if isinstance(error, _STOPPED) or _is_of_langgraph(error, "GraphBubbleUp"):
        return "cancelled"
    return "error"


def error_kind(error: BaseException | None) -> str | None:
    """The exception's type, as it is shown; `None` where a run that ended well raised one."""
    return None if error is None or outcome_of(error) == "ok" else type(error).__qualname__


def _is_of_langgraph(error: BaseException, name: str) -> bool:
    """Whether an exception is one by which LangGraph has a node go elsewhere, or wait."""
    # Nobody can have raised one of them where LangGraph was not imported.
    kind = getattr(sys.modules.get("langgraph.errors"), name, None)
    return isinstance(kind, type) and isinstance(error, kind)
