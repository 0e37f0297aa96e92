"""What it costs the stream's thread to capture a call: token by token, at its end, as it grows.

    python -m benchmarks.captured --tokens 1000 16000 --rounds 9

`stream` is CPU time of the stream's own thread, a token; `end` that of the end of the call; `added`
is both together, a token, less what an empty callback takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.outputs import ChatGenerationChunk
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.contestants import Discarding, Empty
from benchmarks.payloads import chunks, ended
from benchmarks.rounds import RESULTS, Figures, Median, Table, interleaved, ratio, write
from langchain_logprobs import LogprobsCallbackHandler

_ASKED = {"logprobs": True, "top_logprobs": 5, "model_name": "benchmark"}
_NOT_SAMPLED = trace.SpanContext(1, 1, is_remote=True)
_EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Case:
    """A handler, and the span that is current when its call starts."""

    handler: BaseCallbackHandler
    around: Callable[[], trace.Span] = lambda: trace.INVALID_SPAN

    def finish(self) -> None:
        """Waits for what is under way."""
        getattr(self.handler, "flush", lambda: None)()


def main() -> None:
    """Measures and reports."""
    options = _options()
    tables = [
        Table(f"{mode}, tokens of {options.candidates} candidates", _rows(mode, options))
        for mode in options.modes
    ]
    for of in tables:
        of.print()
    write(options.json, tables)


def _rows(mode: str, options: argparse.Namespace) -> list[dict[str, object]]:
    found = {tokens: _measured(mode, tokens, options) for tokens in options.tokens}
    return [
        {"who": name, **{key: of for tokens in found for key, of in _row(name, tokens, found)}}
        for name in found[options.tokens[0]]
    ]


def _row(
    name: str, tokens: int, found: dict[int, dict[str, dict[str, Median]]]
) -> list[tuple[str, object]]:
    own, empty = found[tokens][name], found[tokens][_EMPTY]
    first = min(found)
    grown = _added(found[tokens], name) / (_added(found[first], name) or 1.0)
    return [
        (f"{tokens}: stream us", own["stream"]),
        (f"{tokens}: x empty", ratio(own, empty, "stream")),
        (f"{tokens}: end ms", own["end"]),
        *([] if tokens == first else [(f"added, x that at {first}", grown)]),
    ]


def _added(found: dict[str, dict[str, Median]], name: str) -> float:
    return found[name]["together"].median - found[_EMPTY]["together"].median


def _measured(mode: str, tokens: int, options: argparse.Namespace) -> dict[str, dict[str, Median]]:
    stream = chunks(tokens, options.candidates)
    measure = _sync if mode == "sync" else _async
    taking_part = {name: partial(measure, of, stream) for name, of in _cases().items()}
    return interleaved(taking_part, rounds=options.rounds, label=f"{mode}, {tokens} tokens")


def _cases() -> dict[str, Case]:
    neighbour = _provider()

    def llm_span() -> trace.Span:
        attributes = {"gen_ai.operation.name": "chat"}
        return neighbour.get_tracer("neighbour").start_span("chat", attributes=attributes)

    return {
        _EMPTY: Case(Empty()),
        "default": Case(_ours()),
        "all spans": Case(_ours(max_token_spans=None)),
        "on another's LLM span": Case(_ours(tracer_provider=neighbour), llm_span),
        "parent not sampled, metrics": Case(_ours(), partial(_parent, _NOT_SAMPLED)),
        "parent not sampled, no metrics": Case(
            _ours(meter_provider=None), partial(_parent, _NOT_SAMPLED)
        ),
    }


def _parent(context: trace.SpanContext) -> trace.Span:
    return trace.NonRecordingSpan(context)


def _ours(**given: Any) -> LogprobsCallbackHandler:
    meter_provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return LogprobsCallbackHandler(
        **{"tracer_provider": _provider(), "meter_provider": meter_provider, **given}
    )


def _provider() -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discarding()))
    return provider


def _sync(of: Case, stream: Sequence[ChatGenerationChunk]) -> Figures:
    manager = CallbackManager.configure([of.handler])
    whole = ended(stream)
    gc.collect()
    with trace.use_span(of.around(), end_on_exit=True):
        (run,) = manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
        start = time.thread_time()
        for chunk in stream:
            run.on_llm_new_token(chunk.text, chunk=chunk)
        end = time.thread_time()
        run.on_llm_end(whole)
        done = time.thread_time()
    of.finish()
    return _figures(start, end, done, len(stream))


def _async(of: Case, stream: Sequence[ChatGenerationChunk]) -> Figures:
    return asyncio.run(_streamed(of, stream))


async def _streamed(of: Case, stream: Sequence[ChatGenerationChunk]) -> Figures:
    manager = AsyncCallbackManager.configure([of.handler])
    whole = ended(stream)
    gc.collect()
    with trace.use_span(of.around(), end_on_exit=True):
        (run,) = await manager.on_chat_model_start({}, [[]], invocation_params=_ASKED)
        start = time.thread_time()
        for chunk in stream:
            await run.on_llm_new_token(chunk.text, chunk=chunk)
        end = time.thread_time()
        await run.on_llm_end(whole)
        done = time.thread_time()
    await asyncio.to_thread(of.finish)
    return _figures(start, end, done, len(stream))


def _figures(start: float, end: float, done: float, tokens: int) -> Figures:
    return {
        "stream": (end - start) / tokens * 1e6,
        "end": (done - end) * 1e3,
        "together": (done - start) / tokens * 1e6,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--modes", nargs="+", default=["sync", "async"], choices=["sync", "async"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[1000, 16_000])
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=RESULTS / "captured.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
