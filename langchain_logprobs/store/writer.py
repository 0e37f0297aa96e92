"""Store: the sink that writes every report into one SQLite file."""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from weakref import WeakSet

from langchain_logprobs.core.report import CallReport, Report, TreeReport
from langchain_logprobs.store import rows
from langchain_logprobs.store.codec import encode
from langchain_logprobs.store.schema import StoreError, connect, default_path, explanation

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
_PAGES = 2_000
_HELD_CALLS = 10_000
_UNREADABLE = (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, struct.error)


class Store:
    """A sink that keeps every report, tokens and texts and all, in one SQLite file.

    It takes a report in a microsecond; one thread of its own writes, in bulk. What cannot be
    written now (the file is locked, the disk full) is kept and tried again, up to `max_pending`
    tokens; what passes that is counted in `dropped`, logged, and noted in the store.

        LogprobsCallbackHandler(sinks=[OpenTelemetrySink(), Store("runs.db")])

    Several processes may write to one file. In a child process after a fork it goes on by itself.

    Args:
        path: The file; made if there is none. By default what `LANGCHAIN_LOGPROBS_STORE` names, or
            `langchain_logprobs.db` in the working directory.
        max_age: Runs that ended longer ago are deleted.
        max_bytes: Above this size the oldest runs are deleted; `None` for no limit.
        max_pending: Tokens that may wait for being written.

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
        _check(self.path)
        _STORES.add(self)

    def _reset(self) -> None:
        self._queue: deque[Report] = deque()
        self._pending_tokens = 0
        self._unwritten = 0
        self._dropped = 0
        self._dropped_noted = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._held: dict[UUID, CallReport] = {}
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
        tokens = _tokens(report)
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
            _LOG.warning(
                "The store at %s cannot keep up: reports are dropped, and counted. A larger "
                "max_pending, a faster disk or a sampling processor avoids that.",
                self.path,
            )
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
            _LOG.warning(
                "%d reports could not be written to the store at %s before the process ended.",
                self._unwritten,
                self.path,
            )
        self._inline = True

    def after_fork(self) -> None:
        """Begins anew in a child process: what waits is the parent's, and so is its connection."""
        # SQLite forbids a child so much as to close it, which its deletion would do.
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
        unreadable = 0
        try:
            connection = self._connected()
            writes = []
            for report in batch:
                write = self._prepared(report)
                unreadable += write is None
                writes.append(write)
                time.sleep(rest)
            connection.execute("BEGIN IMMEDIATE")
            for write in filter(None, writes):
                write(connection)
            missed = self._dropped + unreadable - self._dropped_noted
            if missed:
                rows.count_dropped(connection, missed)
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreError) as error:
            self._complain(error)
            self._disconnect()
            return False
        self._done(batch, unreadable, missed)
        self._prune(connection)
        return True

    def _connected(self) -> sqlite3.Connection:
        """A connection to the file that is there now: the old one may have been moved away."""
        if self._connection is not None and _file(self.path) != self._file:
            self._disconnect()
        if self._connection is None:
            self._connection = connect(self.path)
            self._file = _file(self.path)
        return self._connection

    def _prepared(self, report: Report) -> Callable[[sqlite3.Connection], None] | None:
        """What writes the report; all that takes time is done before the transaction."""
        try:
            if isinstance(report, TreeReport):
                return self._prepared_tree(report)
            row, body = rows.call_row(report), encode(report)
        except _UNREADABLE:
            _LOG.warning("A report could not be stored, and is counted as dropped.", exc_info=True)
            return None
        if report.call.root_run_id != report.call.run_id:
            self._held[report.call.run_id] = report
            if len(self._held) > _HELD_CALLS:
                del self._held[next(iter(self._held))]
        return lambda connection: rows.insert_call(connection, row, body)

    def _prepared_tree(self, report: TreeReport) -> Callable[[sqlite3.Connection], None]:
        changed = [call for call in report.calls if not self._is_held(call)]
        row = rows.tree_row(report, changed)
        return lambda connection: rows.insert_tree(connection, row)

    def _is_held(self, report: CallReport) -> bool:
        """Whether the call was written just as it is."""
        held = self._held.get(report.call.run_id)
        return held is report or held == report

    def _done(self, batch: list[Report], unreadable: int, noted: int) -> None:
        self._complained = False
        for report in batch:
            for call in report.calls if isinstance(report, TreeReport) else ():
                self._held.pop(call.call.run_id, None)
        with self._changed:
            for report in batch:
                self._queue.popleft()
                self._pending_tokens -= _tokens(report)
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

    def _prune(self, connection: sqlite3.Connection) -> None:
        if time.monotonic() - self._pruned < _PRUNE_SECONDS:
            return
        self._pruned = time.monotonic()
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._max_age is not None:
                rows.prune_by_age(connection, self._max_age.total_seconds())
            if self._max_bytes is not None:
                rows.prune_by_size(connection, self._max_bytes)
            connection.execute("COMMIT")
            # It takes a step a page, and `execute` takes one.
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        except sqlite3.Error as error:
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


def _check(path: Path) -> None:
    """Makes the store if there is none.

    What will pass (a lock, a full disk) is left to the writer, which tries again.

    Raises:
        StoreError: The path cannot be a store.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connect(path).close()
    except OSError as error:
        raise StoreError(f"The store's folder {path.parent} cannot be made: {error}") from error
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            raise StoreError(explanation(path, error)) from error
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(explanation(path, _read_only()))


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _read_only() -> sqlite3.Error:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    return error


def _tokens(report: Report) -> int:
    """How much room a report takes while it waits. A tree's calls are held anyway."""
    if isinstance(report, TreeReport):
        return 1 + len(report.calls)
    return 1 + sum(len(completion.tokens) for completion in report.call.completions)


def _after_fork() -> None:
    global _OPENING  # noqa: PLW0603 - another thread of the parent may have held it
    _OPENING = threading.Lock()
    for store in tuple(_STORES):
        store.after_fork()


def _at_exit() -> None:
    for store in tuple(_STORES):
        store.at_exit()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
