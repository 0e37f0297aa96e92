"""`doctor`: what stands between the user and the numbers, each with the way out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from langchain_logprobs.cli.exporter import exporter
from langchain_logprobs.cli.findings import Finding, installed_version, table
from langchain_logprobs.cli.options import console
from langchain_logprobs.core.reasons import REASONS
from langchain_logprobs.settings import Settings, SettingsError
from langchain_logprobs.store import Query, StoredRuns, StoreError, default_path

_RECENT = 1_000

INSTRUMENTATIONS: Mapping[str, str] = {
    "opentelemetry-instrumentation-genai-langchain": "OpenTelemetry's GenAI instrumentation",
    "opentelemetry-instrumentation-langchain": "OpenLLMetry",
    "openinference-instrumentation-langchain": "OpenInference",
    "langfuse": "Langfuse",
    "openlit": "OpenLIT",
    "mlflow": "MLflow",
    "logfire": "Logfire",
}
"""Those whose span for the model call becomes ours to add to, by package."""
_PACKAGES = ("langchain-logprobs", "langchain-core", "langchain-openai", "opentelemetry-sdk")


def examine(store: Path | None, base_url: str | None, model: str | None, *, as_json: bool) -> None:
    """Prints every finding; ends with status 1 if there is a problem."""
    findings = [
        *packages(),
        *settings(os.environ),
        *logprobs(store),
        *(endpoint(base_url, model) if base_url else ()),
        *exporter(os.environ),
        *span_owner(installed_version),
    ]
    if as_json:
        typer.echo(json.dumps([asdict(of) for of in findings]))
    else:
        console().print(table(findings))
    if any(of.verdict == "problem" for of in findings):
        raise SystemExit(1)


def packages() -> Iterator[Finding]:
    """What is installed."""
    told = ", ".join(f"{name} {installed_version(name) or 'missing'}" for name in _PACKAGES)
    yield Finding("good" if installed_version("langchain-core") else "problem", "packages", told)


def settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the environment's settings can be read, and whether text leaves the process."""
    try:
        read = Settings.from_environment(environment)
    except SettingsError as error:
        yield Finding("problem", "settings", str(error), "correct it, or unset it")
        return
    given = sorted(name for name in environment if name.startswith("LANGCHAIN_LOGPROBS_"))
    yield Finding("good", "settings", f"from the environment: {', '.join(given) or 'none'}")
    if read.capture_content:
        yield Finding("note", "content", "token texts leave the process, as span attributes")
    else:
        yield Finding(
            "note",
            "content",
            "token texts stay in the process; telemetry has numbers only",
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY sends them too",
        )


def logprobs(store: Path | None) -> Iterator[Finding]:
    """Whether the last runs had logprobs, by model, as the store has it."""
    path = default_path() if store is None else store
    try:
        stored = StoredRuns(path)
        yield Finding(
            "good", "store", f"{stored.path}: {stored.count():,} runs, {_size(stored.used_bytes())}"
        )
        if dropped := stored.dropped():
            yield Finding(
                "problem",
                "store",
                f"{dropped:,} reports were dropped: writing could not keep up",
                "a larger max_pending, a faster disk, or a sampling processor",
            )
        yield from _by_model(stored)
    except StoreError as error:
        is_begun = path.exists() and (path.is_dir() or path.stat().st_size > 0)
        yield Finding("problem" if is_begun else "note", "store", str(error))


def _by_model(stored: StoredRuns) -> Iterator[Finding]:
    recent = stored.summaries(Query(), limit=_RECENT)
    if not recent:
        yield Finding("note", "logprobs", "no runs yet", "langchain-logprobs demo makes some")
    for model in sorted({of.model or "unknown model" for of in recent}):
        runs = [of for of in recent if (of.model or "unknown model") == model]
        without = [of for of in runs if of.unavailable is not None]
        told = f"{model}: {len(runs) - len(without)} of the last {len(runs)} runs have them"
        reasons = sorted({of.unavailable for of in without if of.unavailable})
        ways = "; ".join(f"{reason} - {REASONS[reason].way_out}" for reason in reasons)
        yield Finding("problem" if ways else "good", "logprobs", told, ways)


def endpoint(base_url: str, model: str | None) -> Iterator[Finding]:
    """Whether an OpenAI-compatible API sends logprobs, asked without LangChain between."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    question = {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 3,
        "logprobs": True,
        "top_logprobs": 2,
    }
    if urlsplit(base_url).scheme not in ("http", "https") or model is None:
        yield Finding("problem", "provider", "--base-url takes an http(s) URL, beside a --model")
        return
    request = Request(  # noqa: S310 - http or https, as checked
        f"{base_url.rstrip('/')}/chat/completions",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            body = json.load(answer)
    except (OSError, ValueError) as error:
        yield Finding("problem", "provider", f"{base_url} did not answer: {error}", "is it up?")
        return
    if _has_logprobs(body):
        yield Finding("good", "provider", f"{model} at {base_url} sends logprobs with alternatives")
    else:
        yield Finding(
            "problem", "provider", f"{model} at {base_url} was asked and sent none",
            "another model or endpoint; behind a gateway, its setting for dropped parameters",
        )  # fmt: skip


def _has_logprobs(body: object) -> bool:
    match body:
        case {"choices": [{"logprobs": {"content": [{"logprob": float() | int()}, *_]}}, *_]}:
            return True
    return False


def span_owner(installed: Callable[[str], str | None]) -> Iterator[Finding]:
    """Whose span the model call's numbers will stand on."""
    found = {name: label for name, label in INSTRUMENTATIONS.items() if installed(name)}
    if not found:
        yield Finding("good", "LLM span", "ours: no other LangChain instrumentation is installed")
    elif len(found) == 1:
        [label] = found.values()
        yield Finding(
            "good", "LLM span", f"{label}'s, if it is switched on: the numbers are added to it"
        )
    else:
        yield Finding(
            "note",
            "LLM span",
            f"{', '.join(found.values())} are installed: of those that are switched on, the first "
            "to start a span for the call owns it",
            "switch on one, or calls appear twice in the backend",
        )
    if "mlflow" in found:
        yield Finding(
            "note",
            "LLM span",
            "MLflow keeps its traces apart",
            "MLFLOW_USE_DEFAULT_TRACER_PROVIDER=false joins them",
        )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
