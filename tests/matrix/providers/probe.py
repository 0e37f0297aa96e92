"""One model, every way of calling it: what the handler sees of what the provider sent.

Run inside the environment of that model's package; prints one JSON document.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import version
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

_TOP = 2


def invoke(model: Any, config: Any) -> None:
    """A whole answer."""
    model.invoke("hello", config=config)


def stream(model: Any, config: Any) -> None:
    """An answer piece by piece."""
    for _ in model.stream("hello", config=config):
        pass


def v3(model: Any, config: Any) -> None:
    """The same by the v3 protocol."""
    for _ in model.stream_events("hello", version="v3", config=config):
        pass


WAYS: dict[str, Callable[[Any, Any], None]] = {"invoke": invoke, "stream": stream, "v3": v3}


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
    print("\n" + json.dumps(found))


def _named(case: Case) -> list[str]:
    return [case.packages[0], "langchain-core"]


def _tried(case: Case, url: str) -> dict[str, Any]:
    model = case.make(url)
    found: dict[str, Any] = {}
    for name, patch in (("plain", False), ("patched", True)):
        try:
            asking = with_logprobs(model, _TOP, patch=patch)
        except LogprobsUnsupportedError as error:
            found[name] = {"refused": str(error)}
            if case.ask:
                found[name] |= {way: _seen(WAYS[way], model.bind(**case.ask)) for way in WAYS}
            continue
        found[name] = {way: _seen(WAYS[way], asking) for way in WAYS}
    return found


def _seen(way: Callable[[Any, Any], None], model: Any) -> dict[str, Any]:
    recorder = Recorder()
    error = None
    with get_logprobs_callback() as captured:
        try:
            way(model, {"callbacks": [recorder]})
        except Exception as raised:  # noqa: BLE001 - whatever a client raises belongs in the table
            error = f"{type(raised).__name__}: {raised}"
            if os.environ.get("TRACEBACKS"):
                traceback.print_exc()
    report = captured.last
    return {
        "tokens": 0 if report is None else _right(report),
        "sent": len(wire.SAID),
        "reason": None if report is None else report.unavailable,
        "source": None if report is None else report.call.source,
        "outcome": None if report is None else report.call.outcome,
        "error": error,
        "events": recorder.events,
    }


def _right(report: CallReport) -> int:
    """How many tokens are there with the very numbers and alternatives that were sent."""
    tokens = [token for each in report.call.completions for token in each.tokens]
    if len(tokens) > len(wire.SAID):
        return -len(tokens)
    return sum(
        _is(token, text, logprob)
        and len(token.candidates) == _TOP
        and all(_is(of, *other) for of, other in zip(token.candidates, others, strict=False))
        for token, (text, logprob, others) in zip(tokens, wire.SAID, strict=False)
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
