"""LangChain's own merge of a streamed answer's logprobs, as it is and with our patch.

python -m benchmarks.merging --tokens 1000 4000 16000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from langchain_core.outputs import ChatGenerationChunk
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks

from benchmarks.payloads import chunks
from benchmarks.rounds import RESULTS, Figures, Table, interleaved, ratio, write
from langchain_logprobs.patches import langchain_merge


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", nargs="+", type=int, default=[1000, 4000, 16000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "merging.json")
    options = parser.parse_args()
    table = Table("LangChain's merge of a streamed answer, us a token")
    for tokens in options.tokens:
        stream = chunks(tokens, 5)
        found = interleaved(
            {
                "as it is": partial(_merged, stream, patched=False),
                "patched": partial(_merged, stream, patched=True),
            },
            rounds=options.rounds,
            label=f"{tokens} tokens",
        )
        table.rows.append(
            {
                "tokens": str(tokens),
                **{name: of["us"] for name, of in found.items()},
                "times": ratio(found["as it is"], found["patched"], "us"),
            }
        )
    table.print()
    write(options.json, [table])


def _merged(stream: Sequence[ChatGenerationChunk], *, patched: bool) -> Figures:
    if patched:
        langchain_merge.apply()
    start = time.thread_time()
    merge_chat_generation_chunks(list(stream))
    spent = time.thread_time() - start
    langchain_merge.revert()
    return {"us": spent / len(stream) * 1e6}


if __name__ == "__main__":
    main()
