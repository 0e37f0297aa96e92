"""The vocabulary: frozen values that every other part speaks of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from langchain_logprobs.core.tokens import TokenLogprob, Tokens

Outcome = Literal["ok", "error", "cancelled", "abandoned"]
"""How a call ended. `cancelled`: the caller stopped it. `abandoned`: nothing ever said it ended."""

RunKind = Literal["chain", "node", "prompt", "parser", "tool", "retriever"]
"""What a run is that is no model call. `node`: of a LangGraph graph."""

Source = Literal["stream", "end"]
"""Where the tokens came from: the token callbacks, or the payload at the end of the call."""


class _MaybeMade:
    """Room for the columns of tokens that nobody has asked for yet."""

    __slots__ = ("_columns",)
    _columns: Tokens


@dataclass(frozen=True, slots=True)
class Completion(_MaybeMade):
    """One answer of a call; `n > 1` gives several.

    Attributes:
        tokens: Every token with a logprob entry, of all channels, in order of arrival.
        text: The answer's text as LangChain handed it on.
        tool_calls: The tool calls LangChain parsed out of the answer, as `(name, arguments)`.
        finish_reason: Why the model stopped, in the provider's words.

    .. versionadded:: 0.1.0
    """

    tokens: tuple[TokenLogprob, ...] = ()
    text: str = ""
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    finish_reason: str | None = None

    if not TYPE_CHECKING:  # it would allow every name

        def __getattr__(self, name: str) -> tuple[TokenLogprob, ...]:
            """The tokens, made when they are first asked for."""
            if name != "tokens":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            tokens = self._columns.made
            object.__setattr__(self, name, tokens)
            return tokens


def completion(
    tokens: Sequence[TokenLogprob],
    text: str,
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...],
    finish_reason: str | None,
) -> Completion:
    """A completion; its tokens, if they come in columns, are made when somebody asks for one."""
    of = Completion(
        () if isinstance(tokens, Tokens) else tuple(tokens), text, tool_calls, finish_reason
    )
    if isinstance(tokens, Tokens):
        object.__setattr__(of, "_columns", tokens)
        object.__delattr__(of, "tokens")
    return of


def tokens_of(completion: Completion) -> Sequence[TokenLogprob]:
    """Its tokens, by column if that is how they were read."""
    columns: Tokens | None = getattr(completion, "_columns", None)
    return completion.tokens if columns is None else columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One finished run of a language model.

    Attributes:
        run_id: LangChain's id of the run.
        parent_run_id: The run it was made in, if any.
        root_run_id: The outermost run known to the handler; its own id if it has no parent.
        root_name: That run's name; `None` if it is the call itself.
        root_started_ns: When that run began, in nanoseconds since the epoch.
        model: The model asked for.
        provider: Who serves it, as LangChain names it (`ls_provider`).
        operation: `chat`, or `text_completion` for completion models.
        started_ns: When the call began, in nanoseconds since the epoch.
        ended_ns: When it ended, or when the handler gave up on it.
        completions: Its answers; at least one entry for a call that answered anything.
        outcome: How it ended.
        error: The exception's type, for `error` and `cancelled`.
        source: Where the tokens came from; `None` if there are none.
        truncated: Tokens that came but passed `max_tokens` and were not kept.
        response_model: The model that answered, where the provider names it.
        response_id: The provider's id of the answer.
        input_tokens: Tokens of the prompt, as the provider counts them.
        output_tokens: Tokens of the answer, as the provider counts them.
        metadata: The run's metadata (`langgraph_node`, `thread_id`, ...), as LangChain gave it.
        parameters: How the model was asked (`temperature`, `top_logprobs`, `n`, ...).

    .. versionadded:: 0.1.0
    """

    run_id: UUID
    root_run_id: UUID
    started_ns: int
    ended_ns: int
    parent_run_id: UUID | None = None
    root_name: str | None = None
    root_started_ns: int | None = None
    model: str | None = None
    provider: str | None = None
    operation: Literal["chat", "text_completion"] = "chat"
    completions: tuple[Completion, ...] = ()
    outcome: Outcome = "ok"
    error: str | None = None
    source: Source | None = None
    truncated: int = 0
    response_model: str | None = None
    response_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A chain, graph node, tool or retriever that ran inside a root run.

    Attributes:
        run_id: LangChain's id of it.
        parent_run_id: The run or model call that it ran in.
        name: Its name.
        kind: What it is.
        started_ns: When it began, in nanoseconds since the epoch.
        ended_ns: When it ended; of one that is `abandoned`, when its root run did.
        outcome: How it ended.
        error: The exception's type, for `error` and `cancelled`.

    .. versionadded:: 0.1.0
    """

    run_id: UUID
    parent_run_id: UUID
    name: str
    kind: RunKind
    started_ns: int
    ended_ns: int
    outcome: Outcome = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTree:
    """One finished root run: everything that ran inside one outermost call.

    Attributes:
        root_run_id: LangChain's id of the outermost run.
        name: Its name, such as `RunnableSequence` or the graph's own.
        started_ns: When it began, in nanoseconds since the epoch.
        ended_ns: When it ended.
        outcome: How it ended.
        error: The exception's type, for `error` and `cancelled`.
        kind: What the root run is.
        runs: What ran inside it beside the model calls, in the order in which it began.
        omitted_runs: Runs inside it that passed the bounds and are not among `runs`.

    .. versionadded:: 0.1.0
    """

    root_run_id: UUID
    name: str
    started_ns: int
    ended_ns: int
    outcome: Outcome = "ok"
    error: str | None = None
    kind: RunKind = "chain"
    runs: tuple[Run, ...] = ()
    omitted_runs: int = 0
