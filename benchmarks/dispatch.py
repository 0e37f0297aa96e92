"""What a token callback costs: LangChain's callback managers driven directly, sync and async.

    python -m benchmarks.dispatch --tokens 1000 --candidates 5 --rounds 7

`stream` is CPU time of the stream's own thread, a token; `end` that of the end of the call;
`process` CPU time of the whole process, a token, until everything is handed to the exporter.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
import tracemalloc
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, LLMResult

from benchmarks.contestants import Contestant, contestants
from benchmarks.payloads import chunks
from benchmarks.rounds import (
    RESULTS,
    Figures,
    Median,
    Table,
    added,
    interleaved,
    progress,
    ratio,
    write,
)

_END = LLMResult(generations=[[ChatGenerationChunk(message=AIMessageChunk(content=""))]])
_ASKED = {"logprobs": True, "top_logprobs": 5, "model_name": "benchmark"}


def main() -> None:
    """Measures and reports."""
    options = _options()
    tables = [
        table(mode, tokens, candidates, options.rounds)
        for mode in options.modes
        for tokens in options.tokens
        for candidates in options.candidates
    ]
    tables.append(memory(max(options.tokens), options.candidates[0]))
    for of in tables:
        of.print()
    write(options.json, tables)


def table(mode: str, tokens: int, candidates: int, rounds: int) -> Table:
    """The dispatch of one answer, with everybody side by side."""
    stream = chunks(tokens, candidates)
    measure = _sync if mode == "sync" else _async
    taking_part = {name: partial(measure, of, stream) for name, of in contestants().items()}
    label = f"dispatch, {mode}, {tokens} tokens of {candidates} candidates"
    found = interleaved(taking_part, rounds=rounds, label=label)
    return Table(label, [_row(name, found) for name in found])


def memory(tokens: int, candidates: int) -> Table:
    """What a handler keeps while an answer streams, beside the chunks, which are LangChain's."""
    progress("memory")
    stream = chunks(tokens, candidates)
    rows: list[dict[str, object]] = [
        {"who": name, "bytes kept a token": _kept(of, stream)} for name, of in contestants().items()
    ]
    progress("")
    return Table(f"memory, {tokens} tokens of {candidates} candidates", rows)


def _row(name: str, found: dict[str, dict[str, Median]]) -> dict[str, object]:
    own, empty, naive = found[name], found["empty"], found["span in callback"]
    return {
        "who": name,
        "stream us": own["stream"],
        "x empty": ratio(own, empty, "stream"),
        "added / span in callback": added(own, naive, found["no callback"], "stream"),
        "end ms": own["end"],
        "process us": own["process"],
        "process / span in callback": ratio(own, naive, "process"),
    }


def _sync(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> Figures:
    manager = CallbackManager.configure(_handlers(of))
    gc.collect()
    process = time.process_time()
    (run,) = manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
    start = time.thread_time()
    for chunk in stream:
        run.on_llm_new_token(chunk.text, chunk=chunk)
    end = time.thread_time()
    run.on_llm_end(_END)
    done = time.thread_time()
    of.finish()
    return _figures(start, end, done, time.process_time() - process, len(stream))


def _async(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> Figures:
    return asyncio.run(_streamed(of, stream))


async def _streamed(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> Figures:
    manager = AsyncCallbackManager.configure(_handlers(of))
    gc.collect()
    process = time.process_time()
    (run,) = await manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
    start = time.thread_time()
    for chunk in stream:
        await run.on_llm_new_token(chunk.text, chunk=chunk)
    end = time.thread_time()
    await run.on_llm_end(_END)
    done = time.thread_time()
    await asyncio.to_thread(of.finish)
    return _figures(start, end, done, time.process_time() - process, len(stream))


def _figures(start: float, end: float, done: float, process: float, tokens: int) -> Figures:
    return {
        "stream": (end - start) / tokens * 1e6,
        "end": (done - end) * 1e3,
        "process": process / tokens * 1e6,
    }


def _kept(of: Contestant, stream: Sequence[ChatGenerationChunk]) -> int:
    (run,) = CallbackManager.configure(_handlers(of)).on_chat_model_start(
        {}, [[]], invocation_params=_ASKED
    )
    texts = [chunk.text for chunk in stream]
    gc.collect()
    tracemalloc.start()
    for text, chunk in zip(texts, stream, strict=True):
        run.on_llm_new_token(text, chunk=chunk)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    run.on_llm_end(_END)
    of.finish()
    return kept // len(stream)


def _handlers(of: Contestant) -> list[BaseCallbackHandler]:
    return [] if of.handler is None else [of.handler]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--modes", nargs="+", default=["sync", "async"], choices=["sync", "async"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[1000])
    parser.add_argument("--candidates", nargs="+", type=int, default=[5])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "dispatch.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
