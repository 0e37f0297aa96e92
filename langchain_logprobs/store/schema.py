"""What a store's file looks like inside, how it is opened, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

VERSION: Final = 2
"""Of the schema; in the file as `user_version`. Those before it are read as they are."""
MIGRATIONS: Final[Mapping[int, str]] = {
    1: "ALTER TABLE trees ADD COLUMN runs INTEGER NOT NULL DEFAULT 0",
}
"""What makes a store of that version one of the next: done when somebody writes to it."""
APPLICATION: Final = 0x4C4C5052
"""Says that an SQLite file is one of these ("LLPR"); in it as `application_id`."""
VARIABLE: Final = "LANGCHAIN_LOGPROBS_STORE"
"""The environment variable that names the store."""
BUSY_SECONDS: Final = 10.0
"""How long to wait for another process that is writing."""
_DEFAULT = "langchain_logprobs.db"

MEASURES: Final = (
    "confidence",
    "lowest_window",
    "min_logprob",
    "mean_entropy",
    "max_entropy",
    "min_log_odds",
    "surprisal_tail",
)
"""The measures that stand in columns of their own, to sort and filter by."""

SCHEMA: Final = f"""
CREATE TABLE calls (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order of writing, over all processes
  run_id TEXT NOT NULL UNIQUE,
  root_run_id TEXT NOT NULL,
  parent_run_id TEXT,
  root_name TEXT,
  started_ns INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  model TEXT,
  provider TEXT,
  node TEXT,                              -- LangGraph's node it ran in
  outcome TEXT NOT NULL,
  error TEXT,
  unavailable TEXT,                       -- why it has no confidence
  low INTEGER NOT NULL,                   -- whether its confidence is under low_response
  tokens INTEGER NOT NULL,
  low_tokens INTEGER NOT NULL,
  {"".join(f"{name} REAL, " for name in MEASURES)}
  lowest_field TEXT,
  lowest_field_confidence REAL,
  text TEXT NOT NULL                      -- how the answer begins
);
CREATE INDEX calls_by_end ON calls (ended_ns);
CREATE INDEX calls_by_root ON calls (root_run_id);
CREATE INDEX calls_by_confidence ON calls (confidence);
CREATE INDEX calls_by_model ON calls (model, ended_ns);
CREATE TABLE bodies (                     -- apart, so that lists need not pass over them
  seq INTEGER PRIMARY KEY REFERENCES calls (seq) ON DELETE CASCADE,
  body BLOB NOT NULL
);
CREATE TABLE trees (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  root_run_id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  started_ns INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  calls INTEGER NOT NULL,
  confidence REAL,
  weakest TEXT,                           -- the run_id of its least confident call
  body BLOB NOT NULL,
  runs INTEGER NOT NULL DEFAULT 0         -- chains, nodes, tools, retrievers inside; in the body
);
CREATE INDEX trees_by_end ON trees (ended_ns);
CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


class StoreError(Exception):
    """A store cannot be used; the message says why, and the way out.

    .. versionadded:: 0.1.0
    """


def default_path(environment: Mapping[str, str] | None = None) -> Path:
    """Where the store is if nobody says: what `LANGCHAIN_LOGPROBS_STORE` names, or a file here."""
    environment = os.environ if environment is None else environment
    return Path(environment.get(VARIABLE) or _DEFAULT)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to write with; the store is made if there is none.

    Raises:
        StoreError: The file is no store of this version.
        sqlite3.Error: It cannot be written now.
    """
    with suppress(OSError):  # it is there already; or SQLite says better why it cannot be
        # Answers are in it: they are its owner's, as is the page that shows them.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    with ExitStack() as unless_returned:
        unless_returned.enter_context(closing(connection))
        connection.execute("PRAGMA foreign_keys = ON")
        version = _version(connection, path)
        if version is None:
            _make(connection, path)
        elif version < VERSION:
            _migrate(connection, path)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        unless_returned.pop_all()
    return connection


def prepare(path: Path) -> None:
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


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at the path; `None` if there is none that can be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_only() -> sqlite3.Error:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    return error


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing.

    Raises:
        StoreError: There is no store, or not one that can be read.
    """
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name the file in it that is the store.")
    if not path.is_file():
        raise StoreError(
            f"There is no store at {path}. Make one with sinks=[Store({str(path)!r})] or "
            f"`langchain-logprobs demo`, or name another with --store or {VARIABLE}."
        )
    with explained(path), ExitStack() as unless_returned:
        connection = unless_returned.enter_context(closing(_open_to_read(path)))
        if _version(connection, path) is not None:
            unless_returned.pop_all()
            return connection
    raise StoreError(f"The store at {path} is empty: nothing was written to it yet.")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into a `StoreError` with a way out."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(explanation(path, error)) from error


def explanation(path: Path, error: sqlite3.Error) -> str:
    """What the error means for who has the store, and what to do about it."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            told = "is locked by another process. Let it finish, or end it"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            told = "is read-only. Give write permission to it and its folder, or choose another"
        case sqlite3.SQLITE_FULL:
            told = "is on a full disk. Free some space, or give Store() a max_bytes"
        case sqlite3.SQLITE_CANTOPEN:
            told = "cannot be opened. Check that its folder exists and that you may use it"
        case sqlite3.SQLITE_NOTADB:
            told = "is no SQLite file. Choose another path; this file is left as it is"
        case sqlite3.SQLITE_CORRUPT:
            told = (
                "is damaged. Move it away to start a new one; what can be saved, "
                f"`sqlite3 {path} .recover | sqlite3 recovered.db` saves"
            )
        case sqlite3.SQLITE_IOERR:
            told = (
                "cannot be read or written: the disk reports an error, as a full one may. Free "
                "some space, or choose another path"
            )
        case _:
            told = "cannot be used"
    return f"The store at {path} {told}. ({error})"


def _open_to_read(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    options = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
    connection = sqlite3.connect(uri, uri=True, **options)  # type: ignore[call-overload]
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        # A folder that cannot be written, or a full disk, has no room for the files that readers
        # share with writers. If all that was written is in the file itself, none are needed.
        no_room = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR
        if _has_wal(path) or (os.access(path.parent, os.W_OK) and not no_room):
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, **options)  # type: ignore[call-overload]
    return connection  # type: ignore[no-any-return]


def _has_wal(path: Path) -> bool:
    """Whether something was written that is not yet in the file itself."""
    wal = Path(f"{path}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _version(connection: sqlite3.Connection, path: Path) -> int | None:
    """The version of the store, which is one that is known; `None` for an empty file.

    Raises:
        StoreError: It is something else.
    """
    # First of all: another process may be making it, and what it commits comes all at once.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables:
        return None
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StoreError(
            f"{path} is an SQLite file of something else. Choose another path; it is left as it is."
        )
    if version != VERSION and version not in MIGRATIONS:
        raise StoreError(
            f"The store at {path} has schema version {version}, and this is {VERSION}: upgrade "
            'with `pip install -U "langchain-logprobs"`, or choose another path. It is left as it '
            "is."
        )
    return int(version)


def _make(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_wal(connection)
    # Several processes may come here at once: the first makes it, the others find it made.
    with _transaction(connection):
        if _version(connection, path) is None:
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Makes it a store of this version; all that is in it stays."""
    with _transaction(connection):
        # Another process may have done it meanwhile.
        for version in range(_version(connection, path) or VERSION, VERSION):
            connection.execute(MIGRATIONS[version])
            connection.execute(f"PRAGMA user_version = {version + 1}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # neither committed, nor ended by a disk's error
            connection.execute("ROLLBACK")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Many readers beside one writer; where the file system cannot, SQLite keeps its own way."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:  # for this, SQLite does not wait by itself
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
