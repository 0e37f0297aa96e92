"""Calls in flight to finished calls: what was heard of each run, and which run is inside which.

Pure but for its own state: time, ids and payloads are handed in. Its lock is held for dictionary
look-ups only, never across anybody else's code.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

from langchain_logprobs.core.model import Outcome, Run, RunKind, RunTree, tokens_of
from langchain_logprobs.core.report import CallReport, Unavailable
from langchain_logprobs.core.tokens import TokenLogprob

Event = tuple[int, object, Any, object]
"""What one token callback was handed: (nanoseconds since the epoch, token, chunk, logprobs)."""


class ReadAhead(NamedTuple):
    """What so many token callbacks in a row brought, read before the end of the call.

    `tokens` is `None` for what is left to be read at the end.
    """

    events: int
    tokens: Sequence[TokenLogprob] | None


@dataclass(slots=True, kw_only=True, eq=False, weakref_slot=True)
class OpenCall:
    """A call in flight.

    `events` grows by one with every token callback, up to a bound; the tokens of those beyond it
    are counted in `overflow`. `ahead`: what the first of them brought, as far as it has been read;
    `may_read_ahead`: whether that is to go on. `schemas` are the JSON schemas that the answer was
    asked to fill. `told` is how often its start was told of: LangChain tells a handler that is
    listed twice everything twice. `shares_usage`: the usage at its end is a whole batch's.
    `inside`: the open call that it is made in, if there is one. `wanted`: whether it is to be
    reported, as nobody has said otherwise yet. `lost`: why no logprobs reach us, by way of calling.
    """

    run_id: UUID
    parent_run_id: UUID | None
    started_ns: int
    operation: Literal["chat", "text_completion"]
    model: str | None
    provider: str | None
    requested: bool
    metadata: Mapping[str, Any]
    parameters: Mapping[str, Any]
    root_run_id: UUID
    schemas: tuple[object, ...] = ()
    inside: UUID | None = None
    lost: Mapping[str, Unavailable] = field(default_factory=dict)
    root_name: str | None = None
    root_started_ns: int | None = None
    events: list[Event] = field(default_factory=list)
    ahead: list[ReadAhead] = field(default_factory=list)
    may_read_ahead: bool = True
    overflow: int = 0
    told: int = 1
    shares_usage: bool = False
    wanted: bool = True

    @property
    def ahead_events(self) -> int:
        """How many of its events have been read ahead."""
        return sum(of.events for of in self.ahead)

    @property
    def heard_ns(self) -> int:
        """When it last gave a sign of life."""
        return self.events[-1][0] if self.events else self.started_ns


_Open = tuple[UUID, str, RunKind, int]
"""A run under way: (the run it is in, its name, what it is, when it began)."""


@dataclass(slots=True, eq=False)
class _Tree:
    """A root run under way.

    `runs` are those inside it, under way and ended, in the order in which they began.
    """

    root_run_id: UUID
    name: str
    kind: RunKind
    started_ns: int
    heard_ns: int
    runs: dict[UUID, Run | _Open] = field(default_factory=dict)
    omitted_runs: int = 0
    parents: dict[UUID, UUID | None] = field(default_factory=dict)
    children: dict[UUID | None, dict[UUID, None]] = field(default_factory=dict)
    calls: dict[UUID, OpenCall] = field(default_factory=dict)
    reports: list[CallReport] = field(default_factory=list)
    tokens: int = 0
    omitted: int = 0

    def heard(self) -> int:
        """When anything in it last gave a sign of life."""
        return max([self.heard_ns, *(call.heard_ns for call in self.calls.values())])

    def enter(self, run_id: UUID, parent: UUID | None) -> None:
        """A run or call begins inside another."""
        self.parents[run_id] = parent
        self.children.setdefault(parent, {})[run_id] = None

    def leave(self, run_id: UUID) -> None:
        """A run or call ends; what is still open inside it is its parent's from now on."""
        parent = self.parents.pop(run_id)
        siblings = self.children[parent]
        del siblings[run_id]
        for orphan in self.children.pop(run_id, ()):
            self.parents[orphan] = parent
            siblings[orphan] = None
        if not siblings:
            del self.children[parent]

    def end(self, run_id: UUID, outcome: Outcome, error: str | None, now_ns: int) -> None:
        """Notes how a run inside it ended."""
        run = self.runs.get(run_id)
        if isinstance(run, tuple):
            parent, name, kind, started_ns = run
            self.runs[run_id] = Run(
                run_id=run_id,
                parent_run_id=parent,
                name=name,
                kind=kind,
                started_ns=started_ns,
                ended_ns=now_ns,
                outcome=outcome,
                error=error,
            )

    def every_run(self, now_ns: int) -> tuple[Run, ...]:
        """The runs inside it, which are over now: nothing is going to tell how the rest ends."""
        for run_id in tuple(self.runs):
            self.end(run_id, "abandoned", None, now_ns)
        return tuple(run for run in self.runs.values() if isinstance(run, Run))

    def call_around(self, run_id: UUID | None) -> UUID | None:
        """The open call that this run is, or is in."""
        while run_id is not None and run_id not in self.calls:
            run_id = self.parents.get(run_id)
        return run_id

    def calls_inside(self, run_id: UUID) -> list[OpenCall]:
        """The open calls inside a run, at any depth."""
        runs = [run_id]
        for run in runs:  # it goes on over what is added
            runs += self.children.get(run, ())
        return [self.calls[run] for run in runs if run in self.calls]


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of a run leaves behind.

    Attributes:
        calls: Calls inside it that nothing had ended.
        tree: The root run, if it was one that ended.
        reports: The reports of that tree's calls, in the order in which they ended.
        omitted: Calls of that tree that passed its bounds and are not among `reports`.
    """

    calls: tuple[OpenCall, ...] = ()
    tree: RunTree | None = None
    reports: tuple[CallReport, ...] = ()
    omitted: int = 0


class Capture:
    """The runs under way: which is inside which, and the calls among them.

    Args:
        max_open_calls: Of the calls in flight beyond this number the oldest is given up; as many
            root runs, and as many calls and as many other runs of one tree, are kept.
        max_tokens: Of a call, and of the calls of a tree together.
    """

    def __init__(self, *, max_open_calls: int, max_tokens: int) -> None:
        self._max_open_calls = max_open_calls
        self._max_tokens = max_tokens
        self._lock = threading.Lock()
        self._calls: dict[UUID, OpenCall] = {}
        self._trees: dict[UUID, _Tree] = {}
        self._root_of: dict[UUID, UUID] = {}
        self._events: dict[int, list[Event]] = {}

    def __len__(self) -> int:
        """How many runs are held in memory."""
        return len(self._root_of) + len(self._calls)

    def start_run(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        name: str,
        now_ns: int,
        kind: RunKind = "chain",
    ) -> None:
        """A chain, tool or retriever began."""
        with self._lock:
            if run_id in self._root_of or run_id in self._calls:
                return  # a handler that is listed twice is told twice; or an id was given twice
            root = self._root(parent_run_id)
            self._root_of[run_id] = root or run_id
            if root is None or parent_run_id is None:  # one that it was never told of is none
                tree = self._trees[run_id] = _Tree(run_id, name, kind, now_ns, now_ns)
                tree.enter(run_id, None)
                return
            tree = self._trees[root]
            tree.heard_ns = now_ns
            tree.enter(run_id, parent_run_id)
            if len(tree.runs) < self._max_open_calls:
                tree.runs[run_id] = (parent_run_id, name, kind, now_ns)
            else:
                tree.omitted_runs += 1

    def start_call(self, call: OpenCall) -> tuple[OpenCall, ...]:
        """A model call began.

        Returns:
            Calls to give up, because there are too many in flight.
        """
        with self._lock:
            known = self._calls.get(call.run_id)
            if known is not None:
                known.told += 1
                return ()
            call.inside = call.parent_run_id if call.parent_run_id in self._calls else None
            root = self._root(call.parent_run_id)
            if root is not None:
                tree = self._trees[root]
                tree.heard_ns = call.started_ns
                call.root_run_id, call.root_name = root, tree.name
                call.root_started_ns = tree.started_ns
                call.inside = tree.call_around(call.parent_run_id)
                if call.run_id not in self._root_of:  # an id may have been given twice
                    tree.calls[call.run_id] = call
                    tree.enter(call.run_id, call.parent_run_id)
            self._calls[call.run_id] = call
            surplus = max(0, len(self._calls) - self._max_open_calls)
            return tuple(self._forget(old) for old in tuple(islice(self._calls.values(), surplus)))

    def listen(self, run_id: UUID) -> None:
        """Has the events of a call in flight kept from now on."""
        with self._lock:
            if (call := self._calls.get(run_id)) is not None:
                call.wanted = True
                self._events[run_id.int] = call.events

    @property
    def events(self) -> Mapping[int, list[Event]]:
        """The events of every wanted call in flight: always the same mapping, read without a lock.

        By the number in the call's id: a UUID's own hash is Python code, run for every token.
        """
        return self._events

    def call(self, run_id: UUID) -> OpenCall | None:
        """The call in flight with this id."""
        return self._calls.get(run_id)

    def open_calls(self) -> tuple[OpenCall, ...]:
        """The calls in flight, oldest first."""
        with self._lock:
            return tuple(self._calls.values())

    def end_call(self, run_id: UUID) -> OpenCall | None:
        """The call, which is in flight no more; `None` if it had ended already."""
        with self._lock:
            call = self._calls.get(run_id)
            return None if call is None else self._forget(call)

    def end_run(self, run_id: UUID, outcome: Outcome, error: str | None, now_ns: int) -> Ended:
        """A chain, tool or retriever ended, and with it whatever was still open inside."""
        with self._lock:
            root = self._root_of.get(run_id)
            if root is None:
                return Ended()
            tree = self._trees[root]
            tree.heard_ns = now_ns
            inside = tuple(map(self._forget, tree.calls_inside(run_id)))
            if run_id != root:
                tree.end(run_id, outcome, error, now_ns)
                tree.leave(run_id)
                self._root_of.pop(run_id, None)
                return Ended(calls=inside)
            return self._end_tree(tree, inside, outcome, error, now_ns)

    def add_report(self, report: CallReport) -> bool:
        """Keeps the report of a call for its tree; whether that is still under way."""
        tokens = sum(map(len, map(tokens_of, report.call.completions)))
        with self._lock:
            tree = self._trees.get(report.call.root_run_id)
            if tree is None:
                return False
            if (
                len(tree.reports) < self._max_open_calls
                and tree.tokens + tokens <= self._max_tokens
            ):
                tree.reports.append(report)
                tree.tokens += tokens
            else:
                tree.omitted += 1
            return True

    def expire(self, before_ns: int, now_ns: int) -> list[Ended]:
        """Whatever gave its last sign of life before `before_ns`: lone calls, and whole trees.

        The oldest root runs beyond the bound go too.
        """
        with self._lock:
            surplus = max(0, len(self._trees) - self._max_open_calls)
            silent = [
                tree
                for index, tree in enumerate(self._trees.values())
                if index < surplus or tree.heard() < before_ns
            ]
            alone = [
                call
                for call in self._calls.values()
                if not self._is_in_tree(call) and call.heard_ns < before_ns
            ]
            return [
                *(self._end_tree(tree, (), "abandoned", None, now_ns) for tree in silent),
                *(Ended(calls=(self._forget(call),)) for call in alone),
            ]

    def clear(self) -> None:
        """Forgets everything: in a child process, the runs are the parent's to report."""
        self._lock = threading.Lock()  # its owner may not have come along through the fork
        self._calls.clear()
        self._events.clear()
        self._trees.clear()
        self._root_of.clear()

    def _root(self, parent: UUID | None) -> UUID | None:
        """The root run whose tree a child of this run belongs to."""
        if parent is None:
            return None
        call = self._calls.get(parent)  # a model may call chains and models of its own
        root = self._root_of.get(parent) if call is None else call.root_run_id
        return root if root in self._trees else None

    def _is_in_tree(self, call: OpenCall) -> bool:
        """Whether the end of a tree is the end of this call."""
        tree = self._trees.get(call.root_run_id)
        return tree is not None and call.run_id in tree.calls

    def _forget(self, call: OpenCall) -> OpenCall:
        call.may_read_ahead = False
        del self._calls[call.run_id]
        self._events.pop(call.run_id.int, None)
        if self._is_in_tree(call):
            tree = self._trees[call.root_run_id]
            del tree.calls[call.run_id]
            tree.leave(call.run_id)
        return call

    def _end_tree(
        self,
        tree: _Tree,
        inside: tuple[OpenCall, ...],
        outcome: Outcome,
        error: str | None,
        now_ns: int,
    ) -> Ended:
        left = tuple(self._forget(call) for call in tuple(tree.calls.values()))
        del self._trees[tree.root_run_id]
        for run_id in tree.parents:
            self._root_of.pop(run_id, None)
        calls = (*inside, *left)
        return Ended(
            calls=calls,
            tree=RunTree(
                root_run_id=tree.root_run_id,
                name=tree.name,
                started_ns=tree.started_ns,
                ended_ns=now_ns,
                outcome=outcome,
                error=error,
                kind=tree.kind,
                # Of a tree that called no model, nobody is going to be told.
                runs=tree.every_run(now_ns) if calls or tree.reports else (),
                omitted_runs=tree.omitted_runs,
            ),
            reports=tuple(tree.reports),
            omitted=tree.omitted,
        )
