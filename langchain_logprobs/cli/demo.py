"""`demo`: a real model, a few questions, and how sure it was of every word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from langchain_logprobs.cli import render
from langchain_logprobs.cli.options import Failure, console, needs
from langchain_logprobs.core.report import CallReport
from langchain_logprobs.local import LocalModel, LocalModelUnavailable, local_model
from langchain_logprobs.store import Store, default_path

QUESTIONS = (
    "Who wrote Pride and Prejudice?",
    "What is the capital of Burkina Faso?",
    "What is the capital of Brazil?",
    "What is the largest planet in the Solar System?",
    "Who discovered penicillin?",
    "In which year did the Second World War begin?",
)
_OPENAI = "https://api.openai.com/v1"
_TURNS = (
    ("system", "Trivia quiz with the correct answers."),
    ("human", "Who wrote Hamlet?"),
    ("ai", "William Shakespeare."),
    ("human", "What is the capital of France?"),
    ("ai", "Paris."),
    ("human", "{question}"),
)


def demonstrate(path: Path | None, base_url: str | None, model: str | None) -> None:
    """Asks, stores and shows.

    Raises:
        Failure: The model cannot be had, or did not answer.
    """
    out = console()
    store = Store(default_path() if path is None else path)
    try:
        with _endpoint(out, base_url, model) as endpoint:
            out.print(f"{endpoint.model} at {endpoint.base_url}", style="bold", markup=False)
            out.print(render.legend())
            for report in _asked(endpoint, store, out):
                out.print(Padding(render.strip(report.tokens), (0, 0, 0, 2)))
                out.print(Padding(render.figures(report), (0, 0, 1, 2)))
    finally:
        store.close()
    option = "" if path is None else f" --store {path}"
    out.print(f"All of it is in {store.path}. Look at it:", markup=False)
    commands = f"  langchain-logprobs view{option}\n  langchain-logprobs show last{option}"
    out.print(commands, markup=False)


def _asked(endpoint: LocalModel, store: Store, out: Console) -> Iterator[CallReport]:
    try:
        from langchain_core.prompts import ChatPromptTemplate  # noqa: PLC0415 - they take seconds
        from langchain_openai import ChatOpenAI  # noqa: PLC0415
        from openai import OpenAIError  # noqa: PLC0415
        from pydantic import SecretStr  # noqa: PLC0415

        from langchain_logprobs import LogprobsCallbackHandler, with_logprobs  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise needs("openai", missing) from missing
    handler = LogprobsCallbackHandler(sinks=[store], keep=1)
    chat = ChatOpenAI(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=SecretStr(endpoint.api_key),
        temperature=0,
        max_completion_tokens=40,
        stop_sequences=list(endpoint.stop),
    )
    chain = ChatPromptTemplate(list(_TURNS)) | with_logprobs(chat, top_logprobs=5)
    for question in QUESTIONS:
        out.print(question, style="bold")
        try:
            for _ in chain.stream({"question": question}, {"callbacks": [handler]}):
                pass
        except OpenAIError as error:
            raise Failure(f"The model at {endpoint.base_url} said: {error}") from error
        if handler.last is not None:
            yield handler.last
    handler.close()


@contextmanager
def _endpoint(out: Console, base_url: str | None, model: str | None) -> Iterator[LocalModel]:
    key = os.environ.get("OPENAI_API_KEY")
    if base_url is not None and model is None:
        raise Failure("--base-url needs the name of a --model there.")
    if model is not None:
        if base_url is None and key is None:
            raise Failure("--model needs the --base-url of an API that has it, or OPENAI_API_KEY.")
        yield LocalModel(base_url or _OPENAI, model, key or "none", stop=("\n",))
        return
    _without_proxy()
    with ExitStack() as stack:
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn()
        with Progress(*columns, console=out, transient=True) as progress:
            task = progress.add_task("Starting", total=None)

            def tell(doing: str, done: float | None) -> None:
                total = None if done is None else 1
                progress.update(task, description=doing, completed=done or 0, total=total)

            try:
                endpoint = stack.enter_context(local_model(progress=tell))
            except LocalModelUnavailable as error:
                raise Failure(str(error)) from error
        yield endpoint


def _without_proxy() -> None:
    """A proxy for the rest of the world is not for this machine."""
    variable = "no_proxy" if "no_proxy" in os.environ else "NO_PROXY"
    os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1"]))
