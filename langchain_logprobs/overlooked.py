"""Handlers that LangChain leaves out because ours is there, and how they hear nevertheless.

In async code LangChain tells handlers that are inline of a completion model's start, and the others
only where none is inline (langchain #39633): a handler of an application's own would never hear of
it, and `astream_events()` would have nothing to tell, or fail. Ours is inline, as tracers are; so
where it finds that others were left out, it has them told. It looks at the one call of LangChain's
that runs it, and changes nothing for good; where that call is not what it was, it does nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.callbacks.manager import ahandle_event

_FARTHEST = 12
"""Frames to look through for LangChain's: it is some four above a handler, more where wrapped."""


def have_others_told() -> None:
    """Has those handlers told of a completion model's start that would hear nothing of it.

    To be called where a handler is told of one. LangChain waits for it before it goes on.
    """
    match _start_under_way():
        # Where LangChain tells them itself, its tasks are there by now; where we were here before,
        # for another prompt or another handler of ours, our task is.
        case {
            "self": AsyncCallbackManager() as manager,
            "non_inline_handlers": [_, *_] as others,
            "non_inline_tasks": [] as tasks,
            "managers": [*runs],
            "prompts": [*prompts],
            "serialized": serialized,
            "kwargs": dict() as told,
        }:
            starts = [(prompt, run.run_id) for prompt, run in zip(prompts, runs, strict=True)]
            tasks.append(_Telling(manager, others, serialized, starts, told))


@dataclass(frozen=True, slots=True, eq=False)
class _Telling:
    """Tells handlers of starts, once it is awaited; nobody minds if it never is."""

    manager: AsyncCallbackManager
    handlers: Sequence[Any]
    serialized: Any
    starts: Sequence[tuple[str, Any]]
    told: Mapping[str, Any]

    def __await__(self) -> Generator[Any, None, None]:
        return self._tell().__await__()

    async def _tell(self) -> None:
        await asyncio.gather(
            *(
                ahandle_event(
                    list(self.handlers),
                    "on_llm_start",
                    "ignore_llm",
                    self.serialized,
                    [prompt],
                    run_id=run_id,
                    parent_run_id=self.manager.parent_run_id,
                    tags=self.manager.tags,
                    metadata=self.manager.metadata,
                    **self.told,
                )
                for prompt, run_id in self.starts
            )
        )


def _start_under_way() -> Mapping[str, Any]:
    """What LangChain's function has by name that tells of the start; nothing in sync code."""
    frame = sys._getframe(1)  # noqa: SLF001 - nothing public says who calls
    for _ in range(_FARTHEST):
        if frame.f_back is None:
            break
        frame = frame.f_back
        if "non_inline_tasks" in frame.f_code.co_varnames:
            return dict(frame.f_locals)
    return {}
