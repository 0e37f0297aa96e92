"""The example that `make demo` runs, as a user runs it, against the real local model."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from langchain_logprobs.local import LocalModel

ROOT = Path(__file__).parents[1]
SECONDS = 60
"""What the demonstration may take, once installed; of the processor, for others may be busy too."""


KEYS = ("OPEN", "OTEL")
"""How the environment variables begin that would change where it asks or sends."""


def quickstart(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key[:4] not in KEYS}
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py"), "--width", "100", *arguments],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=20 * SECONDS,
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment},
    )


def at(local: LocalModel) -> tuple[str, ...]:
    return ("--base-url", local.base_url, "--model", local.model)


def test_it_starts_a_model_and_shows_answers_trace_and_metrics() -> None:
    before = os.times()
    ran = quickstart()
    after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system

    assert (ran.stderr, ran.returncode) == ("", 0)
    assert 0 < user + system < SECONDS
    shown = " ".join(ran.stdout.split())  # however wide the tables are
    for expected in (
        "a small model on this machine answers",
        "Jane Austen│. ▇▇▇▇ ██████ █ 77 97 93 ✓ right ▲ sure confidence 0.89",
        "✗ wrong ▼ unsure",
        "least sure “ Samuel” 15%, or “ Thomas” 7%",
        "At 0.7 or more: 3 of 4 right. Under 0.7: 1 of 4 right.",
        "The trace: 37 spans",
        "├─ chat gemma-3-270m confidence 0.89 +3 tokens",
        "│ ├─ token “ Samuel” 15%",
        "responses confidence=low 4",
        "token_spans result=emitted 28",
    ):
        assert expected in shown


def test_it_asks_the_model_it_is_pointed_at_and_saves_pictures(
    local: LocalModel, tmp_path: Path
) -> None:
    ran = quickstart(*at(local), "--save-svg", str(tmp_path / "shown.svg"))
    pictures = [path.read_text("utf-8") for path in sorted(tmp_path.iterdir())]

    assert (ran.stderr, ran.returncode) == ("", 0)
    assert local.base_url in ran.stdout
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["shown-trace.svg", "shown.svg"]
    assert ["Austen" in picture for picture in pictures] == [False, True]
    assert ["response.entropy" in picture for picture in pictures] == [True, False]
    assert not any("@font-face" in picture for picture in pictures)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--model", "m"), 2, "--model needs --base-url, or OPENAI_API_KEY"),
        (("--base-url", "http://127.0.0.1:9"), 2, "--base-url needs --model"),
        (("--base-url", "http://127.0.0.1:9/v1", "--model", "m"), 1, "The model at http://127.0.0"),
    ],
)
def test_it_says_why_it_cannot_ask(arguments: tuple[str, ...], status: int, reason: str) -> None:
    ran = quickstart(*arguments)

    assert ran.returncode == status
    assert reason in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_its_help_teaches() -> None:
    ran = quickstart("--help")

    assert ran.returncode == 0
    for word in ("--base-url", "--model", "--save-svg", "OPENAI_API_KEY", "NO_COLOR", "Ollama"):
        assert word in ran.stdout


class Receiver(BaseHTTPRequestHandler):
    """Takes whatever is posted, and remembers where to."""

    paths: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.paths.add(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_it_sends_everything_over_otlp_where_the_environment_says_so(local: LocalModel) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        ran = quickstart(*at(local), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        server.shutdown()

    assert (ran.stderr, ran.returncode) == ("", 0)
    assert f"Sending it to {endpoint} as well" in ran.stdout
    assert Receiver.paths == {"/v1/traces", "/v1/metrics"}
