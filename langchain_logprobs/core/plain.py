"""A report as plain JSON values: for `export`, `show --json` and the viewer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from langchain_logprobs.core.confidence import measure
from langchain_logprobs.core.fields import FieldConfidence
from langchain_logprobs.core.labels import LabelConfidence
from langchain_logprobs.core.model import Completion, Run
from langchain_logprobs.core.report import CallReport, TreeReport, channels
from langchain_logprobs.core.text import pieces
from langchain_logprobs.core.tokens import TokenLogprob

_DEPTH = 40


def plain_report(report: CallReport) -> dict[str, Any]:
    """The report as JSON values. Undefined measures are `None`; there is no NaN in it."""
    call = report.call
    return {
        "run_id": str(call.run_id),
        "root_run_id": str(call.root_run_id),
        "parent_run_id": None if call.parent_run_id is None else str(call.parent_run_id),
        "root_name": call.root_name,
        "model": call.model,
        "response_model": call.response_model,
        "provider": call.provider,
        "operation": call.operation,
        "started_ns": call.started_ns,
        "ended_ns": call.ended_ns,
        "outcome": call.outcome,
        "error": call.error,
        "source": call.source,
        "truncated": call.truncated,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "unavailable": report.unavailable,
        "low": report.low,
        "low_token": report.low_token,
        "low_response": report.low_response,
        "confidence": asdict(report.confidence),
        "completions": [plain_completion(of) for of in call.completions],
        "fields": [_field(of) for of in report.every_field],
        "labels": {path: _label(of) for path, of in report.labels.items()},
        "metadata": plain_value(call.metadata),
        "parameters": plain_value(call.parameters),
    }


def plain_tree(report: TreeReport) -> dict[str, Any]:
    """The root run as JSON values: what ran inside it, each with what it ran in; calls in brief."""
    tree, weakest = report.tree, report.weakest
    return {
        "root_run_id": str(tree.root_run_id),
        "name": tree.name,
        "kind": tree.kind,
        "started_ns": tree.started_ns,
        "ended_ns": tree.ended_ns,
        "outcome": tree.outcome,
        "error": tree.error,
        "confidence": asdict(report.confidence),
        "weakest": None if weakest is None else str(weakest.call.run_id),
        "omitted_calls": report.omitted,
        "omitted_runs": tree.omitted_runs,
        "runs": [plain_run(of) for of in tree.runs],
        "calls": [_call(of) for of in report.calls],
    }


def plain_run(run: Run) -> dict[str, Any]:
    """A run that is no model call."""
    ids = {"run_id": str(run.run_id), "parent_run_id": str(run.parent_run_id)}
    return {**asdict(run), **ids}


def plain_completion(completion: Completion) -> dict[str, Any]:
    """One answer with its tokens, channel by channel."""
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "tool_calls": [
            {"name": name, "arguments": plain_value(arguments)}
            for name, arguments in completion.tool_calls
        ],
        "tokens": [
            _token(token, piece)
            for _, tokens in channels(completion)
            for token, piece in zip(tokens, pieces(tokens), strict=True)
        ],
    }


def plain_value(value: Any, depth: int = 0) -> Any:
    """A JSON value of anything: of what JSON cannot hold, the name of its type."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping() if depth < _DEPTH:
            return {str(key): plain_value(of, depth + 1) for key, of in list(value.items())}
        case list() | tuple() | set() | frozenset() if depth < _DEPTH:
            return [plain_value(of, depth + 1) for of in value]
        case _:
            return f"<{type(value).__qualname__}>"


def _call(report: CallReport) -> dict[str, Any]:
    call = report.call
    return {
        "run_id": str(call.run_id),
        "parent_run_id": None if call.parent_run_id is None else str(call.parent_run_id),
        "model": call.response_model or call.model,
        "started_ns": call.started_ns,
        "ended_ns": call.ended_ns,
        "outcome": call.outcome,
        "error": call.error,
        "confidence": report.confidence.confidence,
        "low": report.low,
        "unavailable": report.unavailable,
        "tokens": report.confidence.count,
    }


def _token(token: TokenLogprob, piece: str) -> dict[str, Any]:
    of = measure(token)
    return {
        "text": token.text,
        "piece": piece,
        "channel": token.channel,
        "logprob": token.logprob,
        "probability": of.probability,
        "entropy": of.entropy,
        "log_odds": of.log_odds,
        "rank": of.rank,
        "at_ns": token.at_ns,
        "candidates": [{"text": its.text, "logprob": its.logprob} for its in token.candidates],
    }


def _field(of: FieldConfidence) -> dict[str, Any]:
    return {
        "path": of.path,
        "value": plain_value(of.value) if of.leaf else None,
        "leaf": of.leaf,
        "confidence": of.confidence.confidence if of.leaf else of.mean,
        "lowest": of.lowest,
        "complete": of.complete,
        "alignment": of.alignment,
        "tokens": [of.tokens.start, of.tokens.stop],
    }


def _label(of: LabelConfidence) -> dict[str, Any]:
    return {
        "chosen": of.chosen,
        "likeliest": of.likeliest,
        "probabilities": dict(of.probabilities),
        "label_mass": of.label_mass,
        "log_odds": of.log_odds,
        "tokens": [of.tokens.start, of.tokens.stop],
    }
