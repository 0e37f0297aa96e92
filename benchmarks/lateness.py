"""How late the tokens of a paced stream are, beside a worker that is busy.

A token comes every 2 ms; late is how long after that its callback has returned. Beside it the
token spans of other calls are on their way out; once they are out, the stream ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from langchain_core.callbacks import CallbackManager
from langchain_core.outputs import ChatGenerationChunk

from benchmarks.contestants import Contestant
from benchmarks.payloads import chunks
from benchmarks.rounds import Figures
from langchain_logprobs.telemetry.worker import SHARED

PAUSE = 0.002
"""Seconds between two tokens."""
_ASKED = {"logprobs": True, "model_name": "benchmark"}


def paced(of: Contestant, tokens: int, backlog: int) -> Figures:
    """How late the tokens are, in milliseconds, while spans of so many other calls go out.

    Whoever has spans go out faster than the tokens come is measured by fewer of these.
    """
    stream = chunks(1000, 5)
    for _ in range(backlog):
        _burst(of, stream)
    late = sorted(_lateness(of, stream, tokens))
    busy = max(0, SHARED.pending - len(late))  # its own have just been added
    SHARED.give_up()
    of.finish()
    return {
        "median": statistics.median(late) * 1e3,
        "p99": late[len(late) * 99 // 100] * 1e3,
        "tokens": len(late),
        "still waiting": busy,
    }


def _burst(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> None:
    """A call at full speed."""
    (run,) = CallbackManager.configure(of.handlers).on_chat_model_start(
        {}, [[]], invocation_params=_ASKED
    )
    for chunk in stream:
        run.on_llm_new_token(chunk.text, chunk=chunk)
    run.on_llm_end(None)  # type: ignore[arg-type]


def _lateness(of: Contestant, stream: Sequence[ChatGenerationChunk], tokens: int) -> list[float]:
    """A call whose tokens come one by one; it is not ended, which is measured elsewhere."""
    (run,) = CallbackManager.configure(of.handlers).on_chat_model_start(
        {}, [[]], invocation_params=_ASKED
    )
    late = []
    is_busy = SHARED.pending > 0
    due = time.perf_counter()
    for at in range(tokens):
        if at and is_busy and not SHARED.pending:
            break
        due += PAUSE
        time.sleep(max(0.0, due - time.perf_counter()))
        chunk = stream[at % len(stream)]
        run.on_llm_new_token(chunk.text, chunk=chunk)
        late.append(time.perf_counter() - due)
        due = max(due, time.perf_counter() - PAUSE)  # a burst to catch up is no lateness
    run.on_llm_error(RuntimeError("enough"))
    return late
