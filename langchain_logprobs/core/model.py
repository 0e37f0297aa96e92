"""The vocabulary: frozen values that every other part speaks of. Imports nothing of ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

Channel = Literal["content", "refusal", "reasoning"]
"""What a token is part of: the answer, a refusal to answer, or the reasoning before it."""

Outcome = Literal["ok", "error", "cancelled", "abandoned"]
"""How a call ended. `cancelled`: the caller stopped it. `abandoned`: nothing ever said it ended."""

RunKind = Literal["chain", "node", "prompt", "parser", "tool", "retriever"]
"""What a run is that is no model call. `node`: of a LangGraph graph."""

Source = Literal["stream", "end"]
"""Where the tokens came from: the token callbacks, or the payload at the end of the call."""

CENSORED = -9999.0
"""The logprob of "too unlikely to be listed": what vLLM sends, and what `-inf` is read as."""


class Candidate(NamedTuple):
    """An alternative that the model weighed at one position.

    A named tuple and not a dataclass: a call has up to twenty of these a token, and a tuple is made
    in a third of the time.

    Attributes:
        text: The candidate as text; may hold U+FFFD where its bytes are no whole characters.
        logprob: Natural logarithm of its probability, at most 0.
        raw: Its UTF-8 bytes, where the provider gives them.

    .. versionadded:: 0.1.0
    """

    text: str
    logprob: float
    raw: bytes | None = None


CANDIDATE = partial(tuple.__new__, Candidate)
"""`Candidate._make`, in half the time."""


Listed = tuple[tuple[str, ...], tuple[float, ...], tuple[bytes, ...]]
"""The candidates at one position, their texts, logprobs and bytes side by side."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The candidates of many tokens, column by column: those of the first, of the second, ...

    They are sound, and at each position the most likely is first, and each stands there once.

    Attributes:
        texts: Their texts.
        logprobs: Their logprobs.
        raws: Their bytes.
        bounds: Where the candidates of each token begin, and where those of the last end.
    """

    texts: tuple[str, ...]
    logprobs: tuple[float, ...]
    raws: tuple[bytes, ...]
    bounds: list[int]

    def row(self, at: int) -> Listed:
        """The candidates of the token at this place."""
        of = slice(self.bounds[at], self.bounds[at + 1])
        return self.texts[of], self.logprobs[of], self.raws[of]


class _MaybeListed:
    """Room for candidates that nobody has asked for yet: a block, and the token's place in it."""

    __slots__ = ("_at", "_block")
    _at: int
    _block: Block


@dataclass(frozen=True, slots=True)
class TokenLogprob(_MaybeListed):
    """A token the model chose, with how likely it was.

    Attributes:
        text: The token as text; may hold U+FFFD where its bytes are no whole characters.
        logprob: Natural logarithm of its probability, at most 0; `None` where the provider sent no
            usable number; `CENSORED` where it only said "less likely than all I list".
        raw: Its UTF-8 bytes, where the provider gives them.
        candidates: What else was weighed there, most likely first; most providers list the chosen
            token among them.
        channel: What the token is part of.
        at_ns: When it arrived, in nanoseconds since the epoch; `None` if it was not streamed.

    .. versionadded:: 0.1.0
    """

    text: str
    logprob: float | None
    raw: bytes | None = None
    candidates: tuple[Candidate, ...] = ()
    channel: Channel = "content"
    at_ns: int | None = None

    if not TYPE_CHECKING:  # it would allow every name

        def __getattr__(self, name: str) -> tuple[Candidate, ...]:
            """The candidates, made when they are first asked for."""
            if name != "candidates":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            listed = self._block.row(self._at)
            candidates = tuple(map(CANDIDATE, zip(*listed, strict=True)))
            object.__setattr__(self, name, candidates)
            return candidates


_SETTERS = [
    getattr(TokenLogprob, name).__set__
    for name in ("text", "logprob", "raw", "channel", "at_ns", "_block", "_at")
]

_PLACE = attrgetter("_at")


def listed_tokens(*columns: Iterable[object], block: Block) -> list[TokenLogprob]:
    """Tokens like any other, but that their candidates are made when somebody asks for them.

    A call has thousands of candidates, and at its end, while the user waits, only their numbers are
    needed. So the tokens are made here in a third of the time that `__init__` takes.

    Args:
        columns: The texts, logprobs and bytes of the tokens, their channels, and when they arrived.
        block: Their candidates.
    """
    tokens = list(map(object.__new__, repeat(TokenLogprob, len(block.bounds) - 1)))
    for set_member, column in zip(_SETTERS, (*columns, repeat(block), count()), strict=True):
        deque(map(set_member, tokens, column), maxlen=0)
    return tokens


def blocks_of(tokens: Iterable[TokenLogprob]) -> list[Block | None]:
    """The blocks in which their candidates were read, of those that were read in one."""
    return list(map(getattr, tokens, repeat("_block"), repeat(None)))


def places_of(tokens: Iterable[TokenLogprob]) -> list[int]:
    """Their places in their block."""
    return list(map(_PLACE, tokens))


def listed_of(token: TokenLogprob) -> Listed | None:
    """Its candidates column by column, if that is how they were read."""
    block: Block | None = getattr(token, "_block", None)
    return None if block is None else block.row(_PLACE(token))


@dataclass(frozen=True, slots=True)
class Completion:
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
