"""LangChain's own merge of a streamed answer's logprobs, as it is and with our patch.

    python -m benchmarks.merging --tokens 1000 4000 16000

`at the end` is the one merge with which a model's `stream()` ends: of chunks whose logprobs stand
in `generation_info` and, as LangChain copies them there, in the message's `response_metadata`.
`one by one` adds each message to those before it, as `full += chunk` does.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from pathlib import Path

from langchain_core.outputs import ChatGenerationChunk
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks

from benchmarks.payloads import chunks
from benchmarks.rounds import RESULTS, Figures, Table, interleaved, ratio, write
from langchain_logprobs.patches import langchain_merge

Stream = Sequence[ChatGenerationChunk]


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", nargs="+", type=int, default=[1000, 4000, 16000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS / "merging.json")
    options = parser.parse_args()
    table = Table("LangChain's merge of a streamed answer, us a token")
    for tokens in options.tokens:
        stream = _streamed(tokens)
        found = interleaved(
            {
                "at the end": partial(_merged, _at_the_end, stream, patched=False),
                "at the end, patched": partial(_merged, _at_the_end, stream, patched=True),
                "one by one": partial(_merged, _one_by_one, stream, patched=False),
            },
            rounds=options.rounds,
            label=f"{tokens} tokens",
        )
        table.rows.append(
            {
                "tokens": tokens,
                **{name: of["us"] for name, of in found.items()},
                "times": ratio(found["at the end"], found["at the end, patched"], "us"),
            }
        )
    table.print()
    write(options.json, [table])


def _streamed(tokens: int) -> Stream:
    stream = chunks(tokens, 5)
    for chunk in stream:
        chunk.message.response_metadata = dict(chunk.generation_info or {})
    return stream


def _at_the_end(stream: Stream) -> None:
    merge_chat_generation_chunks(list(stream))


def _one_by_one(stream: Stream) -> None:
    reduce(add, [chunk.message for chunk in stream])


def _merged(merge: Callable[[Stream], None], stream: Stream, *, patched: bool) -> Figures:
    gc.collect()
    if patched:
        langchain_merge.apply()
    start = time.thread_time()
    merge(stream)
    spent = time.thread_time() - start
    langchain_merge.revert()
    return {"us": spent / len(stream) * 1e6}


if __name__ == "__main__":
    main()
