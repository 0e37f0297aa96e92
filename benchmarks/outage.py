"""Nobody listens for a minute, then somebody does: what arrives of what was sent meanwhile?

    python -m benchmarks.outage --down 60

Every connection is refused until the receiver starts. The SDK's exporter tries each batch again for
`OTEL_EXPORTER_OTLP_TIMEOUT` seconds, 10 by default, but six times at most, which takes half a
minute; then it drops it. The package's own goes on for two minutes. The minute begins when the last
call has ended; all the while the application starts ten spans a second of its own.
"""

from __future__ import annotations

import argparse
import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from opentelemetry import trace

from benchmarks.contestants import NAIVE, OURS, QUICK, Contestant
from benchmarks.payloads import chunks
from benchmarks.processes import asked, running
from benchmarks.rounds import RESULTS, Figures, Table, progress, write
from benchmarks.sent import call
from benchmarks.stage import Stage, staged

WHO = (OURS, QUICK, NAIVE)
TOKENS = 1000
"""Of each call."""
RATE = 10
"""Spans that the application starts a second."""
_APPLICATION = "application"


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--down", type=float, default=60.0, help="seconds")
    parser.add_argument("--calls", type=int, default=20, help="each of a thousand tokens")
    parser.add_argument("--timeouts", nargs="+", default=["10", "60"], help="of the exporter")
    parser.add_argument("--json", type=Path, default=RESULTS / "outage.json")
    options = parser.parse_args()
    table = Table(
        f"{options.calls} calls of {TOKENS} tokens, nobody listens for {options.down:.0f} s",
        survived(options.down, options.calls, options.timeouts),
    )
    table.print()
    write(options.json, [table])


def survived(down: float, calls: int, timeouts: list[str]) -> list[dict[str, object]]:
    """What arrives, by the exporter's timeout, and how long after somebody listens."""
    ports = {timeout: _free_port() for timeout in timeouts}
    rows: list[dict[str, object]] = []
    with ExitStack() as running_still:
        stages = {}
        for timeout, port in ports.items():
            os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = timeout
            stages[timeout] = running_still.enter_context(staged(WHO, f"http://127.0.0.1:{port}"))
        for stage in stages.values():
            for who in WHO:
                stage.ask(who, _sending, calls, down)
        begun = time.monotonic()
        while (left := begun + down - time.monotonic()) > 0:
            progress(f"nobody listens for {left:.0f} s more")
            time.sleep(min(5.0, left))
        addresses = {
            timeout: running_still.enter_context(
                running("benchmarks.receiver", "--port", str(port))
            )
            for timeout, port in ports.items()
        }
        waited = _waited(stages)
        for timeout, address in addresses.items():
            counts = asked(f"{address}/counts")
            rows += [
                {
                    "who": who,
                    "timeout s": timeout,
                    **_lost(calls, int(down * RATE), counts.get(who, {})),
                    "all sent after s": waited[timeout, who],
                }
                for who in WHO
            ]
    progress("")
    return rows


def _waited(stages: Mapping[str, Stage]) -> dict[tuple[str, str], float]:
    """For how long each of them, all at once, has still to send."""
    whom = [(timeout, who) for timeout in stages for who in WHO]
    with ThreadPoolExecutor(len(whom)) as asking:
        found = asking.map(lambda of: stages[of[0]].ask(of[1], _finished)["seconds"], whom)
        return dict(zip(whom, found, strict=True))


def _lost(calls: int, works: int, counts: Mapping[str, int]) -> dict[str, object]:
    return {
        "token spans": calls * TOKENS,
        "lost": calls * TOKENS - counts.get("span token", 0),
        "application's spans": works,
        "of these lost": works - counts.get("span work", 0),
    }


def _sending(of: Contestant, calls: int, down: float) -> Figures:
    """Calls at full speed, after which the application goes on with spans of its own."""
    stream = chunks(TOKENS, 5)
    for _ in range(calls):
        call(of.handlers[0], stream)
    work = partial(_working, _provider(of).get_tracer(_APPLICATION), int(down * RATE))
    threading.Thread(target=work, name=_APPLICATION, daemon=True).start()
    return {}


def _working(tracer: trace.Tracer, spans: int) -> None:
    for _ in range(spans):
        time.sleep(1 / RATE)
        tracer.start_span("work").end()


def _finished(of: Contestant) -> Figures:
    for thread in threading.enumerate():
        if thread.name == _APPLICATION:
            thread.join()
    begun = time.monotonic()
    of.finish()
    return {"seconds": round(time.monotonic() - begun, 1)}


def _provider(of: Contestant) -> trace.TracerProvider:
    provider = of.provider
    assert provider is not None
    return provider


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
