"""Tries every provider's real client code against its wire format on loopback; prints the table.

make providers                             # all, and docs/providers.md and the recordings with it
make providers ARGS="groq ollama"          # some
make providers ARGS=--upgrade              # all from nothing, with what is newest by now

Every package gets a virtual environment of its own, as they disagree about versions, below
`$XDG_CACHE_HOME/langchain-logprobs/providers`; they are kept. The first time takes a quarter of an
hour, and as much again where llama-cpp-python has to be compiled (with cmake and a C++ compiler).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))

from cases import CASES, Case  # noqa: E402
from table import DOCUMENT, patched, rendered, with_tables  # noqa: E402

FOUND = HERE / "found.json"
RECORDINGS = ROOT / "tests" / "payloads" / "providers"
TOO_LONG = -1
"""The exit code of what was stopped at the end of its time; of what a signal ended it is less."""
INSTALLING, TRYING = 2400, 300
"""Seconds at most."""
_ALSO_RECORDED = {
    "together": ("plain", "stream"),
    "litellm-router": ("plain", "stream"),
    "ollama": ("plain", "v3"),
    "databricks": ("plain", "stream"),
    "llama-cpp": ("plain", "invoke"),
    "openai-responses": ("plain", "stream"),
}
"""What is worth recording besides the calls that went right: how logprobs get lost."""


def main() -> None:
    """Tries what the command line names.

    Fails where a model gives other tokens than it should, or cannot be tried where it could be.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="which; all if none")
    parser.add_argument("--write", action="store_true", help="write the docs and the recordings")
    parser.add_argument("--upgrade", action="store_true", help="install what is newest by now")
    given = parser.parse_args()
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    is_one_lost = False
    for name in given.names or CASES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        seen = tried(name, CASES[name], upgrade=given.upgrade)
        if "problem" in seen and "problem" not in found.get(name, seen):
            print(f"  could be tried before: {seen['problem']}", file=sys.stderr, flush=True)
            is_one_lost = True
            continue
        if given.write:
            record(name, seen)
        found[name] = without_events(seen)
    shown = {name: found[name] for name in given.names or CASES}
    print(rendered(shown), patched(shown), sep="\n\n")
    if given.write:
        ordered = {name: found[name] for name in CASES if name in found}
        FOUND.write_text(json.dumps(ordered, indent=1) + "\n")
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), ordered))
    sys.exit(is_one_lost or any(is_wrong(found[name]) for name in given.names or CASES))


def is_wrong(seen: Mapping[str, Any]) -> bool:
    """Whether a model that `with_logprobs` takes came to other tokens, or a patch stayed behind."""
    calls = [of for of in seen.get("patched", {}).values() if isinstance(of, dict)]
    if not seen.get("undone", True):
        return True
    return "refused" not in seen.get("patched", {}) and any(map(_is_wrong, calls))


def _is_wrong(call: Mapping[str, Any]) -> bool:
    is_impossible = (call["error"] or "").startswith("NotImplementedError")
    is_omitted = call["reason"] == "provider_omits_stream_logprobs" and call["error"] is None
    is_right = call["tokens"] == call["sent"] > 0 and call["error"] is None
    return not (is_right or is_impossible or is_omitted)


def tried(name: str, case: Case, *, upgrade: bool) -> dict[str, Any]:
    """What the probe found, or why it could not be run."""
    python, problem = environment(case.packages, upgrade=upgrade)
    if problem is not None:
        return {"problem": problem}
    code, output, errors = bounded([str(python), str(HERE / "probe.py"), name], TRYING)
    if code < TOO_LONG:
        return {"problem": f"the program was ended by {signal.Signals(-code).name}"}
    if code != 0:
        return {"problem": (errors.strip().splitlines() or [f"exit code {code}"])[-1][:300]}
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def environment(packages: Sequence[str], *, upgrade: bool) -> tuple[Path, str | None]:
    """The Python of the packages' environment, and what stood against making it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "langchain-logprobs" / "providers" / packages[0]
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join([*packages, str(ROOT)])
    if python.exists() and stamp.exists() and stamp.read_text() == wanted and not upgrade:
        return python, None
    uv = shutil.which("uv")
    make = [uv, "venv", "-q", "--clear"] if uv else [sys.executable, "-m", "venv"]
    install = (
        [uv, "pip", "install", "-q", "--python", str(python)]
        if uv
        else [str(python), "-m", "pip", "install", "-q"]
    )
    options = ["--python", sys.executable] if uv else []
    commands = [
        # The interpreter of this script: the environments are of one Python, whatever made them.
        [*make, *options, str(folder)],
        # Older ones try versions of what Databricks depends on for as long as they are let.
        *([] if uv else [[*install, "--upgrade", "pip>=25.1"]]),
        [*install, *packages, "-e", str(ROOT)],
    ]
    for command in commands:
        code, _, errors = bounded(command, INSTALLING)
        if code != 0:
            lines = [line for line in errors.splitlines() if not line.startswith("WARNING:")]
            said = " ".join(" ".join(lines).split()).rpartition("cause: ")[2]
            return python, f"cannot be installed: {said[:300]}"
    stamp.write_text(wanted)
    return python, None


def bounded(command: Sequence[str], seconds: int) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; at the end of its time, all of it is stopped."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return TOO_LONG, "", f"took more than {seconds} s"
    return process.returncode, output, errors


def record(name: str, seen: Mapping[str, Any]) -> None:
    """Writes down the calls that CI replays without the package."""
    RECORDINGS.mkdir(exist_ok=True)
    mode = "plain" if "refused" in seen.get("patched", {}) else "patched"
    wanted = {_ALSO_RECORDED.get(name, ("", "")), (mode, "invoke"), (mode, "stream")}
    for mode, way in wanted:
        call = seen.get(mode, {}).get(way)
        by_name = (mode, way) == _ALSO_RECORDED.get(name)
        if call is None or not (by_name or not _is_wrong(call)):
            continue
        recording = {
            "origin": "observed against tests/matrix/providers/wire.py",
            "versions": seen["versions"],
            "patched": mode == "patched",
            "exception_to_caller": call["error"],
            "sent": call["said"],
            "report": {key: call[key] for key in ("tokens", "source", "outcome", "reason")},
            "events": call["events"],
        }
        path = RECORDINGS / f"observed_{name}_{way}{'' if mode == 'patched' else '_unpatched'}.json"
        path.write_text(json.dumps(recording, indent=1) + "\n")


def without_events(seen: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what the callbacks were handed."""
    return {
        key: without_events(of) if isinstance(of, dict) else of
        for key, of in seen.items()
        if key not in ("events", "said", "source", "outcome")
    }


if __name__ == "__main__":
    main()
