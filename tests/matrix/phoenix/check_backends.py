"""A real answer's trace in a real Phoenix and a real MLflow, each started here.

`make phoenix` installs both, apart from the project's own environment, and runs this; it is no part
of the ordinary tests. With PICTURES set to a folder, Chromium takes a picture of each into it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id
from playwright.sync_api import sync_playwright

from langchain_logprobs import CallReport, LogprobsCallbackHandler, with_logprobs
from langchain_logprobs.local import LocalModel, local_model

QUESTION = "Who painted the Mona Lisa?"
START = 180.0
"""Seconds for a backend to be up; either imports half of the ecosystem."""


@dataclass(frozen=True)
class Backend:
    """How to start one, and how to ask it for a trace."""

    name: str
    command: Callable[[int, Path], list[str]]
    environment: Callable[[int, Path], dict[str, str]]
    health: str
    prepare: Callable[[str], dict[str, str]]
    tree: Callable[[str, str], dict[str, tuple[str | None, str]]]
    page: Callable[[str, str], str]
    shown: str = "body"


def phoenix_tree(address: str, trace_id: str) -> dict[str, tuple[str | None, str]]:
    """Every span's parent and name, by its id."""
    spans = fetched(f"{address}/v1/projects/quiz/spans?limit=1000&trace_id={trace_id}")["data"]
    return {of["context"]["span_id"]: (of["parent_id"], of["name"]) for of in spans}


def mlflow_tree(address: str, trace_id: str) -> dict[str, tuple[str | None, str]]:
    """Every span's parent and name, by its id."""
    trace = fetched(f"{address}/api/3.0/mlflow/traces/get?trace_id=tr-{trace_id}")["trace"]
    return {of["span_id"]: (of.get("parent_span_id") or None, of["name"]) for of in trace["spans"]}


def mlflow_experiment(address: str) -> dict[str, str]:
    """The header that says which experiment a trace is of."""
    made = fetched(f"{address}/api/2.0/mlflow/experiments/create", {"name": "quiz"})
    return {"x-mlflow-experiment-id": made["experiment_id"]}


PHOENIX = Backend(
    name="phoenix",
    command=lambda port, folder: ["phoenix", "serve"],  # noqa: ARG005 - told by its environment
    environment=lambda port, folder: {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    },
    health="healthz",
    prepare=lambda address: {},  # noqa: ARG005 - it makes the project itself
    tree=phoenix_tree,
    page=lambda address, trace_id: f"{address}/redirects/traces/{trace_id}",
)
MLFLOW = Backend(
    name="mlflow",
    command=lambda port, folder: [
        *("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ],
    environment=lambda port, folder: {"DO_NOT_TRACK": "true"},  # noqa: ARG005
    health="health",
    prepare=mlflow_experiment,
    tree=mlflow_tree,
    page=lambda address, trace_id: (
        f"{address}/#/experiments/1/traces?selectedEvaluationId=tr-{trace_id}"
    ),
    shown="[role=dialog]",  # around it is an assistant that nobody asked for
)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalModel]:
    with local_model() as running:
        yield running


@pytest.mark.parametrize("backend", [PHOENIX, MLFLOW], ids=lambda of: of.name)
def test_the_tokens_of_an_answer_are_read_under_its_call(
    backend: Backend, local: LocalModel, tmp_path: Path
) -> None:
    with serving(backend, tmp_path) as address:
        trace_id, report = send(f"{address}/v1/traces", backend.prepare(address), local)
        tree = wait_for(lambda: backend.tree(address, trace_id), 2 + len(report.tokens))
        if folder := os.environ.get("PICTURES"):
            shown = picture(backend, address, trace_id, repr(report.tokens[0].text))
            (Path(folder) / f"{backend.name}.png").write_bytes(shown)

    (root,) = [span_id for span_id, (parent, _) in tree.items() if parent is None]
    (call,) = [span_id for span_id, (parent, _) in tree.items() if parent == root]
    shown = [name for parent, name in tree.values() if parent == call]
    assert (tree[root][1], tree[call][1]) == ("invoke_workflow quiz", f"chat {local.model}")
    assert sorted(shown) == sorted(
        f"{of.text!r} {exp(of.logprob):.2f}" for of in report.tokens if of.logprob is not None
    )


def send(endpoint: str, headers: dict[str, str], local: LocalModel) -> tuple[str, CallReport]:
    """Asks the model one question; the trace's id, and the report of the answer."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": "quiz", "openinference.project.name": "quiz"})
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, headers=headers, timeout=60)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    seen = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    handler = LogprobsCallbackHandler(
        tracer_provider=provider, capture_content=True, openinference=True, keep=1
    )
    model = ChatOpenAI(
        base_url=local.base_url, model=local.model, api_key=local.api_key, temperature=0
    )
    chain = with_logprobs(model, top_logprobs=5) | StrOutputParser()
    list(chain.stream(QUESTION, {"callbacks": [handler], "run_name": "quiz"}))
    handler.flush()
    (call,) = [span for span in seen.get_finished_spans() if span.name.startswith("chat")]
    provider.shutdown()
    assert handler.last is not None
    return format_trace_id(call.context.trace_id), handler.last


@contextmanager
def serving(backend: Backend, folder: Path) -> Iterator[str]:
    """The address of a backend that runs until the context ends."""
    port = free_port()
    program, *arguments = backend.command(port, folder)
    path = shutil.which(program)
    assert path is not None, f"{program} is missing: make phoenix"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [path, *arguments],
            env={**os.environ, **backend.environment(port, folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{address}/{backend.health}"), 1, START)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(what: Callable[[], Any], least: int, seconds: float = 60.0) -> Any:
    """What it gives, once that is at least so many."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            found = what()
        except URLError:
            found = ()
        if len(found) >= least:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"{len(found)} of {least}")


def answers(url: str) -> list[int]:
    with urlopen(url, timeout=5) as response:
        return [response.status]


def fetched(url: str, body: dict[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        return json.load(response)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def picture(backend: Backend, address: str, trace_id: str, token: str) -> bytes:
    """What a browser shows of a trace, with the span of a token chosen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False
        )
        page = browser.new_page(viewport={"width": 1400, "height": 820})
        page.set_default_timeout(120_000)
        page.goto(backend.page(address, trace_id))
        page.get_by_text(token).first.click()
        page.get_by_text("langchain_logprobs.token.").first.wait_for()
        page.wait_for_timeout(1000)  # panels slide in
        shown = page.locator(backend.shown).first.screenshot()
        browser.close()
    return shown
