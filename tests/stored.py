"""Reports to put into a store; imports little, for it is used in child processes."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

from langchain_logprobs.core.model import Completion, ModelCall
from langchain_logprobs.core.report import CallReport, call_report
from langchain_logprobs.core.tokens import TokenLogprob

SECOND = 1_000_000_000


def a_report(
    *tokens: TokenLogprob,
    model: str = "m",
    logprob: float = -0.1,
    count: int = 3,
    ended_ns: int | None = None,
    root: UUID | None = None,
    text: str | None = None,
    **others: object,
) -> CallReport:
    """A report of these tokens, or of so many that are all equally likely."""
    run_id = uuid4()
    ended_ns = time.time_ns() if ended_ns is None else ended_ns
    made = tokens or tuple(TokenLogprob(f" t{of}", logprob) for of in range(count))
    said = "".join(of.text for of in made) if text is None else text
    call = ModelCall(
        run_id=run_id,
        root_run_id=root or run_id,
        started_ns=ended_ns - SECOND,
        ended_ns=ended_ns,
        model=model,
        completions=(Completion(tokens=made, text=said),),
        **others,  # type: ignore[arg-type]
    )
    return call_report(call)
