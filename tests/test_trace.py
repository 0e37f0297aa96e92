"""The trace tree: what ran inside a root run, each under what it ran in, wherever it is shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from graphs import EXPECTED, a_graph, look_up, scripted
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda
from stored import a_report

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.cli.app import run
from langchain_logprobs.cli.trace import guides
from langchain_logprobs.core.html import MOST_LINES, tree_html
from langchain_logprobs.core.model import Run, RunTree
from langchain_logprobs.core.plain import plain_tree
from langchain_logprobs.core.report import TreeReport, tree_report
from langchain_logprobs.core.trace import nested
from langchain_logprobs.store import Store, StoredRuns
from langchain_logprobs.testing import CollectingSink

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Item:
    run_id: object
    parent_run_id: object
    started_ns: int
    told: tuple[str, str | None] = ("", None)


def shape(report: TreeReport) -> list[tuple[int, str, str | None]]:
    calls = [of.call for of in report.calls]
    items = [
        *(
            Item(of.run_id, of.parent_run_id, of.started_ns, (of.kind, of.name))
            for of in report.tree.runs
        ),
        *(Item(of.run_id, of.parent_run_id, of.started_ns, ("call", of.model)) for of in calls),
    ]
    return [(depth, *of.told) for depth, of in nested(items)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runs.db"
    monkeypatch.setenv("LANGCHAIN_LOGPROBS_STORE", str(path))
    return path


@pytest.fixture
def graph(path: Path) -> TreeReport:
    """What a graph left in the store."""
    store, kept = Store(path), CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[store, kept])
    a_graph().invoke({"question": "?"}, {"callbacks": [handler]})
    assert store.close()
    [tree] = kept.trees
    return tree


# What is captured


def test_a_graph_is_there_whole_with_names_kinds_and_nesting(graph: TreeReport) -> None:
    assert shape(graph) == EXPECTED
    assert (graph.name, graph.tree.kind, graph.tree.omitted_runs) == ("LangGraph", "chain", 0)
    assert {of.outcome for of in graph.tree.runs} == {"ok"}


@pytest.mark.parametrize("way", ["ainvoke", "stream", "astream", "events"])
def test_the_same_tree_comes_in_every_way_of_running(way: str) -> None:
    kept = CollectingSink()
    graph = a_graph()
    config = {"callbacks": [LogprobsCallbackHandler(sinks=[kept])]}

    async def asynchronously() -> None:
        match way:
            case "ainvoke":
                await graph.ainvoke({"question": "?"}, config)
            case "astream":
                [_ async for _ in graph.astream({"question": "?"}, config)]
            case _:
                [_ async for _ in graph.astream_events({"question": "?"}, config, version="v2")]

    if way == "stream":
        list(graph.stream({"question": "?"}, config))
    else:
        asyncio.run(asynchronously())

    [tree] = kept.trees
    assert shape(tree) == EXPECTED


def test_times_lie_within_the_root_run_and_inside_each_other(graph: TreeReport) -> None:
    spans = {graph.tree.root_run_id: (graph.tree.started_ns, graph.tree.ended_ns)}
    spans |= {of.run_id: (of.started_ns, of.ended_ns) for of in graph.tree.runs}

    for of in graph.tree.runs:
        start, end = spans[of.parent_run_id]
        assert start <= of.started_ns <= of.ended_ns <= end


def test_a_run_that_fails_says_how_and_what_is_around_it_too() -> None:
    kept = CollectingSink()

    def fail(_: object) -> object:
        raise ValueError("no")

    chain = scripted() | RunnableLambda(fail).with_config(run_name="fail")
    with pytest.raises(ValueError, match="no"):
        chain.invoke("?", {"callbacks": [LogprobsCallbackHandler(sinks=[kept])]})

    [tree] = kept.trees
    assert [(of.name, of.outcome, of.error) for of in tree.tree.runs] == [
        ("fail", "error", "ValueError")
    ]
    assert tree.tree.outcome == "error"


def test_a_run_of_which_no_end_is_told_is_abandoned_when_its_root_ends() -> None:
    kept = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[kept])
    root, inner = uuid4(), uuid4()
    handler.on_chain_start({}, {}, run_id=root, name="root")
    handler.on_tool_start({}, "", run_id=inner, parent_run_id=root, name="inner")
    handler.on_chat_model_start({}, [], run_id=uuid4(), parent_run_id=inner)
    handler.on_chain_end({}, run_id=root)

    [tree] = kept.trees
    [run] = tree.tree.runs
    assert (run.name, run.kind, run.outcome) == ("inner", "tool", "abandoned")
    assert run.ended_ns == tree.tree.ended_ns


def test_runs_beyond_the_bound_are_counted_and_what_is_in_them_stays_in_the_tree() -> None:
    kept = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[kept], max_open_calls=3)
    steps = RunnableLambda(lambda x: x).with_config(run_name="first")
    for index in range(5):
        steps = steps | RunnableLambda(lambda x: x).with_config(run_name=f"step {index}")
    (steps | scripted()).invoke("?", {"callbacks": [handler]})

    [tree] = kept.trees
    assert [of.name for of in tree.tree.runs] == ["first", "step 0", "step 1"]
    assert tree.tree.omitted_runs == 3
    assert len(tree.calls) == 1
    assert handler.is_idle()


def test_a_root_run_without_a_model_call_keeps_nothing() -> None:
    kept = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[kept])
    look_up.invoke("word", {"callbacks": [handler]})
    RunnableLambda(look_up.invoke).invoke("word", {"callbacks": [handler]})

    assert kept.trees == []
    assert handler.is_idle()


# The order


def uid(number: int) -> UUID:
    return UUID(int=number)


def test_siblings_come_as_they_began_and_children_after_their_parent() -> None:
    items = [
        Item(uid(3), uid(1), 5),
        Item(uid(2), uid(9), 2),
        Item(uid(1), uid(9), 1),
        Item(uid(4), uid(1), 4),
    ]

    assert [(depth, of.run_id) for depth, of in nested(items)] == [
        (0, uid(1)),
        (1, uid(4)),
        (1, uid(3)),
        (0, uid(2)),
    ]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=30))
def test_everything_is_listed_once_whatever_is_in_whatever(edges: list[tuple[int, int]]) -> None:
    items = [Item(uid(index), uid(parent), at) for index, (parent, at) in enumerate(edges)]
    listed = list(nested(items))

    assert sorted(of.run_id.int for _, of in listed) == list(range(len(items)))  # type: ignore[attr-defined]
    depths = [depth for depth, _ in listed]
    assert depths[:1] in ([], [0])
    assert all(after <= before + 1 for before, after in pairwise(depths))


def test_ten_thousand_runs_one_in_the_other_are_no_deeper_than_python_can_go() -> None:
    items = [Item(uid(index + 1), uid(index), index) for index in range(10_000)]

    assert [depth for depth, _ in nested(items)] == list(range(10_000))


def test_guides_join_each_line_to_the_one_it_lies_under() -> None:
    assert guides([0, 1, 1, 0, 1]) == ["├─ ", "│  ├─ ", "│  └─ ", "└─ ", "   └─ "]
    assert guides([]) == []


# Where it is kept and shown


def test_the_store_gives_the_tree_back_equal(graph: TreeReport, path: Path) -> None:
    stored = StoredRuns(path)

    assert stored.tree(graph.tree.root_run_id) == graph
    assert stored.run_tree(graph.tree.root_run_id) == graph.tree
    assert stored.run_tree(uuid4()) is None


def test_show_prints_the_tree_with_the_call_that_is_shown_marked(
    graph: TreeReport, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(["show", str(graph.calls[0].call.run_id)])
    printed = capsys.readouterr().out
    lines = printed[printed.index("LangGraph") :].splitlines()

    assert [line.split()[:3] for line in lines[1:3]] == [
        ["├─", "gather", "node"],
        ["│", "├─", "Facts"],
    ]
    marked = [line for line in lines if "▶ scripted-1" in line]
    assert len(marked) == 1
    assert "▼ 0.63" in marked[0]
    assert "2 tokens" in marked[0]
    assert len([line for line in lines if "● scripted-1" in line]) == 1
    assert len(lines) == len(EXPECTED) + 1


def test_a_narrow_terminal_has_times_and_no_bars(
    graph: TreeReport, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "78")
    with pytest.raises(SystemExit):
        run(["show", str(graph.calls[0].call.run_id)])
    lines = capsys.readouterr().out.partition("LangGraph")[2].splitlines()

    assert all(line.rstrip().endswith(("ms", " s")) for line in lines)
    assert any("scripted-1" in line and "2 tokens" in line for line in lines)


def test_export_writes_root_runs_with_all_that_ran_inside(
    graph: TreeReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyarrow import parquet  # noqa: PLC0415 - slow to import

    with pytest.raises(SystemExit):
        run(["export", "--trees"])
    [line] = capsys.readouterr().out.splitlines()
    with pytest.raises(SystemExit):
        run(["export", "--trees", "-o", str(tmp_path / "trees.parquet")])
    [row] = parquet.read_table(tmp_path / "trees.parquet").to_pylist()

    plain = plain_tree(graph)
    assert json.loads(line) == plain
    assert list(map(itemgetter("name"), row["runs"])) == [of.name for of in graph.tree.runs]
    assert row["calls"] == plain["calls"]
    assert row["confidence"] == graph.confidence.confidence


def test_export_of_some_calls_of_root_runs_is_refused(
    graph: TreeReport, capsys: pytest.CaptureFixture[str]
) -> None:
    del graph
    with pytest.raises(SystemExit):
        run(["export", "--trees", "--low"])

    assert "leave --model and --low out" in capsys.readouterr().err


def a_tree(names: list[str], error: str | None = None) -> TreeReport:
    root = uuid4()
    runs = tuple(
        Run(
            run_id=uuid4(),
            parent_run_id=root,
            name=name,
            kind="chain",
            started_ns=index,
            ended_ns=index + 2 * SECOND,
            outcome="ok" if error is None else "error",
            error=error,
        )
        for index, name in enumerate(names)
    )
    tree = RunTree(root_run_id=root, name="root", started_ns=0, ended_ns=9, runs=runs)
    return tree_report(tree, [a_report(root=root, parent_run_id=root)])


def test_a_notebook_shows_the_tree_and_unfolds_each_call(graph: TreeReport) -> None:
    page = graph._repr_html_()

    assert page == tree_html(graph)
    assert page.count("<details>") == 2
    assert page.index("gather") < page.index("look_up") < page.index("Syd") < page.index("outer")


def test_names_and_errors_of_runs_stay_text_in_a_notebook() -> None:
    page = a_tree(["<script>alert(1)</script>\u202e"], error="<img src=x>")._repr_html_()

    assert "<script>" not in page
    assert "<img" not in page
    assert "\u202e" not in page


def test_a_notebook_shows_a_bounded_part_of_a_large_tree_and_says_how_much_is_left() -> None:
    page = a_tree([f"run {index}" for index in range(MOST_LINES + 50)])._repr_html_()

    assert "and 51 more runs and calls" in page


@pytest.fixture
def wide(path: Path) -> TreeReport:
    report = a_tree([f"run {index}" for index in range(400)])
    store = Store(path)
    store(report.calls[0])
    store(report)
    store.close()
    return report


def test_the_terminal_shows_a_bounded_part_and_says_how_to_have_the_rest(
    wide: TreeReport, capsys: pytest.CaptureFixture[str]
) -> None:
    del wide
    with pytest.raises(SystemExit):
        run(["show"])
    printed = capsys.readouterr().out

    assert "run 298" in printed
    assert "run 350" not in printed
    assert "and 101 more: langchain-logprobs export --trees" in printed
