"""The store: what goes in comes out equal, nothing is lost in silence, and the way out is told."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pytest
from conftest import PATIENCE, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda
from stored import SECOND, a_report

from langchain_logprobs import LogprobsCallbackHandler, keep_lowest, redact
from langchain_logprobs.core.model import Completion, ModelCall, RunTree
from langchain_logprobs.core.report import CallReport, call_report, tree_report
from langchain_logprobs.core.tokens import CENSORED, Candidate, TokenLogprob
from langchain_logprobs.store import Query, Store, StoredRuns, StoreError, default_path, store_at
from langchain_logprobs.store import schema as schema_module
from langchain_logprobs.store.codec import DamagedError, decode, encode
from langchain_logprobs.telemetry.spans import Options
from langchain_logprobs.telemetry.tokens import token_spans
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., Store]]:
    """Stores that are closed after the test."""
    stores: list[Store] = []

    def make(**arguments: object) -> Store:
        stores.append(Store(path, **arguments))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        store.close(1)


# What comes back

texts = st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "💩", "<script>", "\u202e", ""])
numbers = st.none() | st.floats(-200, 0) | st.sampled_from([CENSORED, 0.0, -0.0, -0.5])
raws = st.none() | st.binary(max_size=4)
candidates = st.builds(Candidate, texts, st.floats(-200, 0), raws)
tokens = st.builds(
    TokenLogprob,
    texts,
    numbers,
    raws,
    st.lists(candidates, max_size=4).map(tuple),
    st.sampled_from(["content", "refusal", "reasoning"]),
    st.none() | st.integers(0, 2**62),
)
metadata = st.dictionaries(
    texts | st.sampled_from(["$tuple", "$x"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | texts
        | st.binary(max_size=3)
        | st.uuids()
        | st.just(datetime(2026, 1, 2, tzinfo=UTC))
        | st.just(range(2, 5))
        | st.frozensets(st.integers()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(texts | st.integers(), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=3,
)
completions = st.builds(
    Completion,
    tokens=st.lists(tokens, max_size=6).map(tuple),
    text=texts,
    tool_calls=st.lists(st.tuples(texts, metadata), max_size=2).map(tuple),
    finish_reason=st.none() | texts,
)
calls = st.builds(
    ModelCall,
    run_id=st.uuids(),
    root_run_id=st.uuids(),
    started_ns=st.integers(0, 2**62),
    ended_ns=st.integers(0, 2**62),
    parent_run_id=st.none() | st.uuids(),
    root_name=st.none() | texts,
    model=st.none() | texts,
    completions=st.lists(completions, max_size=3).map(tuple),
    outcome=st.sampled_from(["ok", "error", "cancelled", "abandoned"]),
    metadata=metadata,
    parameters=metadata,
)
unavailable = st.sampled_from([None, "not_sent", "choices_interleaved"])


@given(calls, unavailable)
@settings(deadline=None)
def test_a_report_of_anything_is_read_back_equal(call: ModelCall, reason: object) -> None:
    report = call_report(call, unavailable=reason)  # type: ignore[arg-type]

    read = decode(encode(report))

    assert read == report
    assert read.call.metadata == call.metadata


def spans_of(report: CallReport) -> list[tuple[object, ...]]:
    """The token spans of a report, one by one."""
    return [
        (list(lot.attributes(at).items()), lot.starts[at], lot.ends[at])
        for lot in token_spans(report, Options(), 128)
        for at in range(len(lot))
    ]


@given(calls)
@settings(deadline=None)
def test_a_report_that_was_read_can_be_gone_on_with_as_one_that_was_not(call: ModelCall) -> None:
    report = call_report(call)

    read = decode(encode(report))

    assert redact()(read) == redact()(report)
    assert keep_lowest(1)(read) == keep_lowest(1)(report)
    assert spans_of(read) == spans_of(report)


@given(st.binary(max_size=200))
def test_bytes_of_anything_else_are_damaged_and_nothing_worse(body: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(body)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_flipped_byte_is_damage_or_is_harmless(place: int, flip: int) -> None:
    body = bytearray(encode(a_report(count=5)))
    body[place % len(body)] ^= flip

    try:
        decode(bytes(body))
    except DamagedError:
        return


def test_of_an_object_only_its_type_is_kept() -> None:
    class Secretive:
        def __repr__(self) -> str:
            return "password"

    assert decode(encode({"a": Secretive()}))["a"].endswith("Secretive>")


def test_metadata_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert "builtins.list" in str(decode(encode(endless)))


def test_what_a_chain_reports_is_read_back_equal_calls_and_tree(
    path: Path, opened: Callable[..., Store]
) -> None:
    store, kept = opened(), CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[store, kept])
    model = ScriptedChatModel(
        answers=[answer(("Syd", -0.6, {"Can": -1.2}), b"\xf0\x9f", b"\x98\x80")]
    )
    chain = model | RunnableLambda(lambda message: [message]) | model
    config = {"callbacks": [handler], "metadata": {"path": ("a", 1), "blob": b"\xff"}}

    assert chain.invoke("?", config).text  # type: ignore[arg-type]
    store.flush()

    runs = StoredRuns(path)
    assert [runs.report(of.call.run_id) for of in kept.calls] == kept.calls
    assert [runs.tree(of.tree.root_run_id) for of in kept.trees] == kept.trees
    assert len(kept.calls) == 2
    assert len(kept.trees) == 1


def test_a_tree_whose_calls_a_processor_changed_is_read_back_as_it_was_handed_over(
    path: Path, opened: Callable[..., Store]
) -> None:
    store, call = opened(), a_report(root=uuid4())
    tree = tree_report(
        RunTree(root_run_id=call.call.root_run_id, name="r", started_ns=0, ended_ns=1), [call]
    )
    hidden = redact()(tree)
    assert hidden is not None

    store(call)
    store(hidden)
    store.flush()

    runs = StoredRuns(path)
    assert runs.tree(call.call.root_run_id) == hidden
    assert runs.report(call.call.run_id) == call
    assert hidden != tree


def test_the_same_run_handed_over_twice_is_there_once(
    path: Path, opened: Callable[..., Store]
) -> None:
    store, report = opened(), a_report()

    store(report)
    store(replace(report, low_token=0.25))
    store.flush()

    assert [of.low_token for of in StoredRuns(path).reports()] == [0.25]


# Lists


@pytest.fixture
def filled(path: Path, opened: Callable[..., Store]) -> StoredRuns:
    store = opened(max_bytes=None)
    for index, (model, logprob) in enumerate([("a", -0.1), ("a", -2.0), ("b", -0.5), ("b", -0.01)]):
        store(
            a_report(
                model=model,
                logprob=logprob,
                count=index + 1,
                ended_ns=(index + 1) * 60 * SECOND,
                text=f"Answer {index}",
            )
        )
    store(
        replace(
            a_report(model="c", count=0, ended_ns=300 * SECOND, text=""), unavailable="not_sent"
        )
    )
    store.flush()
    return StoredRuns(path)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), ["", "Answer 3", "Answer 2", "Answer 1", "Answer 0"]),
        (Query(sort="oldest"), ["Answer 0", "Answer 1", "Answer 2", "Answer 3", ""]),
        (Query(sort="least"), ["Answer 1", "Answer 2", "Answer 0", "Answer 3", ""]),
        (Query(sort="most"), ["Answer 3", "Answer 0", "Answer 2", "Answer 1", ""]),
        (Query(sort="longest"), ["Answer 3", "Answer 2", "Answer 1", "Answer 0", ""]),
        (Query(model="a"), ["Answer 1", "Answer 0"]),
        (Query(low=True), ["Answer 2", "Answer 1"]),
        (Query(under=0.2), ["Answer 1"]),
        (Query(since_ns=180 * SECOND, until_ns=240 * SECOND), ["Answer 2"]),
        (Query(text="ANSWER 3"), ["Answer 3"]),
        (Query(text="%"), []),
        (Query(text="'; DROP TABLE calls; --"), []),
        (Query(model="\ud800"), []),
        (Query(up_to=1), ["Answer 0"]),
        (Query(outcome="error"), []),
        (Query(since_ns=-(2**80)), ["", "Answer 3", "Answer 2", "Answer 1", "Answer 0"]),
        (Query(since_ns=2**80), []),
        (Query(until_ns=-(2**80)), []),
    ],
)
def test_lists_filter_and_sort(filled: StoredRuns, query: Query, expected: list[str]) -> None:
    found = [of.text for of in filled.summaries(query)]

    assert found == expected
    assert filled.count(query) == len(expected)
    assert [of.text for of in filled.reports(query)] == expected


def test_pages_cover_the_list(filled: StoredRuns) -> None:
    pages = [filled.summaries(limit=2, offset=offset) for offset in (0, 2, 4, 6)]

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [of for page in pages for of in page] == filled.summaries()


def test_a_run_is_found_by_how_its_id_begins(filled: StoredRuns) -> None:
    last = filled.summaries(limit=1)[0]

    assert filled.resolve(last.run_id[:8].upper()) == last
    assert filled.resolve("last") == last
    with pytest.raises(StoreError, match="no run zz"):
        filled.resolve("zz")
    with pytest.raises(StoreError, match="More than one"):
        filled.resolve("")


def test_what_stands_beside_the_lists(filled: StoredRuns) -> None:
    assert filled.models() == ["a", "b", "c"]
    assert filled.nodes() == []
    assert filled.last_seq() == 5
    assert filled.dropped() == 0
    assert filled.roots() == []
    assert sorted(filled.unavailable(), key=str) == [
        ("a", None, 2),
        ("b", None, 2),
        ("c", "not_sent", 1),
    ]
    assert len(filled.confidences(Query(model="a"))) == 2


def test_figures_over_time_have_quartiles_of_each_model(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened()
    for probability in (0.2, 0.4, 0.6, 0.8, 1.0):
        store(a_report(logprob=math.log(probability), ended_ns=SECOND))
    store(a_report(model="n", logprob=0.0, ended_ns=100 * SECOND))
    store.flush()

    first, last = StoredRuns(path).over_time(buckets=2)

    assert first.quantiles == pytest.approx((0.28, 0.4, 0.6, 0.8, 0.92))
    assert (first.model, first.count, first.low) == ("m", 5, 3)
    assert (last.model, last.count, last.quantiles[2]) == ("n", 1, 1.0)
    assert last.start_ns > first.start_ns
    assert StoredRuns(path).over_time(Query(model="none")) == []


def test_the_default_path_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path() == Path("langchain_logprobs.db")

    monkeypatch.setenv("LANGCHAIN_LOGPROBS_STORE", "/somewhere/else.db")

    assert default_path() == Path("/somewhere/else.db")


# Bounds and retention


def test_what_does_not_fit_in_the_queue_is_counted_told_and_noted(
    path: Path, opened: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(max_pending=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nothing can be written now
        for _ in range(6):
            store(a_report(count=3))
        other.execute("ROLLBACK")
    store(a_report(count=0))

    assert store.dropped > 0
    assert store.flush(PATIENCE)
    store(a_report(count=0))
    assert store.flush()
    runs = StoredRuns(path)
    assert runs.count() + runs.dropped() == 8
    assert runs.dropped() == store.dropped
    assert sum("cannot keep up" in of.message for of in caplog.records) == 1


def test_a_report_larger_than_the_queue_is_taken_when_nothing_waits(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened(max_pending=10)

    store(a_report(count=50))

    assert store.flush()
    assert StoredRuns(path).count() == 1


def test_a_report_that_cannot_be_stored_does_not_take_others_with_it(
    path: Path, opened: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store, report = opened(), a_report()
    odd = replace(report.call, run_id=uuid4(), metadata={"n": 10**5000})

    store(report)
    store(replace(report, call=odd))
    store(a_report())

    assert store.flush()
    assert (store.dropped, StoredRuns(path).count(), StoredRuns(path).dropped()) == (1, 2, 1)
    assert "counted as dropped" in caplog.text


class ExpiredError(Exception):
    """What an application's own object may raise."""


class Lazy(Mapping[str, object]):
    """A mapping that cannot be read any more, such as a row whose session is closed."""

    def __getitem__(self, _: str) -> object:
        raise ExpiredError

    def __iter__(self) -> Iterator[str]:
        raise ExpiredError

    def __len__(self) -> int:
        return 1


def test_metadata_that_raises_anything_does_not_stop_the_writer(
    opened: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store, report = opened(), a_report()

    store(replace(report, call=replace(report.call, run_id=uuid4(), metadata={"row": Lazy()})))
    store(report)

    assert store.flush()
    assert (store.dropped, list(StoredRuns(store.path).reports())) == (1, [report])
    assert "ExpiredError" in caplog.text


def test_calls_whose_root_run_never_ends_take_no_more_memory_than_those_that_wait(
    opened: Callable[..., Store],
) -> None:
    store, calls = opened(max_pending=100), [a_report(root=uuid4(), count=9) for _ in range(50)]
    for call in calls:
        store(call)
        store.flush()
    ended = [
        RunTree(root_run_id=of.call.root_run_id, name="r", started_ns=0, ended_ns=1) for of in calls
    ]

    held = [call for call in calls if call in store._held]
    trees = [tree_report(of, [call]) for of, call in zip(ended, calls, strict=True)]
    for tree in trees:
        store(tree)
        store.flush()

    assert held == calls[-10:]
    assert len(store._held) == 0
    runs = StoredRuns(store.path)
    assert [runs.tree(of.call.root_run_id) for of in calls] == trees


def test_runs_older_than_max_age_go_whole_trees_or_not_at_all(
    path: Path, opened: Callable[..., Store]
) -> None:
    now, root, gone = time.time_ns(), uuid4(), uuid4()
    first = opened()
    early = a_report(root=root, ended_ns=now - 7200 * SECOND)
    old = a_report(root=gone, ended_ns=now - 7200 * SECOND)
    first(early)
    first(old)
    first(tree_report(RunTree(root_run_id=root, name="kept", started_ns=0, ended_ns=now), [early]))
    first(
        tree_report(
            RunTree(root_run_id=gone, name="gone", started_ns=0, ended_ns=now - 7000 * SECOND),
            [old],
        )
    )
    first.close()

    store = opened(max_age=timedelta(hours=1))
    store(a_report())
    store.close()

    runs = StoredRuns(path)
    assert runs.roots() == [str(root)]
    assert runs.tree(root).calls == (early,)
    assert runs.count() == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM bodies").fetchone() == (2,)


def test_above_max_bytes_the_oldest_go_and_the_file_shrinks(
    path: Path, opened: Callable[..., Store]
) -> None:
    first = opened(max_bytes=None)
    reports = [a_report(count=300, logprob=-0.001 * of, ended_ns=of * SECOND) for of in range(400)]
    for report in reports:
        first(report)
    first.close()
    before = path.stat().st_size

    store = opened(max_bytes=before // 2)
    store(a_report())
    store.close()

    runs = StoredRuns(path)
    kept = [of.call.run_id for of in runs.reports(Query(sort="oldest"))]
    assert runs.used_bytes() <= before // 2
    assert path.stat().st_size < before
    assert 100 < len(kept) < 300
    assert kept[:-1] == [of.call.run_id for of in reports][-len(kept) + 1 :]


# Threads, processes, forks, the end


def test_many_threads_write_and_nothing_is_lost(path: Path, opened: Callable[..., Store]) -> None:
    store = opened()

    def write() -> None:
        for _ in range(50):
            store(a_report())

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.flush()
    assert StoredRuns(path).count() == 400
    assert (store.dropped, store.pending) == (0, 0)


WRITER = """
import sys
sys.path[:0] = {path!r}
from stored import a_report
from langchain_logprobs.store import Store
store = Store(sys.argv[1])
for _ in range(100):
    store(a_report(model=sys.argv[2]))
"""


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    code = code.replace("{path!r}", repr([str(Path(__file__).parent)]))
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_several_processes_make_and_fill_one_store_and_lose_nothing_at_exit(path: Path) -> None:
    writers = [run_python(WRITER, str(path), f"p{index}") for index in range(4)]
    said = [writer.communicate(timeout=600)[0] for writer in writers]

    assert said == [""] * 4
    runs = StoredRuns(path)
    assert {model: runs.count(Query(model=model)) for model in runs.models()} == {
        f"p{index}": 100 for index in range(4)
    }
    assert sorted(of.seq for of in runs.summaries()) == list(range(1, 401))


FORK = """
import os, sys
sys.path[:0] = {path!r}
from stored import a_report
from langchain_logprobs.store import Store, store_at
store = store_at(sys.argv[1])
store(a_report(model="before"))
store.flush()
child = os.fork()
store(a_report(model="child" if child == 0 else "parent"))
assert store.flush(300)
if child == 0:
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store(a_report(model="after"))
store.close()
print("ok" if store_at(sys.argv[1]) is store else "another")
"""


FORKS = """
import os, sys
sys.path[:0] = {path!r}
from stored import a_report
from langchain_logprobs.store import Store
store = Store(sys.argv[1], max_pending=10**9)
for _ in range(15):
    for _ in range(40):  # so that a transaction is likely under way at the fork
        store(a_report(model="parent"))
    child = os.fork()
    if child == 0:
        store(a_report(model="child"))
        done = store.close(300)
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
print("ok" if store.close(300) else "not written")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_forks_in_the_middle_of_writing_lose_nothing(path: Path) -> None:
    said, _ = run_python(FORKS, str(path)).communicate(timeout=600)

    assert said == "ok\n"
    runs = StoredRuns(path)
    assert {of: runs.count(Query(model=of)) for of in runs.models()} == {"child": 15, "parent": 600}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_after_a_fork_both_go_on_writing(path: Path) -> None:
    said, _ = run_python(FORK, str(path)).communicate(timeout=600)

    assert said == "ok\n"
    assert StoredRuns(path).models() == ["after", "before", "child", "parent"]


def test_after_close_it_may_be_used_again(path: Path, opened: Callable[..., Store]) -> None:
    store = opened()
    store(a_report())
    assert store.close()
    store(a_report())
    assert store.close()

    assert StoredRuns(path).count() == 2


def test_what_comes_after_the_exit_handler_is_written_at_once(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened()
    store.at_exit()

    store(a_report())

    assert StoredRuns(path).count() == 1


def test_one_path_has_one_store_in_a_process(path: Path) -> None:
    store = store_at(path)

    assert store_at(str(path)) is store
    store.close()


def test_the_stream_is_not_held_up_by_a_store_that_is_locked(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store(a_report())

        assert not store.flush(0.3)
        assert store.pending == 1
        other.execute("ROLLBACK")
    assert store.flush(PATIENCE)
    assert StoredRuns(path).count() == 1


def test_the_environment_gives_every_handler_the_same_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGCHAIN_LOGPROBS_STORE", str(path))
    model = ScriptedChatModel(answers=[answer(("yes", -0.1))])
    for _ in range(3):
        model.invoke("?", config={"callbacks": [LogprobsCallbackHandler()]})
    model.invoke("?", config={"callbacks": [LogprobsCallbackHandler(sinks=())]})

    assert store_at().close()
    assert StoredRuns(path).count() == 3


# What can be wrong with a store


def version_of(path: Path, version: int) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_a_newer_schema_is_told_and_left_alone(path: Path) -> None:
    version_of(path, 99)
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"schema version 99.*upgrade with"):
        Store(path)
    with pytest.raises(StoreError, match="schema version 99"):
        StoredRuns(path)
    assert path.read_bytes() == before


OLD = Path(__file__).parent / "payloads" / "stores" / "schema_1.sql"
"""What the code of schema version 1 wrote: one chain with one call."""


@pytest.fixture
def old(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text())
    return path


def schema_of(path: Path) -> tuple[int, list[str]]:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return version, [of[1] for of in connection.execute("PRAGMA table_info(trees)")]


def test_a_store_of_an_older_schema_is_read_as_it_is(old: Path) -> None:
    stored = StoredRuns(old)
    [report] = stored.reports()
    tree = stored.tree(UUID(int=7))

    assert report.text == "Sydney"
    assert redact()(report) != report  # its measures were kept as the name of their type
    assert tree.calls == (report,)
    assert (tree.name, tree.tree.runs) == ("RunnableSequence", ())
    assert schema_of(old)[0] == 1


def test_writing_to_an_older_schema_moves_it_on_and_keeps_what_is_in_it(old: Path) -> None:
    [before] = StoredRuns(old).reports()
    report = a_report()
    with closing(Store(old)) as store:
        store(report)
        store.flush()

    fresh = old.with_name("fresh.db")
    Store(fresh).close()
    assert schema_of(old) == schema_of(fresh) == (schema_module.VERSION, schema_of(fresh)[1])
    assert list(StoredRuns(old).reports()) == [report, before]
    assert StoredRuns(old).tree(UUID(int=7)).calls == (before,)


def test_two_processes_that_come_to_an_older_schema_at_once_move_it_on_once(old: Path) -> None:
    code = f"from langchain_logprobs.store import Store; Store({str(old)!r}).close()"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]

    assert [child.wait(600) for child in children] == [0] * 4
    assert schema_of(old)[0] == schema_module.VERSION


def test_an_older_schema_that_is_locked_is_read_meanwhile_and_moved_on_later(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_module, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(old)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = Store(old)  # what will pass is left to the writer
        assert StoredRuns(old).count() == 1
        other.execute("ROLLBACK")
    store(a_report())

    assert store.close()
    assert StoredRuns(old).count() == 2


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("These are my notes. " * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")

    with pytest.raises(StoreError, match="no SQLite file"):
        Store(text)
    with pytest.raises(StoreError, match="something else"):
        Store(other)
    with pytest.raises(StoreError, match="something else"):
        StoredRuns(other)
    assert text.read_text() == "These are my notes. " * 100


def test_there_is_no_store_or_it_is_empty(path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*langchain-logprobs demo"):
        StoredRuns(path)
    path.touch()
    with pytest.raises(StoreError, match="empty"):
        StoredRuns(path)


def test_a_store_is_for_its_owner_to_read_unless_somebody_says_otherwise(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened()
    store(a_report())
    store.flush()

    modes = {of.name: stat.S_IMODE(of.stat().st_mode) for of in path.parent.iterdir()}
    assert modes == dict.fromkeys(modes, 0o600)
    path.chmod(0o644)
    store.close()
    store(a_report())
    store.flush()

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_folders_are_made_and_a_path_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b" / "runs.db").close()
    (tmp_path / "file").touch()

    assert (tmp_path / "a" / "b" / "runs.db").exists()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="folder"):
        Store(tmp_path / "file" / "runs.db")


def test_damage_is_told_and_other_runs_can_still_be_read(
    path: Path, opened: Callable[..., Store]
) -> None:
    store, reports = opened(), [a_report(), a_report()]
    for report in reports:
        store(report)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE bodies SET body = x'00' WHERE seq = 1")

    with pytest.raises(StoreError, match="damaged; other runs"):
        StoredRuns(path).report(reports[0].call.run_id)
    assert StoredRuns(path).report(reports[1].call.run_id) == reports[1]


def test_a_file_whose_pages_are_damaged_says_how_to_save_what_can_be(
    path: Path, opened: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = opened()
    for _ in range(50):
        store(a_report(count=50))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)

    with pytest.raises(StoreError, match=r"damaged.*recover"):
        StoredRuns(path).summaries()
    store(a_report())
    wait_until(lambda: "is damaged. Move it away" in caplog.text)
    assert not store.flush(0.1)
    assert store.pending == 1

    path.rename(path.with_suffix(".damaged"))
    for rest in path.parent.glob("runs.db-*"):
        rest.unlink()
    assert store.flush(PATIENCE)
    assert StoredRuns(path).count() == 1


def test_a_store_moved_away_under_a_writer_is_made_anew(
    path: Path, opened: Callable[..., Store]
) -> None:
    store = opened()
    store(a_report())
    store.flush()
    moved = path.with_name("moved.db")
    path.rename(moved)
    for rest in path.parent.glob("runs.db-*"):
        rest.rename(f"{moved}{rest.name.removeprefix('runs.db')}")

    store(a_report())
    store.flush()

    assert (StoredRuns(path).count(), StoredRuns(moved).count()) == (1, 1)


def test_a_store_whose_folder_is_no_folder_for_a_while_goes_on_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "folder" / "runs.db")
    store(a_report())
    store.flush()
    folder = store.path.parent
    away = folder.rename(folder.with_name("away"))
    folder.touch()

    store(a_report())
    wait_until(lambda: "cannot be opened" in caplog.text)
    folder.unlink()
    away.rename(folder)

    assert store.flush(PATIENCE)
    assert StoredRuns(store.path).count() == 2
    store.close()


def test_a_disk_that_is_full_before_the_store_is_made_says_so(path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from langchain_logprobs.store import Store, StoreError\n"
        "try: Store(sys.argv[1])\n"
        "except StoreError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )

    assert "the disk reports an error, as a full one may" in done.stdout
    assert "rollback" not in done.stdout


def test_a_store_is_read_where_there_is_no_room_for_what_readers_share(path: Path) -> None:
    store = Store(path)
    store(a_report(text="here"))
    store.close()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from langchain_logprobs.store import StoredRuns\n"
        "print(StoredRuns(sys.argv[1]).summaries()[0].text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout == "here\n"


def test_a_full_disk_keeps_reports_waiting_until_there_is_room(
    path: Path,
    opened: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # SQLite's own limit raises the very error that a full disk does.
    def small(
        of: Path, connect: Callable[[Path], sqlite3.Connection] = schema_module.connect
    ) -> sqlite3.Connection:
        connection = connect(of)
        connection.execute("PRAGMA max_page_count = 1")  # the least is what it has
        return connection

    store = opened()
    with monkeypatch.context() as patched:
        patched.setattr("langchain_logprobs.store.writer.connect", small)
        store(a_report(count=20_000))

        wait_until(lambda: "on a full disk. Free some space" in caplog.text)
        assert not store.flush(0.1)
        assert (store.pending, store.dropped) == (1, 0)
    assert store.flush(PATIENCE)
    assert StoredRuns(path).count() == 1


READ_ONLY = """
import encodings.idna, os, sys
from langchain_logprobs.store import Store, StoreError, StoredRuns
if os.getuid() == 0:  # root may write everything
    os.setgid(65534)
    os.setuid(65534)
print(StoredRuns(sys.argv[1]).count())
try:
    Store(sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this platform has no users to become")
def test_a_read_only_store_in_a_read_only_folder_is_read_and_says_so_to_writers() -> None:
    # pytest's own folders are closed to other users
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        store = Store(path)
        store(a_report())
        store.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)

        said, _ = run_python(READ_ONLY, str(path)).communicate(timeout=600)

        Path(folder).chmod(0o755)
    assert said.startswith("1\n")
    assert "is read-only. Give write permission" in said


def test_a_lock_is_explained(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(schema_module, "BUSY_SECONDS", 0.1)
    store = Store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store(a_report())

        wait_until(lambda: "is locked by another process" in caplog.text)
        assert not store.flush(0.1)
        assert [of.levelno for of in caplog.records] == [logging.WARNING]
        other.execute("ROLLBACK")
    assert store.close()
    assert StoredRuns(path).count() == 1
