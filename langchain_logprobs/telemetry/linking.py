"""Which span is this call's LLM span: another instrumentation's, or none, so that we make our own.

When a call starts, a link is set in a context variable. The first LLM-like span that then starts in
that context is the one another instrumentation made for the same call: a span processor sees it and
fills the link. Nothing is ever attached, and a link is closed by marking it, because the end of a
call may come in another context than its start.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from weakref import WeakSet

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from langchain_logprobs.telemetry import names

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


@dataclass(slots=True, eq=False)
class Link:
    """Where the spans of one call belong.

    Attributes:
        context: What was current when the call started.
        outer: The link of the call around this one, if there is one.
        span: Another instrumentation's span for the call, once there is one.
        claimed: Whether `span` was started for this very call, and not merely current at its start.
        closed: Whether the call has ended.
    """

    context: Context
    outer: Link | None
    span: trace.Span | None = None
    claimed: bool = False
    closed: bool = False


_SLOT: ContextVar[Link | None] = ContextVar("langchain_logprobs_link", default=None)
_LINKED: WeakSet[object] = WeakSet()
_LOCK = threading.Lock()


class LinkingProcessor(SpanProcessor):
    """Gives each call's link the LLM span that another instrumentation starts for it."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Fills the innermost open link if this is the span it waits for."""
        del parent_context
        link = _innermost(_SLOT.get())
        if link is not None and not link.claimed and is_llm_span(span):
            link.span = span
            link.claimed = True


def open_link() -> Link:
    """The link of a call that starts here and now."""
    outer = _innermost(_SLOT.get())
    link = Link(context=otel_context.get_current(), outer=outer)
    current = trace.get_current_span(link.context)
    if current.is_recording() and not _belongs(current, outer) and is_llm_span(current):
        link.span = current
    _SLOT.set(link)
    return link


def watch(provider: object) -> bool:
    """Sees to it that links are filled from the spans this provider starts.

    Returns:
        Whether the provider was new. Providers without span processors are left alone.
    """
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return False
    with _LOCK:
        if provider in _LINKED:
            return False
        _LINKED.add(provider)
    add(LinkingProcessor())
    return True


def is_llm_span(span: object) -> bool:
    """Whether a span stands for a call of a language model, by its attributes or else its scope."""
    if not isinstance(span, ReadableSpan):
        return False
    scope = span.instrumentation_scope
    if scope is not None and scope.name == names.SCOPE:
        return False
    attributes = span.attributes or {}
    kinds = [attributes[name] in of for name, of in _KINDS.items() if name in attributes]
    if kinds:
        return any(kinds)
    return scope is not None and scope.name.startswith(_SCOPES)


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
