"""The command line: what it prints, how it fails, and that it starts at once."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import create_server
from typing import get_args
from uuid import UUID, uuid4

import grpc
import pytest
from conftest import PATIENCE
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from stored import SECOND, a_report
from typer.main import get_command

from langchain_logprobs.cli import compare as compare_module
from langchain_logprobs.cli import dashboards as dashboards_module
from langchain_logprobs.cli import doctor
from langchain_logprobs.cli import exporter as exporter_module
from langchain_logprobs.cli.app import app, run
from langchain_logprobs.cli.options import Failure, when_ns
from langchain_logprobs.core.model import Completion, RunTree
from langchain_logprobs.core.reasons import REASONS
from langchain_logprobs.core.report import CallReport, Unavailable, call_report, tree_report
from langchain_logprobs.local import LocalModel
from langchain_logprobs.store import Store, StoredRuns
from langchain_logprobs.testing import token

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runs.db"
    monkeypatch.setenv("LANGCHAIN_LOGPROBS_STORE", str(path))
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], store: Path) -> Run:
    del store

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def reports(store: Path) -> list[CallReport]:
    sydney = a_report(
        token(" Syd", -0.9, {" Syd": -0.9, " Can": -1.1}),
        token("ney", -0.01, {"ney": -0.01}),
        model="big",
        text="Sydney",
    )
    made = [
        sydney,
        *(a_report(model="big", logprob=-0.1 * of, ended_ns=of * SECOND) for of in range(1, 5)),
        *(a_report(model="small", logprob=-0.5 * of, count=9) for of in range(1, 5)),
        replace(a_report(model="mute", count=0, text="?"), unavailable="not_sent"),
    ]
    writer = Store(store)
    for report in made:
        writer(report)
    writer.close()
    return made


# Help, and how it starts


def commands() -> list[list[str]]:
    found = []
    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found += [[name, of] for of in inner] if inner else [[name]]
    return found


def test_the_commands_are_those_that_are_documented() -> None:
    assert [" ".join(of) for of in commands()] == [
        "demo",
        "runs",
        "show",
        "compare",
        "export",
        "view",
        "doctor",
        "dashboards export",
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_examples(cli: Run, command: list[str]) -> None:
    code, out, _ = cli(*command, "--help")

    assert code == 0
    assert f"  langchain-logprobs {' '.join(command)}" in out.partition("Examples:")[2]


@pytest.mark.parametrize("command", ["--help", "--version", "runs --help", "view --help"])
def test_it_starts_without_langchain_opentelemetry_scipy_or_a_web_server(command: str) -> None:
    code = (
        "import sys\nfrom langchain_logprobs.cli.__main__ import main\n"
        f"sys.argv[1:] = {command.split()!r}\ntry: main()\nexcept SystemExit: pass\n"
        "print('loaded', sorted(set(sys.modules) & {'langchain_core', 'opentelemetry', 'scipy', "
        "'starlette', 'uvicorn', 'pydantic', 'rich.console', 'rich.markdown'}))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.splitlines()[-1] == "loaded []"


def test_runs_reads_the_store_without_langchain_or_opentelemetry(reports: list[CallReport]) -> None:
    del reports
    code = (
        "import sys\nfrom langchain_logprobs.cli.app import run\n"
        "try: run(['runs'])\nexcept SystemExit: pass\n"
        "print(sorted({of.partition('.')[0] for of in sys.modules} & "
        "{'langchain_core', 'opentelemetry', 'pydantic'}))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("typer", "cli", "runs"),
        ("rich", "cli", "runs"),
        ("starlette", "viewer", "view"),
        ("uvicorn", "viewer", "view"),
        ("pyarrow", "analysis", "export --format parquet --output x.parquet"),
        ("pyarrow", "analysis", "export --trees --output x.parquet"),
        ("langchain_openai", "openai", "demo --base-url http://127.0.0.1:1/v1 --model m"),
    ],
)
def test_without_an_extra_it_says_what_to_install(
    reports: list[CallReport], tmp_path: Path, missing: str, extra: str, command: str
) -> None:
    del reports
    code = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "class Gone:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        f"del sys.modules[{missing!r}]\nsys.meta_path.insert(0, Gone())\n"
        "from langchain_logprobs.cli.__main__ import main\n"
        f"sys.argv[1:] = {command.split()!r}\nmain()"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )

    assert out.returncode == 1
    assert f'pip install "langchain-logprobs[{extra}]"' in out.stderr
    assert "Traceback" not in out.stderr
    assert list(tmp_path.glob("x.parquet*")) == []


# runs


def test_runs_lists_what_the_filters_leave(cli: Run, reports: list[CallReport]) -> None:
    assert "10 of 10 runs" in cli("runs")[1]
    assert "5 of 5 runs" in cli("runs", "--model", "big")[1]
    assert "1 of 1 runs" in cli("runs", "--text", "sydney")[1]
    assert "6 of 6 runs" in cli("runs", "--since", "1h")[1]
    assert "2 of 10 runs" in cli("runs", "-n", "2")[1]
    assert "▼" in cli("runs", "--low")[1]
    del reports


def test_runs_shows_as_much_of_an_id_as_tells_it_from_the_others(cli: Run, store: Path) -> None:
    begun = "01a20691-7553-756f-b923-"
    writer = Store(store)
    for end in ("852326049280", "852226049280"):
        report = a_report()
        writer(replace(report, call=replace(report.call, run_id=UUID(begun + end))))
    writer.close()

    shown = [line.split()[0] for line in cli("runs")[1].splitlines() if begun in line]
    assert shown == [f"{begun}8522", f"{begun}8523"]
    assert all(cli("show", of)[0] == 0 for of in shown)


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_runs_shows_confidence_and_answer_in_any_terminal(
    cli: Run, store: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    writer = Store(store)
    writer(a_report(model="meta-llama/Llama-3.3-70B", text="Lisbon is the capital of Portugal"))
    writer(a_report(logprob=-1.0, outcome="error", error="TimeoutError", text="Faro"))
    writer.close()
    monkeypatch.setenv("COLUMNS", str(columns))

    _, out, _ = cli("runs")

    assert re.search("0.90.*Lisbon is the", out, re.DOTALL)
    assert re.search("▼ 0.37.*error Faro", out, re.DOTALL)
    assert max(map(len, out.splitlines())) <= columns


def test_names_in_the_store_cannot_write_to_the_terminal(cli: Run, store: Path) -> None:
    evil = "\x1b]0;title\x07\u202em"
    writer = Store(store)
    report = a_report(
        token(evil, -1.0, {evil: -1.0, evil + "2": -1.1}),
        model=evil,
        error=evil,
        outcome="error",
        metadata={"langgraph_node": evil},
        root=uuid4(),
        root_name=evil,
    )
    writer(report)
    writer(replace(a_report(count=0, model=evil + "3"), unavailable="not_sent"))
    writer.close()

    for command in (["runs"], ["show", str(report.call.run_id)], ["compare", "a", "b"], ["doctor"]):
        _, out, err = cli(*command)

        assert "m" in out + err
        assert not {"\x1b", "\x07", "\u202e"} & {*out, *err}


def test_an_empty_store_says_how_to_fill_it(cli: Run, store: Path) -> None:
    Store(store).close()

    assert "langchain-logprobs demo, too" in cli("runs")[1]


def test_runs_as_json_is_one_object_a_line_in_order(cli: Run, reports: list[CallReport]) -> None:
    _, out, _ = cli("runs", "--sort", "least", "--json")
    rows = [json.loads(line) for line in out.splitlines()]

    known = sorted(
        (of for of in reports if of.unavailable is None),
        key=lambda of: of.confidence.confidence or 0,
    )
    assert [row["run_id"] for row in rows[:-1]] == [str(of.call.run_id) for of in known]
    assert (rows[-1]["confidence"], rows[-1]["unavailable"]) == (None, "not_sent")


def test_a_pipe_gets_no_colour_and_whole_lines(reports: list[CallReport], store: Path) -> None:
    del reports
    command = [sys.executable, "-m", "langchain_logprobs.cli", "runs"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})

    assert "\x1b" not in out.stdout
    assert str(store) in out.stdout
    assert any("Sydney" in line and "big" in line for line in out.stdout.splitlines())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colour_unless_it_wants_none(
    reports: list[CallReport],
    variables: dict[str, str],
    coloured: bool,  # noqa: FBT001
) -> None:
    import pty  # noqa: PLC0415 - not on every platform

    run_id = str(reports[0].call.run_id)
    master, slave = pty.openpty()
    environment = {of: its for of, its in os.environ.items() if of != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", **variables}
    command = [sys.executable, "-m", "langchain_logprobs.cli", "show", run_id]
    subprocess.run(command, stdout=slave, env=environment, check=True)
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 65536):
            said += chunk
    except OSError:  # the end, for a pseudo-terminal
        pass
    os.close(master)

    assert (b"\x1b[48;" in said or b";48;" in said or b"\x1b[38;" in said) is coloured


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("runs", "--since", "yesterday"), "'yesterday' is no time. Write how long ago"),
        (("show", "ffffffff"), "There is no run ffffffff"),
        (("show", ""), "More than one run begins with"),
        (("runs", "--store", "."), ". is a folder: name the file in it"),
        (("compare", "big", "huge"), "No runs with a confidence for 'huge'"),
        (("export", "--format", "parquet"), "name a file with --output"),
        (("export", "-o", "/nowhere/at/all.jsonl"), "cannot be written"),
        (("demo", "--base-url", "http://127.0.0.1:1/v1"), "--base-url needs the name of a --model"),
    ],
)
def test_what_cannot_be_done_is_one_clear_message_with_the_way_out(
    cli: Run, reports: list[CallReport], arguments: tuple[str, ...], told: str
) -> None:
    del reports
    code, out, err = cli(*arguments)

    assert code == 1
    assert told in err
    assert "Traceback" not in out + err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that only Linux has")
@pytest.mark.parametrize("command", ["runs", "runs --json", "show", "export", "export --trees"])
def test_output_to_a_full_disk_is_one_clear_message(
    reports: list[CallReport], store: Path, command: str
) -> None:
    root = reports[0].call.root_run_id
    writer = Store(store)
    writer(
        tree_report(RunTree(root_run_id=root, name="r", started_ns=0, ended_ns=2**60), reports[:1])
    )
    writer.close()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "langchain_logprobs.cli", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        1,
        "The output cannot be written: No space left on device.\n",
    )


def test_a_reader_that_has_enough_is_no_error(reports: list[CallReport]) -> None:
    del reports
    command = f"{sys.executable} -m langchain_logprobs.cli export | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert json.loads(done.stdout)["run_id"]
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_without_a_store_every_command_says_how_to_make_one(cli: Run) -> None:
    for command in (["runs"], ["show"], ["compare", "a", "b"], ["export"], ["view", "--no-open"]):
        code, _, err = cli(*command)

        assert code == 1
        assert "There is no store at" in err
        assert "langchain-logprobs demo" in err


# show


def test_show_has_the_answer_the_doubtful_tokens_and_their_alternatives(
    cli: Run, reports: list[CallReport]
) -> None:
    _, out, _ = cli("show", str(reports[0].call.run_id)[:14])

    assert "Syd│ney" in out or "Sydney" in out
    assert "“ Can” 33 %" in out
    assert "41" in out
    assert str(reports[0].call.run_id) in out


def test_show_has_fields_and_the_calls_beside_it(cli: Run, store: Path) -> None:
    root = uuid4()
    pieces = [
        token('{"', -0.1),
        token("a", -0.1),
        token('":', -0.1),
        token("1", -1.0),
        token("}", -0.1),
    ]
    writer = Store(store)
    writer(a_report(*pieces, root=root, metadata={"langgraph_node": "extract"}, root_name="graph"))
    writer(a_report(root=root, metadata={"langgraph_node": "review"}, root_name="graph"))
    writer.close()

    _, out, _ = cli("show", StoredRuns(store).summaries()[1].run_id)

    assert "$.a" in out
    assert "0.37" in out
    assert out.index("graph") < out.index("▶ extract") < out.index("review")


def test_show_as_json_is_the_report(cli: Run, reports: list[CallReport]) -> None:
    _, out, _ = cli("show", str(reports[0].call.run_id), "--json")
    shown = json.loads(out)

    assert shown["confidence"]["confidence"] == reports[0].confidence.confidence
    assert [of["text"] for of in shown["completions"][0]["tokens"]] == [" Syd", "ney"]
    assert shown["completions"][0]["tokens"][0]["candidates"][1] == {
        "text": " Can",
        "logprob": -1.1,
    }


def test_show_of_a_long_answer_is_running_text(cli: Run, store: Path) -> None:
    writer = Store(store)
    writer(a_report(count=500))
    writer.close()

    assert " t498 t499" in cli("show")[1].replace("\n", "")


def test_show_has_what_was_said_beside_the_answer(cli: Run, store: Path) -> None:
    first = a_report(token("think", -0.5, channel="reasoning"), token("Yes", -0.1), text="Yes")
    second = Completion(tokens=(token("No", -0.2),), text="No")
    both = replace(first.call, completions=(*first.call.completions, second))
    refused = replace(
        a_report(token("Never.", -0.1, channel="refusal"), text=""), unavailable="refusal"
    )
    writer = Store(store)
    writer(call_report(both))
    writer(refused)
    writer.close()

    _, several, _ = cli("show", str(both.run_id))
    _, refusal, _ = cli("show")

    assert re.search("Yes.*reasoning 1.*think.*answer 2.*No", several, re.DOTALL)
    assert re.search("no confidence: refusal.*refusal\n Never\\.", refusal, re.DOTALL)
    assert "Why: the model refused." in refusal


def test_show_in_a_narrow_terminal_has_a_line_for_each_alternative(
    cli: Run, reports: list[CallReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    _, out, _ = cli("show", str(reports[0].call.run_id))

    assert re.search("“ Syd” +41 +“ Can” 33 % *\n", out)
    assert max(map(len, out.splitlines())) <= 40


def test_show_without_numbers_points_to_the_doctor(cli: Run, reports: list[CallReport]) -> None:
    _, out, _ = cli("show", str(reports[-1].call.run_id))

    assert "no confidence: not_sent" in out
    assert "langchain-logprobs doctor" in out


# compare


def test_compare_shows_both_sides_and_is_honest_about_few_runs(
    cli: Run, reports: list[CallReport]
) -> None:
    del reports
    _, out, _ = cli("compare", "big", "small")

    assert "A run of big is surer than one of small in 100% of the pairs." in out
    assert "Mann-Whitney U, two-sided: p = 0.016; unlikely to be chance" in out
    assert "The answers differ in length" in out


def test_compare_names_both_sides_in_a_narrow_terminal(
    cli: Run, reports: list[CallReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    del reports
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = cli("compare", "big", "small")

    assert re.search("^ +big +small $", out, re.MULTILINE)
    assert re.search("^ runs +5 +4 $", out, re.MULTILINE)
    assert "0.9 - 1.0   ████ 20%" in out
    assert max(map(len, out.splitlines())) <= 40


def test_compare_takes_periods(cli: Run, reports: list[CallReport]) -> None:
    del reports
    _, out, _ = cli("compare", "1970-01-01..1980-01-01", "1h..", "--json")
    compared = json.loads(out)

    assert [of["runs"] for of in compared["sides"]] == [4, 5]


def test_three_and_three_runs_can_tell_nothing_and_it_says_so() -> None:
    difference = compare_module.differ([0.9, 0.8, 0.7], [0.1, 0.2, 0.3])
    sides = [compare_module._side(name, [(0.5, 3)] * 3) for name in ("a", "b")]

    assert difference.superiority == 1.0
    assert difference.least_p_value == pytest.approx(2 / math.comb(6, 3))
    assert difference.p_value == pytest.approx(0.1)
    assert (
        "cannot give a p-value under 0.1, whatever they say"
        in compare_module.verdict(sides, difference)[1]
    )


def test_of_a_single_run_nothing_is_claimed(cli: Run, store: Path) -> None:
    with closing(Store(store)) as writer:
        writer(a_report(model="one"))
        writer(a_report(model="other"))
        writer(a_report(model="other", logprob=-1))
    code, out, _ = cli("compare", "one", "other")
    difference = compare_module.differ([0.9], [0.1, 0.2, 0.3] * 20)
    sides = [compare_module._side("a", [(0.9, 3)]), compare_module._side("b", [(0.2, 3)] * 60)]
    told = compare_module.verdict(sides, difference)

    assert (code, difference.p_value) == (0, None)
    assert "Too few to tell: one run" in out
    assert "Too few to tell: one run" in told[1]


def test_the_p_value_of_few_runs_is_exact_and_ties_count_half() -> None:
    separate = compare_module.differ([0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4])
    same = compare_module.differ([0.5] * 5, [0.5] * 5)

    assert separate.p_value == pytest.approx(2 / 70)
    assert (same.superiority, same.p_value) == (0.5, 1.0)


def test_many_runs_are_compared_at_once() -> None:
    surer = [0.5 + of / 100_000 for of in range(20_000)]
    difference = compare_module.differ(surer, [of - 0.1 for of in surer])

    assert difference.p_value == pytest.approx(0, abs=1e-9)
    assert difference.superiority == pytest.approx(0.875, abs=1e-3)


# export


def test_export_writes_every_run_with_its_tokens(
    cli: Run, reports: list[CallReport], tmp_path: Path
) -> None:
    _, out, err = cli("export")
    cli("export", "--output", str(tmp_path / "runs.jsonl"))
    rows = [json.loads(line) for line in out.splitlines()]

    assert [row["run_id"] for row in rows] == [str(of.call.run_id) for of in reports]
    assert "10 runs written to the pipe" in err
    assert (tmp_path / "runs.jsonl").read_text() == out
    assert list(tmp_path.glob("*.part")) == []


def test_export_to_parquet_is_read_back(
    cli: Run, reports: list[CallReport], tmp_path: Path
) -> None:
    from pyarrow import parquet  # noqa: PLC0415 - slow to import

    writer = Store(tmp_path / "runs.db")
    writer(a_report(token("💩", -1.0), text="half \ud800"))
    writer.close()
    cli("export", "--output", str(tmp_path / "runs.parquet"))

    rows = parquet.read_table(tmp_path / "runs.parquet").to_pylist()

    assert [row["run_id"] for row in rows[:-1]] == [str(of.call.run_id) for of in reports]
    assert rows[0]["confidence"] == reports[0].confidence.confidence
    assert [of["text"] for of in rows[0]["tokens"]] == [" Syd", "ney"]
    assert rows[0]["tokens"][0]["candidates"][1] == {"text": " Can", "logprob": -1.1}
    assert rows[-1]["text"] == "half ?"


# view


def test_export_to_where_no_file_can_be_is_one_message(
    cli: Run, reports: list[CallReport], store: Path
) -> None:
    del reports
    code, _, err = cli("export", "--output", str(store / "runs.jsonl"))

    assert code == 1
    assert err == (
        f"{store / 'runs.jsonl'} cannot be written: Not a directory. Choose another with "
        "--output.\n"
    )


def test_view_says_that_a_port_is_for_others(
    cli: Run, reports: list[CallReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        del self, address
        raise PermissionError(errno.EACCES, "Permission denied")

    del reports
    monkeypatch.setattr(socket.socket, "bind", refuse)

    code, _, err = cli("view", "--port", "80", "--no-open")

    assert code == 1
    assert err.startswith("Port 80 cannot be had: Permission denied. Choose another with --port")


def test_view_says_that_a_port_is_in_use(cli: Run, reports: list[CallReport]) -> None:
    del reports
    with closing(create_server(("127.0.0.1", 0))) as taken:
        code, _, err = cli("view", "--no-open", "--port", str(taken.getsockname()[1]))

    assert code == 1
    assert "is in use. Choose another with --port" in err


# doctor


class Receiver(BaseHTTPRequestHandler):
    """Answers as an OTLP receiver, or an OpenAI-compatible API, or neither."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with_logprobs = {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": -0.1}]}}]}
        answers = {
            "/v1/traces": (200, b""),
            "/good/chat/completions": (200, json.dumps(with_logprobs).encode()),
            "/bad/chat/completions": (200, b'{"choices": [{"logprobs": null}]}'),
        }
        status, body = answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_doctor_tells_which_model_sends_nothing_and_what_to_do(
    cli: Run, reports: list[CallReport]
) -> None:
    del reports
    code, out, _ = cli("doctor", "--json")
    found = [of for of in json.loads(out) if of["subject"] == "logprobs"]

    assert code == 1
    assert [(of["verdict"], of["told"]) for of in found] == [
        ("good", "big: 5 of the last 5 runs have them"),
        ("problem", "mute: 0 of the last 1 runs have them"),
        ("good", "small: 4 of the last 4 runs have them"),
    ]
    assert REASONS["not_sent"].way_out in found[1]["way_out"]
    assert "✗" in cli("doctor")[1]


def test_the_doctor_without_a_store_has_no_problem_with_that(cli: Run) -> None:
    code, out, _ = cli("doctor")

    assert code == 0
    assert "There is no store at" in out


def test_the_doctor_has_a_problem_with_a_store_that_cannot_be_read(cli: Run, store: Path) -> None:
    store.write_bytes(b"no SQLite file")
    code, out, _ = cli("doctor", "--json")

    assert code == 1
    [told] = [of for of in json.loads(out) if of["subject"] == "store"]
    assert told["verdict"] == "problem"
    assert "is no SQLite file" in told["told"]


def test_there_is_a_way_out_for_every_reason() -> None:
    assert set(REASONS) == set(get_args(Unavailable))
    assert all(of.told and of.way_out for of in REASONS.values())


class Collector(TraceServiceServicer):
    """Takes spans over gRPC."""

    def Export(  # noqa: N802 - as the service has it
        self, request: object, context: object
    ) -> ExportTraceServiceResponse:
        del request, context
        return ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


@pytest.mark.parametrize(
    ("environment", "verdict", "told"),
    [
        ({}, "note", "names none"),
        ({"OTEL_SDK_DISABLED": "true"}, "problem", "nothing is sent"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "note", "cannot be tried"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}", **HTTP}, "good", "took a request without spans"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{url}/nope", **HTTP}, "problem", "code: 404"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **HTTP}, "problem", "refused"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", **HTTP}, "problem", "no http(s) URL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}", **GRPC}, "good", "spans, over grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **GRPC}, "problem", "UNAVAILABLE"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}", **GRPC}, "problem", "took no request over grpc"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}", "OTEL_TRACES_EXPORTER": "otlp_proto_grpc"},
            "good",
            "spans, over grpc",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "{grpc}", "OTEL_TRACES_EXPORTER": "otlp_logprobs_grpc"},
            "good",
            "spans, over grpc",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "{url}",
                "OTEL_TRACES_EXPORTER": "otlp_logprobs_http",
                **GRPC,
            },
            "good",
            "spans, over http/protobuf",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier pigeon"},
            "problem",
            "'carrier pigeon' is no OTLP protocol",
        ),
    ],
)
def test_the_doctor_asks_the_exporter(
    receiver: str,
    collector: str,
    *,
    environment: dict[str, str],
    verdict: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if verdict == "good":  # a busy machine may take longer to answer
        monkeypatch.setattr(exporter_module, "_SECONDS", PATIENCE)
    given = {name: of.format(url=receiver, grpc=collector) for name, of in environment.items()}
    last = list(doctor.exporter(given))[-1]

    assert last.verdict == verdict
    assert told in last.told


def test_the_doctor_says_which_protocol_it_tries_where_none_is_set(receiver: str) -> None:
    told = list(doctor.exporter({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver}))

    assert [of.verdict for of in told] == ["note", "good"]
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is not set: http/protobuf is tried" in told[0].told


def test_the_doctor_says_which_exporter_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "installed_version", lambda _: None)
    [told] = doctor.exporter({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **GRPC})

    assert told.verdict == "problem"
    assert told.way_out == "pip install opentelemetry-exporter-otlp-proto-grpc"


def test_the_doctor_asks_the_provider(receiver: str) -> None:
    found = {
        path: [of.verdict for of in doctor.endpoint(f"{receiver}/{path}", "m")]
        for path in ("good", "bad", "none")
    }

    assert found == {"good": ["good"], "bad": ["problem"], "none": ["problem"]}
    assert [of.verdict for of in doctor.endpoint("ftp://x", "m")] == ["problem"]


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ((), "ours"),
        (("langfuse",), "Langfuse's, if it is switched on"),
        (("langfuse", "openlit"), "the first to start a span"),
        (("mlflow",), "MLflow keeps its traces apart"),
    ],
)
def test_the_doctor_knows_whose_span_it_will_be(installed: tuple[str, ...], told: str) -> None:
    found = list(doctor.span_owner(lambda name: "1" if name in installed else None))

    assert told in found[-1].told


def test_the_doctor_reads_the_settings() -> None:
    bad = list(doctor.settings({"LANGCHAIN_LOGPROBS_LOW_TOKEN": "7"}))
    content = list(
        doctor.settings({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"})
    )

    assert [of.verdict for of in bad] == ["problem"]
    assert "leave the process" in content[-1].told


# dashboards


def test_dashboards_are_copied_and_nothing_is_overwritten_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package" / "dashboards"
    (package / "alerts").mkdir(parents=True)
    (package / "overview.json").write_text("{}")
    (package / "alerts" / "rules.yml").write_text("groups: []")
    (package / "__init__.py").touch()
    monkeypatch.setattr(dashboards_module, "files", lambda _: tmp_path / "package")
    target = tmp_path / "grafana"

    dashboards_module.copy_dashboards(target, overwrite=False)

    assert sorted(of.relative_to(target).as_posix() for of in target.rglob("*.*")) == [
        "alerts/rules.yml",
        "overview.json",
    ]
    assert "overview.json" in capsys.readouterr().out
    with pytest.raises(Failure, match="is there already: --force"):
        dashboards_module.copy_dashboards(target, overwrite=False)
    (target / "overview.json").write_text("changed")
    dashboards_module.copy_dashboards(target, overwrite=True)
    assert (target / "overview.json").read_text() == "{}"


def test_without_dashboards_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards_module, "files", lambda _: tmp_path)

    with pytest.raises(Failure, match="ships no dashboards"):
        dashboards_module.copy_dashboards(tmp_path / "x", overwrite=False)


# Times, and the demo


def test_times_are_ago_or_dates() -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert when_ns("2h", now) == int(datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp() * 1e9)
    assert when_ns("7d", now) == int(datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp() * 1e9)
    assert when_ns("2026-11-20T00:00+00:00") == int(
        datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1e9
    )
    assert when_ns(None) is None
    for nonsense in ("", "2", "h", "tomorrow", "9" * 30 + "d"):
        with pytest.raises(Failure):
            when_ns(nonsense)


def test_the_demo_asks_a_real_model_and_stores_what_it_said(
    cli: Run, store: Path, local: LocalModel
) -> None:
    code, out, err = cli("demo", "--base-url", local.base_url, "--model", local.model)

    assert (code, err) == (0, "")
    assert "What is the capital of Brazil?" in out
    assert "langchain-logprobs view" in out
    assert StoredRuns(store).count() == 6
    assert all(of.confidence is not None for of in StoredRuns(store).summaries())


def test_the_demo_needs_to_know_whose_model_it_is(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    assert (
        "needs the --base-url of an API that has it, or OPENAI_API_KEY"
        in (cli("demo", "--model", "gpt-4o-mini")[2])
    )
    assert "needs the name of a --model" in cli("demo", "--base-url", "http://127.0.0.1:9/v1")[2]


def test_the_demo_says_what_a_model_that_is_not_there_said(cli: Run) -> None:
    code, _, err = cli("demo", "--base-url", "http://127.0.0.1:1/v1", "--model", "m")

    assert code == 1
    assert "The model at http://127.0.0.1:1/v1 said:" in err
