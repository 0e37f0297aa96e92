"""What a token callback costs: LangChain's callback managers driven directly, sync and async.

    python -m benchmarks.dispatch --tokens 1000 --candidates 5 --rounds 7

`stream` is CPU time of the stream's own thread, a token, and `wall` the time that goes by on it;
`end` CPU time of the end of the call, chunks included that somebody still holds then, and
`end wall` the time that goes by; `process` CPU time of
the whole process, a token, until everything is handed to the exporter.

At full speed 1,000 tokens take a few milliseconds, in which nothing else is done. No model is that
fast, so the end of a call is measured with a token every millisecond, too: what comes is then read
in between. Memory is looked at when that has been read.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.outputs import ChatGenerationChunk

from benchmarks.contestants import EMPTY, NAIVE, NOTHING, OURSELVES, Contestant
from benchmarks.payloads import chunks, ended
from benchmarks.rounds import (
    RESULTS,
    Figures,
    Median,
    Table,
    added,
    interleaved,
    ratio,
    write,
)
from benchmarks.stage import Stage, staged

_UNTIL_READ = 1.0
"""Seconds in which all has been read that can be, while it is not yet the end of the call."""
_ASKED = {"logprobs": True, "top_logprobs": 5, "model_name": "benchmark"}


def main() -> None:
    """Measures and reports."""
    options = _options()
    with staged(OURSELVES) as stage:
        tables = [
            table(stage, mode, tokens, candidates, rounds=options.rounds)
            for mode in options.modes
            for tokens in options.tokens
            for candidates in options.candidates
        ]
        tables.append(memory(stage, max(options.tokens), options.candidates[0]))
    for of in tables:
        of.print()
    write(options.json, tables)


def table(
    stage: Stage,
    mode: str,
    tokens: int,
    candidates: int,
    *,
    rounds: int,
    names: Sequence[str] = OURSELVES,
) -> Table:
    """The dispatch of one answer, with everybody side by side."""
    label = f"dispatch, {mode}, {tokens} tokens of {candidates} candidates"
    asking = stage.asking(dispatched, mode, tokens, candidates, names=names)
    found = interleaved(asking, rounds=rounds, label=label)
    return Table(label, [{"who": name, **compared(name, found)} for name in found])


def compared(name: str, found: dict[str, dict[str, Median]]) -> dict[str, object]:
    """The figures of one, and what they are of the empty callback's and of a span per token's."""
    own, empty, naive, nothing = found[name], found[EMPTY], found[NAIVE], found[NOTHING]
    return {
        "stream us": own["stream"],
        "x empty": ratio(own, empty, "stream"),
        "added / span in callback": added(own, naive, nothing, "stream"),
        "wall us": own["wall"],
        "end ms": own["end"],
        "process us": own["process"],
        "process added / span in callback": added(own, naive, nothing, "process"),
    }


def ends(
    stage: Stage,
    mode: str,
    tokens: int,
    candidates: int,
    *,
    pause: float,
    rounds: int,
    names: Sequence[str],
) -> Table:
    """The end of an answer of which a token comes every `pause` seconds."""
    label = f"end of a paced call, {mode}, {tokens} tokens of {candidates} candidates"
    asking = stage.asking(dispatched, mode, tokens, candidates, pause, names=names)
    found = interleaved(asking, rounds=rounds, label=label)
    figures = {"end": "end ms", "end wall": "time that goes by, ms"}
    rows = [
        {"who": name, **{as_: of[key] for key, as_ in figures.items()}}
        for name, of in found.items()
    ]
    return Table(label, rows)


def memory(stage: Stage, tokens: int, candidates: int, names: Sequence[str] = OURSELVES) -> Table:
    """What a handler keeps while an answer streams, beside the chunks, which are LangChain's."""
    label = f"memory, {tokens} tokens of {candidates} candidates"
    found = interleaved(stage.asking(kept, tokens, candidates, names=names), rounds=1, label=label)
    return Table(label, [{"who": name, **found[name]} for name in found])


def dispatched(
    of: Contestant, mode: str, tokens: int, candidates: int, pause: float = 0.0
) -> Figures:
    """What one answer costs, of which a token comes every `pause` seconds, or all at full speed."""
    stream = chunks(tokens, candidates)
    return _sync(of, stream, pause) if mode == "sync" else asyncio.run(_async(of, stream, pause))


def _sync(of: Contestant, stream: list[ChatGenerationChunk], pause: float) -> Figures:
    manager = CallbackManager.configure(of.handlers)
    whole, tokens = ended(stream), len(stream)
    gc.collect()
    process = time.process_time()
    (run,) = manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
    begun, start = time.perf_counter(), time.thread_time()
    if pause:
        for due, chunk in _paced(stream, pause):
            time.sleep(max(0.0, due - time.perf_counter()))
            run.on_llm_new_token(chunk.text, chunk=chunk)
    else:
        for chunk in stream:
            run.on_llm_new_token(chunk.text, chunk=chunk)
    streamed = time.thread_time() - start, time.perf_counter() - begun
    del chunk
    stream.clear()  # as LangChain, which holds none: whoever still does is the one to free them
    start, begun = time.thread_time(), time.perf_counter()
    run.on_llm_end(whole)
    end = time.thread_time() - start, time.perf_counter() - begun
    of.finish()
    process = time.process_time() - process
    return _figures(tokens, streamed, end, process)


def _paced(
    stream: Sequence[ChatGenerationChunk], pause: float
) -> Iterator[tuple[float, ChatGenerationChunk]]:
    """Each chunk, and when it is due."""
    begun = time.perf_counter()
    return ((begun + at * pause, chunk) for at, chunk in enumerate(stream, 1))


async def _async(of: Contestant, stream: list[ChatGenerationChunk], pause: float) -> Figures:
    manager = AsyncCallbackManager.configure(of.handlers)
    whole, tokens = ended(stream), len(stream)
    gc.collect()
    process = time.process_time()
    (run,) = await manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
    begun, start = time.perf_counter(), time.thread_time()
    if pause:
        for due, chunk in _paced(stream, pause):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await run.on_llm_new_token(chunk.text, chunk=chunk)
    else:
        for chunk in stream:
            await run.on_llm_new_token(chunk.text, chunk=chunk)
    streamed = time.thread_time() - start, time.perf_counter() - begun
    del chunk
    stream.clear()
    start, begun = time.thread_time(), time.perf_counter()
    await run.on_llm_end(whole)
    end = time.thread_time() - start, time.perf_counter() - begun
    await asyncio.to_thread(of.finish)
    process = time.process_time() - process
    return _figures(tokens, streamed, end, process)


def _figures(
    tokens: int, stream: tuple[float, float], end: tuple[float, float], process: float
) -> Figures:
    """The figures of a call; for its stream and its end, seconds of CPU time and of the clock."""
    return {
        "stream": stream[0] / tokens * 1e6,
        "wall": stream[1] / tokens * 1e6,
        "end": end[0] * 1e3,
        "end wall": end[1] * 1e3,
        "process": process / tokens * 1e6,
    }


def kept(of: Contestant, tokens: int, candidates: int) -> Figures:
    """The bytes that a call holds while it streams, and at the peak, which is at its end."""
    stream = chunks(tokens, candidates)
    whole = ended(stream)
    (run,) = CallbackManager.configure(of.handlers).on_chat_model_start(
        {}, [[]], invocation_params=_ASKED
    )
    texts = [chunk.text for chunk in stream]
    gc.collect()
    tracemalloc.start()
    for text, chunk in zip(texts, stream, strict=True):
        run.on_llm_new_token(text, chunk=chunk)
    time.sleep(_UNTIL_READ)
    gc.collect()
    streaming, _ = tracemalloc.get_traced_memory()
    run.on_llm_end(whole)
    of.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "bytes kept a token": streaming // tokens,
        "bytes a token at the peak": peak // tokens,
    }


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
