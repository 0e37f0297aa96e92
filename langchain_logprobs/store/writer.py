"""Store: the sink that writes every report into one SQLite file."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from weakref import WeakSet

from langchain_logprobs.core.report import Report, TreeReport
from langchain_logprobs.store import rows
from langchain_logprobs.store.codec import encode
from langchain_logprobs.store.held import Held
from langchain_logprobs.store.schema import (
    StoreError,
    connect,
    default_path,
    explanation,
    identity,
    prepare,
)

_LOG = logging.getLogger("langchain_logprobs")

MAX_PENDING_TOKENS = 200_000
"""Tokens waiting to be written; about as many as one handler keeps of its longest call."""
EXIT_SECONDS = 30.0
"""How long interpreter exit waits for what is not yet written."""
_REST = 0.0001
"""Seconds for other threads after each report: encoding one takes about three times that."""
_BATCH_SECONDS = 0.1
"""How long a transaction gathers reports: a disk's sync costs as much as a hundred of them."""
_BATCH_REPORTS = 500
_TRY_AGAIN = (0.5, 5.0)
"""Seconds until a failed write is tried again, at first and at the most."""
_PRUNE_SECONDS = 30.0
_FORK_SECONDS = 1.0
"""How long a fork waits for a transaction to end; one takes a tenth of that."""
_PAGES = 2_000
_TOO_SLOW = (
    "The store at %s cannot keep up: reports are dropped, and counted. A larger max_pending, a "
    "faster disk or a sampling processor avoids that."
)
_TOO_LATE = "%d reports could not be written to the store at %s before the process ended."


class Store:
    """A sink that keeps every report, tokens and texts and all, in one SQLite file.

    It takes a report in a microsecond; one thread of its own writes, in bulk. What cannot be
    written now (the file is locked, the disk full) is kept and tried again, up to `max_pending`
    tokens; what passes that is counted in `dropped`, logged, and noted in the store.

        LogprobsCallbackHandler(sinks=[OpenTelemetrySink(), Store("runs.db")])

    Several processes may write to one file. In a child process after a fork it goes on by itself.

    Args:
        path: The file; made, for its owner alone to read, if there is none. By default what
            `LANGCHAIN_LOGPROBS_STORE` names, or `langchain_logprobs.db` in the working directory.
        max_age: Runs that ended longer ago are deleted.
        max_bytes: Above this size the oldest runs are deleted; `None` for no limit.
        max_pending: Tokens that may wait for being written; and of calls that are, so many are kept
            in memory until their root run ends, which is then written without them.

    Raises:
        StoreError: The path cannot be a store; the message says why, and the way out.

    .. versionadded:: 0.1.0
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_age: timedelta | None = None,
        max_bytes: int | None = 2**30,
        max_pending: int = MAX_PENDING_TOKENS,
    ) -> None:
        self.path = default_path() if path is None else Path(path)
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._max_pending = max_pending
        self._reset()
        prepare(self.path)
        _STORES.add(self)

    def _reset(self) -> None:
        self._queue: deque[Report] = deque()
        self._pending_tokens = 0
        self._unwritten = 0
        self._dropped = 0
        self._dropped_noted = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()  # held over a transaction
        self._paused = False
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._held = Held(self._max_pending)
        self._pruned = 0.0
        self._stop = False
        self._inline = False
        self._complained = False

    @property
    def dropped(self) -> int:
        """Reports that were not kept, in this process: too many were waiting, or unreadable."""
        return self._dropped

    @property
    def pending(self) -> int:
        """Reports taken and not yet written."""
        return self._unwritten

    def __call__(self, report: Report) -> None:
        """Takes a report; it is written soon."""
        tokens = rows.weight(report)
        with self._changed:
            if self._queue and self._pending_tokens + tokens > self._max_pending:
                self._dropped += 1
                first = self._dropped - self._dropped_noted == 1
            else:
                self._queue.append(report)
                self._pending_tokens += tokens
                self._unwritten += 1
                first = False
                self._start()
                self._changed.notify_all()
        if first:
            _LOG.warning(_TOO_SLOW, self.path)
        if self._inline:
            self._write_all()

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until all that was taken is written, `timeout` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._unwritten, timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Writes what is left and closes the file; whether all is written. It may be used again."""
        written = self.flush(timeout)
        thread = self._thread
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return written

    # What the process does to it

    def at_exit(self) -> None:
        """Writes what is left; whatever comes yet is written at once."""
        if not self.close(EXIT_SECONDS):
            _LOG.warning(_TOO_LATE, self._unwritten, self.path)
        self._inline = True

    def before_fork(self) -> None:
        """Closes the file, between two transactions; the next one opens it again.

        A connection that is open at a fork leaves SQLite in the child believing that it holds
        locks, for ever, and in the parent that nobody else uses the file.
        """
        self._paused = self._writing.acquire(timeout=_FORK_SECONDS)
        if self._paused:
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._paused:
            self._writing.release()

    def after_fork(self) -> None:
        """Begins anew in a child process: what waits is the parent's, and so is its connection."""
        # SQLite forbids a child so much as to close one, which its deletion would do.
        _PARENTS.append(self._connection)
        self._reset()

    # The writer's thread

    def _start(self) -> None:
        """Starts the thread if there is none; at the interpreter's end, there can be none."""
        if self._inline or (self._thread is not None and self._thread.is_alive()):
            return
        self._stop = False
        thread = threading.Thread(target=self._run, name="langchain-logprobs-store", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._inline = True
        else:
            self._thread = thread

    def _run(self) -> None:
        wait = _TRY_AGAIN[0]
        try:
            while self._wait_for_work():
                if self._write_batch():
                    wait = _TRY_AGAIN[0]
                else:
                    with self._changed:
                        if self._changed.wait_for(lambda: self._stop, wait):
                            return
                    wait = min(2 * wait, _TRY_AGAIN[1])
        finally:
            with self._changed:
                self._end()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stop)
            if self._queue and not self._stop:
                self._changed.wait_for(self._has_batch, _BATCH_SECONDS)
            if not self._queue:
                self._end()
            return bool(self._queue)

    def _end(self) -> None:
        """Leaves nothing to the next thread; the lock is held, so that there is none yet."""
        if self._thread is threading.current_thread():
            with self._writing:
                self._disconnect()
            self._thread = None

    def _has_batch(self) -> bool:
        return self._stop or len(self._queue) >= _BATCH_REPORTS

    def _write_all(self) -> None:
        while self._queue and self._write_batch(rest=0.0):
            pass
        self._disconnect()

    def _write_batch(self, rest: float = _REST) -> bool:
        """Writes what waits, in one transaction; `False` if it has to be tried again."""
        batch = [self._queue[index] for index in range(min(len(self._queue), _BATCH_REPORTS))]
        writes = []
        for report in batch:
            writes.append(self._prepared(report))
            time.sleep(rest)
        unreadable = writes.count(None)
        missed = self._dropped + unreadable - self._dropped_noted
        try:
            with self._writing:
                self._write(list(filter(None, writes)), missed)
        except (sqlite3.Error, StoreError) as error:
            self._complain(error)
            return False
        self._done(batch, unreadable, missed)
        with self._writing:
            self._prune()
        return True

    def _write(self, writes: list[Callable[[sqlite3.Connection], None]], missed: int) -> None:
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write(connection)
            if missed:
                rows.count_dropped(connection, missed)
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreError):
            self._disconnect()  # which rolls back
            raise

    def _connected(self) -> sqlite3.Connection:
        """A connection to the file that is there now: the old one may have been moved away."""
        if self._connection is not None and identity(self.path) != self._file:
            self._disconnect()
        if self._connection is None:
            self._connection = connect(self.path)
            self._file = identity(self.path)
        return self._connection

    def _prepared(self, report: Report) -> Callable[[sqlite3.Connection], None] | None:
        """What writes the report; all that takes time is done before the transaction."""
        try:
            if isinstance(report, TreeReport):
                return self._prepared_tree(report)
            row, body = rows.call_row(report), encode(report)
        except Exception:  # noqa: BLE001 - reading metadata runs the code of any object in it, and
            # what raises here would end the thread, and come first again in the next one.
            _LOG.warning("A report could not be stored, and is counted as dropped.", exc_info=True)
            return None
        self._held.hold(report)
        return lambda connection: rows.insert_call(connection, row, body)

    def _prepared_tree(self, report: TreeReport) -> Callable[[sqlite3.Connection], None]:
        changed = [call for call in report.calls if call not in self._held]
        row = rows.tree_row(report, changed)
        return lambda connection: rows.insert_tree(connection, row)

    def _done(self, batch: list[Report], unreadable: int, noted: int) -> None:
        self._complained = False
        for report in batch:
            if isinstance(report, TreeReport):
                self._held.let_go(report)
        with self._changed:
            for report in batch:
                self._queue.popleft()
                self._pending_tokens -= rows.weight(report)
            self._unwritten -= len(batch)
            self._dropped += unreadable
            self._dropped_noted += noted
            self._changed.notify_all()

    def _complain(self, error: Exception) -> None:
        """Logs why it cannot be written: once, until it can again."""
        if not self._complained:
            told = explanation(self.path, error) if isinstance(error, sqlite3.Error) else error
            _LOG.warning("%s Reports wait, and it is tried again.", told)
        self._complained = True

    def _prune(self) -> None:
        if time.monotonic() - self._pruned < _PRUNE_SECONDS:
            return
        self._pruned = time.monotonic()
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            if self._max_age is not None:
                rows.prune_by_age(connection, self._max_age.total_seconds())
            if self._max_bytes is not None:
                rows.prune_by_size(connection, self._max_bytes)
            connection.execute("COMMIT")
            # It takes a step a page, and `execute` takes one.
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        except (sqlite3.Error, StoreError) as error:
            self._complain(error)
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def store_at(path: str | os.PathLike[str] | None = None) -> Store:
    """The process's one store at that path, so that handlers made anew share a thread.

    Raises:
        StoreError: The path cannot be a store; the message says why, and the way out.

    .. versionadded:: 0.1.0
    """
    where = (default_path() if path is None else Path(path)).absolute()
    with _OPENING:
        if where not in _OPENED:
            _OPENED[where] = Store(where)
        return _OPENED[where]


_STORES: WeakSet[Store] = WeakSet()
_OPENED: dict[Path, Store] = {}
_OPENING = threading.Lock()
_PARENTS: list[sqlite3.Connection | None] = []


def _after_fork() -> None:
    global _OPENING  # noqa: PLW0603 - another thread of the parent may have held it
    _OPENING = threading.Lock()
    _each(Store.after_fork)()


def _each(method: Callable[[Store], None]) -> Callable[[], None]:
    """What calls that method of every store."""

    def call() -> None:
        for store in tuple(_STORES):
            method(store)

    return call


atexit.register(_each(Store.at_exit))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(Store.before_fork),
        after_in_parent=_each(Store.after_fork_in_parent),
        after_in_child=_after_fork,
    )
