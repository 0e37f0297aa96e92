"""What `import langchain_logprobs` costs on top of Python, and whether the command line is lean."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.rounds import Figures, Median, interleaved

PROGRAMS = {
    "python": "pass",
    "import langchain_logprobs": "import langchain_logprobs",
    "import langchain_core": "import langchain_core.callbacks",
    "command line": "import langchain_logprobs.cli.__main__",
}
_LEAN = "import langchain_logprobs.cli.__main__, sys; sys.exit('langchain_core' in sys.modules)"


def started(rounds: int) -> Mapping[str, Mapping[str, Median]]:
    """The milliseconds of CPU time that each takes."""
    asking = {name: partial(_run, program) for name, program in PROGRAMS.items()}
    return interleaved(asking, rounds=rounds, label="imports")


def imports_langchain() -> bool:
    """Whether the command line imports LangChain."""
    return subprocess.run([sys.executable, "-c", _LEAN], check=False).returncode != 0


def _run(program: str) -> Figures:
    before = _children()
    subprocess.run([sys.executable, "-c", program], check=True)
    return {"ms": (_children() - before) * 1e3}


def _children() -> float:
    """Seconds of CPU time that processes have taken that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
