"""Which model the examples ask: one given on the command line, OpenAI's, or a small local one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_logprobs import with_logprobs
from langchain_logprobs.local import LocalModel, local_model


def options(usage: str | None) -> argparse.ArgumentParser:
    """What can be given on the command line: which model to ask."""
    parser = argparse.ArgumentParser(
        description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", help="of an OpenAI-compatible API")
    parser.add_argument("--model", default="gpt-4o-mini", help="its name there")
    return parser


@contextmanager
def chosen_model(
    usage: str | None,
    stop: tuple[str, ...] | None = ("\n", "Q:"),
    given: argparse.Namespace | None = None,
) -> Iterator[BaseChatModel]:
    """The chat model to ask, with logprobs turned on; a local one runs while the context does.

    The local model was never taught when to stop: `stop` says it, or a JSON schema does.
    """
    given = given or options(usage).parse_args()
    key = os.environ.get("OPENAI_API_KEY")
    if given.base_url or key:
        yield with_logprobs(
            ChatOpenAI(model=given.model, base_url=given.base_url, api_key=SecretStr(key or "none"))
        )
        return
    with local_model() as local:
        yield with_logprobs(_chat_model(local, stop))


def _chat_model(local: LocalModel, stop: tuple[str, ...] | None) -> ChatOpenAI:
    return ChatOpenAI(
        model=local.model,
        base_url=local.base_url,
        api_key=SecretStr(local.api_key),
        temperature=0,
        max_completion_tokens=120,
        stop_sequences=None if stop is None else list(stop),
    )
