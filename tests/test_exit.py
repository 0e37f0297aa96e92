"""How a process ends, and what the store then has: real processes, real exits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_logprobs.store import StoredRuns

PROGRAM = """
import sys, threading, time
from langchain_core.runnables import RunnableLambda
from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.store import Store
from langchain_logprobs.testing import ScriptedChatModel, answer

handler = LogprobsCallbackHandler(sinks=[Store(sys.argv[1])])
config = {"callbacks": [handler]}
model = ScriptedChatModel(answers=[answer("a", "b", "c")])
model.invoke("ends", config)
chain = (RunnableLambda(lambda x: x) | model).with_config(run_name="left open")


def open_call():
    stream = chain.stream("stays open", config)
    while not (calls := handler.open_calls()) or len(calls[0].events) < 3:
        next(stream)  # the first chunk has no text
    return stream


"""
ENDS = {
    "normally": "stream = open_call()",
    "by sys.exit() in a chain": (
        "def leave(x):\n"
        "    held.append(open_call())\n"
        "    sys.exit(3)\n"
        "held = []\n"
        "RunnableLambda(leave).with_config(run_name='leaves').invoke('?', config)"
    ),
    "by an exception": "stream = open_call()\nraise ValueError('not caught')",
    "by an interrupt": "stream = open_call()\nraise KeyboardInterrupt",
    "with a call in a daemon thread": (
        "held = []\n"
        "def work():\n"
        "    held.append(open_call())\n"
        "    time.sleep(3600)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "while not held: time.sleep(0.01)"
    ),
}
STATUS = {
    "normally": 0,
    "by sys.exit() in a chain": 3,
    "by an exception": 1,
    "by an interrupt": -signal.SIGINT,
    "with a call in a daemon thread": 0,
}
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def start(path: Path) -> Start:
    def popen(end: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM + end, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


@pytest.mark.parametrize("how", ENDS)
def test_a_call_that_is_open_when_the_process_ends_is_in_the_store(
    start: Start, path: Path, how: str
) -> None:
    child = start(ENDS[how])
    _, said = child.communicate(timeout=600)

    assert (child.returncode, "Exception ignored" in said) == (STATUS[how], False), said
    stored = StoredRuns(path)
    ended, left = stored.summaries()[::-1]
    assert (ended.outcome, ended.tokens) == ("ok", 3)
    # What ends the chain around a call also stops the call.
    stopped = ("cancelled", "SystemExit")
    assert (left.outcome, left.error) == (stopped if "sys.exit" in how else ("abandoned", None))
    assert left.tokens == 2
    trees = [stored.tree(of) for of in stored.roots()]
    assert "left open" in [of.name for of in trees] + [
        run.name for of in trees for run in of.tree.runs
    ]


def test_what_ended_before_a_sigterm_that_nobody_handles_is_in_the_store(
    start: Start, path: Path
) -> None:
    child = start(
        "from langchain_logprobs.store import StoredRuns\n"
        "stream = open_call()\n"
        "while not StoredRuns(sys.argv[1]).count(): time.sleep(0.01)\n"
        "print('ready', flush=True)\n"
        "time.sleep(3600)"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=600)

    assert child.returncode == -signal.SIGTERM
    [ended] = StoredRuns(path).summaries()
    assert (ended.outcome, ended.tokens) == ("ok", 3)


def test_a_sigterm_that_becomes_an_exit_leaves_nothing_behind(start: Start, path: Path) -> None:
    child = start(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "stream = open_call()\nprint('ready', flush=True)\ntime.sleep(3600)"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=600)

    assert child.returncode == 0
    assert [of.outcome for of in StoredRuns(path).summaries()] == ["abandoned", "ok"]
