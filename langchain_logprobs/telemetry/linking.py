"""Which span is this call's LLM span: another instrumentation's, or none, so that we make our own.

When a call starts, a link is set in a context variable. The first LLM-like span that then starts in
that context is the one another instrumentation made for the same call: a span processor sees it and
fills the link. If the other's handler comes before ours, its span is there already: it is the last
one that started in our context. Nothing is ever attached, and a link is closed by marking it,
because the end of a call may come in another context than its start.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import ReferenceType, ref

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from langchain_logprobs.telemetry import names
from langchain_logprobs.telemetry.identity import OfEach

_SCOPES = (
    "langfuse",
    "logfire",
    "mlflow",
    "openinference.instrumentation.",
    "openlit",
    "opentelemetry.instrumentation.genai",
    "opentelemetry.instrumentation.langchain",
    "traceloop",
)
"""Scopes of instrumentations whose spans, started right where a call starts, are LLM spans."""

_KINDS = {
    names.OPERATION: frozenset({"chat", "text_completion", "generate_content"}),
    "langfuse.observation.type": frozenset({"generation"}),
    "llm.request.type": frozenset({"chat", "completion"}),
    "mlflow.spanType": frozenset({"CHAT_MODEL", "LLM", '"CHAT_MODEL"', '"LLM"'}),
    names.OPENINFERENCE_KIND: frozenset({"LLM"}),
    "traceloop.span.kind": frozenset[str](),
}
"""Attributes that tell a span's kind, and the kinds that are an LLM call."""


_UNDECIDED = frozenset({"null", '"UNKNOWN"'})
"""What MLflow has a span say of its kind until it is told."""


@dataclass(slots=True, eq=False)
class Link:
    """Where the spans of one call belong.

    Attributes:
        context: What was current when the call started.
        outer: The link of the call around this one, if there is one.
        span: Another instrumentation's span for the call, once there is one.
        claimed: Whether `span` was started for this very call, and not merely current at its start.
        summary: Our span under `span`, where that one's trace must be kept open from the start.
        early: Whether the call started before spans could be seen to start.
        closed: Whether the call has ended.
    """

    context: Context
    outer: Link | None = None
    span: trace.Span | None = None
    claimed: bool = False
    summary: trace.Span | None = None
    early: bool = False
    closed: bool = False


_SLOT: ContextVar[Link | None] = ContextVar("langchain_logprobs_link", default=None)
_LAST: ContextVar[ReferenceType[Span] | None] = ContextVar(
    "langchain_logprobs_last_span", default=None
)


class LinkingProcessor(SpanProcessor):
    """Gives each call's link the LLM span that another instrumentation starts for it."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Fills the innermost open link if this is the span it waits for."""
        del parent_context
        if _is_ours(span):
            return
        _LAST.set(ref(span))
        link = _innermost(_SLOT.get())
        if link is None or link.claimed:
            return
        evidence = _says_llm(span)
        # What is current and says what it is gives way only to a span that says so too.
        if evidence or (evidence is None and link.span is None and _is_scope_known(span)):
            link.span = span
            link.claimed = True

    def on_end(self, span: ReadableSpan) -> None:
        """Fills an open link whose span had started before anything could be seen of it."""
        link, context = _innermost(_SLOT.get()), span.get_span_context()
        if link is None or not link.early or link.span is not None or context is None:
            return
        if is_llm_span(span):
            link.span = trace.NonRecordingSpan(context)
            link.claimed = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """True: it holds nothing. Older SDKs take what they inherit for a failure, and stop."""
        del timeout_millis
        return True


def open_link(
    run_id: UUID | None = None, outer: Link | None = None, *, early: bool = False
) -> Link:
    """The link of a call that starts here and now.

    Args:
        run_id: LangChain's id of the call.
        outer: The link of the call that this one is made in, if it is made in one.
        early: Whether the spans before this moment were not watched.
    """
    link = Link(otel_context.get_current(), outer, early=early)
    current = trace.get_current_span(link.context)
    if (started := _from_openinference(run_id) or _just_started(outer)) is not None:
        link.span, link.claimed = started, True
    elif current.is_recording() and not _belongs(current, outer) and is_llm_span(current):
        link.span = current
    _take_back(link.span, _innermost(_SLOT.get()), outer)
    _SLOT.set(link)
    return link


def _take_back(span: trace.Span | None, last: Link | None, outer: Link | None) -> None:
    """Frees a span from the link of a call that this one is not made in.

    Such a call was left without an end. Its link may still be open here, and then it takes the span
    of the next call, where that starts before we hear of the call.
    """
    if last is not None and last is not outer and last.span is span:
        last.span = None


def _add_processor(provider: Any) -> bool:
    provider.add_span_processor(LinkingProcessor())
    return True


_WATCHED = OfEach[bool](_add_processor)


def watch(provider: object) -> bool:
    """Sees to it that links are filled from the spans this provider starts.

    Returns:
        Whether the provider was new. Providers without span processors are left alone.
    """
    if provider in _WATCHED or not hasattr(provider, "add_span_processor"):
        return False
    return _WATCHED[provider]


def is_llm_span(span: object) -> bool:
    """Whether a span stands for a call of a language model, by its attributes or else its scope."""
    if not isinstance(span, ReadableSpan) or _is_ours(span):
        return False
    evidence = _says_llm(span)
    return _is_scope_known(span) if evidence is None else evidence


def _says_llm(span: ReadableSpan) -> bool | None:
    """Whether its attributes say that it is an LLM span; `None` if they say nothing."""
    attributes = span.attributes or {}
    kinds = [
        attributes[name] in of
        for name, of in _KINDS.items()
        if name in attributes and attributes[name] not in _UNDECIDED
    ]
    return any(kinds) if kinds else None


def _is_scope_known(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name.startswith(_SCOPES)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == names.SCOPE


def _just_started(outer: Link | None) -> trace.Span | None:
    """The last span that started in this context, if it says that it is an LLM's and is nobody's.

    Its scope is not enough: where our handler comes first, the last span is that of the chain.
    """
    last = _LAST.get()
    span = None if last is None else last()
    if span is None or not span.is_recording() or not _says_llm(span):
        return None
    return None if _belongs(span, outer) else span


def _from_openinference(run_id: UUID | None) -> trace.Span | None:
    """OpenInference's span of a run, which it has a public way to ask for.

    Its spans say only at their end what they are.
    """
    module = sys.modules.get("openinference.instrumentation.langchain")
    kind = getattr(module, "LangChainInstrumentor", None)
    if kind is None or run_id is None or not kind().is_instrumented_by_opentelemetry:
        return None
    span = kind().get_span(run_id)
    return span if isinstance(span, trace.Span) else None


def _innermost(link: Link | None) -> Link | None:
    """The link itself, or the nearest around it whose call has not ended."""
    while link is not None and link.closed:
        link = link.outer
    return link


def _belongs(span: trace.Span, link: Link | None) -> bool:
    """Whether the span is already that of a call around this one."""
    while link is not None:
        if link.span is span:
            return True
        link = link.outer
    return False
