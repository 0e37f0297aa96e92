"""One model, every way of calling it: what the handler sees of what the provider sent.

Run inside the environment of that model's package; prints one JSON document.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import os
import re
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
    "LANGSMITH_TRACING": "false",
}

import wire
from models import CASES, Case
from recording import Recorder

from langchain_logprobs import (
    CallReport,
    Candidate,
    LogprobsUnsupportedError,
    TokenLogprob,
    get_logprobs_callback,
    with_logprobs,
)
from langchain_logprobs.patches import (
    google_genai,
    litellm_stream,
    llama_cpp_chat,
    ollama_v3,
    openai_responses,
    together_stream,
    vertexai_stream,
)

_TOP = 2


async def ainvoke(model: Any, config: Any, text: str) -> None:
    """A whole answer, in async code."""
    await model.ainvoke(text, config=config)


async def astream(model: Any, config: Any, text: str) -> None:
    """An answer piece by piece, in async code."""
    async for _ in model.astream(text, config=config):
        pass


async def av3(model: Any, config: Any, text: str) -> None:
    """The same by the v3 protocol, in async code."""
    events = model.astream_events(text, version="v3", config=config)
    # A model that knows v3 gives a stream to wait for; any other, an iterator that complains.
    async for _ in await events if inspect.isawaitable(events) else events:
        pass


def invoke(model: Any, config: Any, text: str) -> None:
    """A whole answer."""
    model.invoke(text, config=config)


def stream(model: Any, config: Any, text: str) -> None:
    """An answer piece by piece."""
    for _ in model.stream(text, config=config):
        pass


def v3(model: Any, config: Any, text: str) -> None:
    """The same by the v3 protocol."""
    for _ in model.stream_events(text, version="v3", config=config):
        pass


Way = Callable[[Any, Any, str], Awaitable[None] | None]
WAYS: dict[str, Way] = {of.__name__: of for of in (invoke, stream, v3, ainvoke, astream, av3)}


def main(key: str) -> None:
    """Tries the model of this name."""
    warnings.simplefilter("ignore")
    case = CASES[key]
    with wire.serving(case.routes, tls=case.tls) as server:
        found = {
            "versions": {name: version(name) for name in _named(case)},
            **_tried(case, server.url),
            "unknown_requests": sorted(set(server.unknown)),
        }
    # Without what differs from run to run.
    print("\n" + json.dumps(found).replace(server.url, "URL"))


def _named(case: Case) -> list[str]:
    return [case.packages[0], "langchain-core"]


def _tried(case: Case, url: str) -> dict[str, Any]:
    before = _patched_functions()
    plain = _in_mode(case, url, patch=False)
    patched = _in_mode(case, url, patch=True)
    in_force = [name for name, patch in _PATCHES.items() if patch.is_applied]
    for patch in _PATCHES.values():
        patch.revert()
    return {
        "plain": plain,
        "patched": patched,
        "in_force": in_force,
        "undone": _patched_functions() == before,
    }


_PATCHES = {
    of.PATCH.name: of.PATCH
    for of in (
        google_genai,
        litellm_stream,
        llama_cpp_chat,
        ollama_v3,
        openai_responses,
        together_stream,
        vertexai_stream,
    )
}


def _patched_functions() -> dict[str, object]:
    """The functions that patches wrap, of the packages that are here."""
    edits = [edit for patch in _PATCHES.values() for edit in patch.edits]
    return {
        f"{edit.module}.{edit.name}": attrgetter(edit.name)(import_module(edit.module))
        for edit in edits
        if find_spec(edit.module.partition(".")[0]) is not None
    }


def _in_mode(
    case: Case, url: str, *, patch: bool, ways: Iterable[str] = tuple(WAYS)
) -> dict[str, Any]:
    try:
        with_logprobs(case.make(url), _TOP, patch=patch)
    except LogprobsUnsupportedError as error:
        by_hand = {way: _seen(case, url, way) for way in ways} if case.ask else {}
        return {"refused": str(error), **by_hand}
    return {way: _seen(case, url, way, patch=patch) for way in ways}


def _seen(case: Case, url: str, way: str, *, patch: bool | None = None) -> dict[str, Any]:
    """What came of one call; `patch` is `None` where the model is asked by hand."""
    # Made anew for each: an async client belongs to the event loop that it was first used in.
    made = case.make(url)
    model = made.bind(**case.ask) if patch is None else with_logprobs(made, _TOP, patch=patch)
    model = model.bind(**case.bind) if case.bind else model
    recorder = Recorder()
    error = None
    with get_logprobs_callback() as captured:
        try:
            done = WAYS[way](model, {"callbacks": [recorder]}, case.prompt)
            if done is not None:
                asyncio.run(done)  # type: ignore[arg-type]
        except Exception as raised:  # noqa: BLE001 - whatever a client raises belongs in the table
            error = f"{type(raised).__name__}: {raised}"
            if os.environ.get("TRACEBACKS"):
                traceback.print_exc()
    report = captured.last
    said = case.said()
    return {
        "tokens": 0 if report is None else _right(report, said),
        "bare": 0 if report is None else _bare(report, said),
        "sent": len(said),
        "reason": None if report is None else report.unavailable,
        "source": None if report is None else report.call.source,
        "outcome": None if report is None else report.call.outcome,
        "error": None if error is None else re.sub(r"0x[0-9a-f]+", "0x", error),
        "said": said,
        "events": recorder.events,
    }


def _right(report: CallReport, said: Sequence[wire.Said]) -> int:
    """How many tokens are there with the very numbers and alternatives that were sent."""
    tokens = [token for each in report.call.completions for token in each.tokens]
    if len(tokens) > len(said):
        return -len(tokens)
    return sum(
        _is(token, text, logprob)
        and len(token.candidates) == _TOP
        and all(_is(of, *other) for of, other in zip(token.candidates, others, strict=False))
        for token, (text, logprob, others) in zip(tokens, said, strict=False)
    )


def _bare(report: CallReport, said: Sequence[wire.Said]) -> int:
    """How many are there with the very number that was sent, but without alternatives."""
    tokens = [token for each in report.call.completions for token in each.tokens]
    return sum(
        _is(token, text, logprob) and not token.candidates
        for token, (text, logprob, _) in zip(tokens, said, strict=False)
    )


def _is(token: TokenLogprob | Candidate, text: str, logprob: float) -> bool:
    """Whether it is this; Vertex AI's client rounds to single precision."""
    return (
        token.text == text
        and token.logprob is not None
        and math.isclose(token.logprob, logprob, rel_tol=1e-6)
    )


if __name__ == "__main__":
    main(sys.argv[1])
