"""Asks one published package for the confidence of every leaf of a corpus.

Runs inside that package's own environment, so it imports nothing of ours:
`python fields_probe.py PACKAGE < corpus.json > result.json`.
Each package gets the input that its documentation asks for. A leaf is exact if the sum of logprobs
that the package reports for it is that of the value's tokens, with or without either quote.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

Path = tuple[Any, ...]
Sums = dict[Any, float]
Asked = Callable[[], Sums]


def structured_logprobs(answer: dict[str, Any]) -> Asked:
    """`add_logprobs` takes an OpenAI `ChatCompletion`."""
    types = import_module("openai.types.chat.chat_completion")
    add_logprobs = import_module("structured_logprobs").add_logprobs
    response = types.ChatCompletion.model_validate(_completion(answer))
    return lambda: dict(_walked(add_logprobs(response).log_probs[0], _unescaped))


def llm_structured_confidence(answer: dict[str, Any]) -> Asked:
    """`extract_logprobs` takes an OpenAI response as a dict; without a path it gives all values."""
    extract = import_module("llm_structured_confidence").extract_logprobs
    response = _completion(answer)
    return lambda: {of.path: of.field_logprob.joint_logprob for of in extract(response)}


def logprobs_parser(answer: dict[str, Any]) -> Asked:
    """`build_json_logprobs` takes its own `Token`s."""
    package = import_module("logprobs_parser")
    tokens = [package.Token(token=of["token"], logprob=of["logprob"]) for of in answer["tokens"]]

    def ask() -> Sums:
        found = package.build_json_logprobs(tokens)
        return {path: of.logprob for path, of in _walked(found, str)}

    return ask


def agentuq(answer: dict[str, Any]) -> Asked:
    """An adapter makes a record of an OpenAI response, and `Analyzer` its segments."""
    adapter = import_module("agentuq.adapters.openai_chat").OpenAIChatAdapter()
    analyzer = import_module("agentuq").Analyzer()
    response = _completion(answer)
    asked = {"model": "gpt-4o", "logprobs": True, "top_logprobs": 1}

    def ask() -> Sums:
        record = adapter.capture(response, asked)
        result = analyzer.analyze_step(record, adapter.capability_report(response, asked))
        leaves = (of for of in result.segments if of.kind == "json_leaf")
        return {of.metadata["jsonpath"]: -of.metrics.nll for of in leaves}

    return ask


def _dotted(path: Path) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "".join(steps)


PACKAGES: dict[str, tuple[Callable[[dict[str, Any]], Asked], Callable[[Path], Any]]] = {
    "structured-logprobs": (structured_logprobs, lambda path: path),
    "llm-structured-confidence": (
        llm_structured_confidence,
        lambda path: _dotted(path).removeprefix("."),
    ),
    "logprobs-parser": (logprobs_parser, lambda path: path),
    "agentuq": (agentuq, lambda path: f"${_dotted(path)}"),
}


def probe(package: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """How many leaves are exact by kind of answer, how many answers raise, and the time taken."""
    prepare, key = PACKAGES[package]
    exact: dict[str, int] = {}
    errors: dict[str, int] = {}
    seconds = 0.0
    for answer in answers:
        ask = prepare(answer)
        began = time.process_time()
        try:
            sums = ask()
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is measured
            sums = {}
            name = type(error).__name__
            errors[name] = errors.get(name, 0) + 1
        seconds += time.process_time() - began
        found = sum(
            _is_exact(leaf, sums.get(key(tuple(leaf["path"])))) for leaf in answer["leaves"]
        )
        exact[answer["kind"]] = exact.get(answer["kind"], 0) + found
    return {"version": version(package), "exact": exact, "errors": errors, "seconds": seconds}


def _is_exact(leaf: dict[str, Any], got: Any) -> bool:
    return isinstance(got, float) and any(abs(got - right) < 1e-9 for right in leaf["sums"])


def _completion(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": answer["text"], "refusal": None},
                "logprobs": {
                    "content": [
                        {**token, "top_logprobs": [{**token}]} for token in answer["tokens"]
                    ],
                    "refusal": None,
                },
            }
        ],
    }


def _walked(node: Any, name: Callable[[str], str], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The leaves of nested dicts and lists, by path."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from _walked(inner, name, (*path, name(key)))
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from _walked(inner, name, (*path, index))
    else:
        yield path, node


def _unescaped(key: str) -> str:
    return str(json.loads(f'"{key}"'))


if __name__ == "__main__":
    json.dump(probe(sys.argv[1], json.load(sys.stdin)), sys.stdout)
