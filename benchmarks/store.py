"""What the store costs: how fast it writes, how long it takes a report, how late a stream gets.

    python benchmarks/store.py                 # reports of 100 tokens with 5 candidates each
    python benchmarks/store.py --calls 10000

The stream is a thread that does one token's work every 2 ms, once alone and once beside a store
that is handed 1,000 calls a second.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from langchain_logprobs.core.model import Completion, ModelCall
from langchain_logprobs.core.report import CallReport, call_report
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.store import Store, StoredRuns

WORDS = [f" w{index}" for index in range(2_000)]
EVERY = 0.002


def report(random_: random.Random, tokens: int) -> CallReport:
    """A call as a provider would answer it: every token with five candidates."""
    now = time.time_ns()

    def token(index: int) -> TokenLogprob:
        texts = random_.sample(WORDS, 5)
        logprobs = sorted((-random_.expovariate(1.0) for _ in texts), reverse=True)
        candidates = tuple(
            Candidate(text, logprob, text.encode())
            for text, logprob in zip(texts, logprobs, strict=True)
        )
        text, logprob, raw = candidates[0]
        return TokenLogprob(text, logprob, raw, candidates, "content", now + index)

    run_id = uuid4()
    made = tuple(token(index) for index in range(tokens))
    call = ModelCall(
        run_id=run_id,
        root_run_id=run_id,
        started_ns=now,
        ended_ns=now + tokens,
        model="benchmark-1",
        completions=(Completion(tokens=made, text="".join(of.text for of in made)),),
        source="stream",
    )
    return call_report(call)


def bulk(path: Path, reports: list[CallReport]) -> None:
    """How many reports a second, handed over as fast as it takes them."""
    store = Store(path, max_pending=10**9)
    start = time.perf_counter()
    taken = []
    for of in reports:
        begin = time.perf_counter_ns()
        store(of)
        taken.append(time.perf_counter_ns() - begin)
    store.flush(600)
    seconds = time.perf_counter() - start
    store.close()
    runs = StoredRuns(path)
    assert runs.count() == len(reports)
    assert runs.report(reports[-1].call.run_id) == reports[-1]
    size = path.stat().st_size
    print(
        f"written in bulk      {len(reports) / seconds:8.0f} calls/s ({seconds:.1f} s, none lost)"
    )
    print(f"taking one           {statistics.median(taken) / 1000:8.1f} us (median)")
    print(f"on disk              {size / len(reports) / 1000:8.1f} kB a call")


def lateness(seconds: float) -> list[float]:
    """By how many milliseconds each token of a stream comes late."""
    late = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        due += EVERY
        time.sleep(max(0.0, due - time.perf_counter()))
        sum(range(200))  # about what a token costs
        late.append((time.perf_counter() - due) * 1000)
    return late


def beside(store: Callable[[CallReport], None], reports: list[CallReport], rate: int) -> float:
    """Hands reports over at that rate from another thread; how many a second it came to."""
    start = time.perf_counter()
    for batch in range(0, len(reports), rate // 100):
        for of in reports[batch : batch + rate // 100]:
            store(of)
        time.sleep(max(0.0, start + (batch / rate) + 0.01 - time.perf_counter()))
    return len(reports) / (time.perf_counter() - start)


def stream(path: Path, reports: list[CallReport]) -> None:
    """How much later a stream's tokens come beside a store that is written to."""
    seconds = len(reports) / 1000
    alone = lateness(seconds)
    store = Store(path)
    rates: list[float] = []
    thread = threading.Thread(target=lambda: rates.append(beside(store, reports, 1000)))
    thread.start()
    busy = lateness(seconds)
    thread.join()
    flushed = store.flush(60)
    print(f"a stream alone       {_shown(alone)}")
    print(f"... beside the store {_shown(busy)}  at {rates[0]:.0f} calls/s, ", end="")
    print(f"dropped {store.dropped}, all written: {flushed}")
    store.close()


def _shown(late: list[float]) -> str:
    ordered = sorted(late)
    p99 = ordered[int(0.99 * len(ordered))]
    return f"{statistics.median(late):8.2f} ms late (median), {p99:.2f} ms (99th percentile)"


def main() -> None:
    """Runs it all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=4_000)
    parser.add_argument("--tokens", type=int, default=100)
    options = parser.parse_args()
    random_ = random.Random(1)
    reports = [report(random_, options.tokens) for _ in range(options.calls)]
    with TemporaryDirectory() as folder:
        bulk(Path(folder) / "bulk.db", reports)
        stream(Path(folder) / "stream.db", reports)


if __name__ == "__main__":
    main()
