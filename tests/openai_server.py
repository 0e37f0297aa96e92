"""An OpenAI-compatible server on loopback that always answers the same to the same question.

The model's name says how it behaves: `says`, `refuses`, `fails` (HTTP 500), `breaks` (goes away
half-way through a stream), `silent` (sends no logprobs). What it says begins with the question's
last word, so that answers can be told apart.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any

RECORD = ('{"', "city", '":"', "Oslo", '"}')
"""What it says where JSON is asked for, and the arguments of its tool calls."""
_MADE = {"created": 1_700_000_000, "id": "answer-1"}


@dataclass
class Served:
    """A running server: where it is, and the bodies it was posted."""

    base_url: str = ""
    requests: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def serving(*, delay: float = 0.0) -> Iterator[Served]:
    """A server that waits `delay` seconds before each chunk, until the context ends."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = json.loads(body)
            served.requests.append((self.path, asked))
            if asked.get("stream") and asked["model"] != "fails":
                self._send_events(asked)
            else:
                time.sleep(delay)
                self._send(*_answer(self.path, asked))

        def _send(self, status: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self._end_headers()
            self.wfile.write(text)

        def _send_events(self, asked: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self._end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # one of both may have gone
                for event in _events(self.path, asked):
                    time.sleep(delay)
                    self._send_chunk(f"data: {json.dumps(event)}\n\n".encode())
                self._send_chunk(b"data: [DONE]\n\n")
                self._send_chunk(b"")

        def _send_chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()

        def _end_headers(self) -> None:
            # Clients keep connections, and a connection cannot outlive its event loop.
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    served.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def words(asked: Mapping[str, Any], choice: int = 0) -> tuple[str, ...]:
    """The tokens it says to a request."""
    if asked.get("response_format", {}).get("type") in {"json_object", "json_schema"}:
        return RECORD
    last = _question(asked).split()[-1]
    return (last, ":", f" a{choice}", " b")


def _question(asked: Mapping[str, Any]) -> str:
    if "prompt" in asked:
        prompt = asked["prompt"]
        return str(prompt if isinstance(prompt, str) else prompt[0])
    content = asked["messages"][-1]["content"]
    text = content if isinstance(content, str) else "".join(of["text"] for of in content)
    return text or "nothing"


def _answer(path: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    if asked["model"] == "fails":
        return 500, {"error": {"message": "It fails.", "type": "server_error"}}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    made = {**_MADE, "model": asked["model"], "usage": usage}
    if path.endswith("/completions") and "chat" not in path:
        return 200, {**made, "object": "text_completion", "choices": list(_texts(asked))}
    choices = [_choice(asked, index) for index in range(asked.get("n") or 1)]
    return 200, {**made, "object": "chat.completion", "choices": choices}


def _texts(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
    choices = product(prompts, range(asked.get("n") or 1))
    for index, (prompt, choice) in enumerate(choices):
        said = words({"prompt": prompt}, choice)
        yield {
            "index": index,
            "text": "".join(said),
            "finish_reason": "stop",
            "logprobs": _legacy(said) if asked.get("logprobs") else None,
        }


def _choice(asked: Mapping[str, Any], index: int) -> dict[str, Any]:
    said = words(asked, index)
    choice: dict[str, Any] = {"index": index, "finish_reason": "stop", "logprobs": None}
    if _calls_tool(asked):
        choice["finish_reason"] = "tool_calls"
        choice["message"] = {"role": "assistant", "content": None, "tool_calls": [_call(asked)]}
        return choice
    part = "refusal" if asked["model"] == "refuses" else "content"
    choice["message"] = {"role": "assistant", "content": None, part: "".join(said)}
    if _sends_logprobs(asked):
        choice["logprobs"] = {"content": None, part: _entries(said, asked)}
    return choice


def _events(path: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if path.endswith("/completions") and "chat" not in path:
        yield from _text_events(asked)
        return
    made = {**_MADE, "model": asked["model"], "object": "chat.completion.chunk"}
    for choice in _deltas(asked):
        yield {**made, "choices": [choice]}
    if (asked.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        yield {**made, "choices": [], "usage": usage}


def _deltas(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    choices = range(asked.get("n") or 1)
    for index in choices:
        yield _delta(index, {"role": "assistant", "content": ""})
    if _calls_tool(asked):
        call = {"index": 0, **_call(asked)}
        yield _delta(0, {"tool_calls": [call]})
        yield _delta(0, {}, finish_reason="tool_calls")
        return
    part = "refusal" if asked["model"] == "refuses" else "content"
    for at in range(len(words(asked))):
        if at == 2 and asked["model"] == "breaks":
            raise ConnectionResetError
        for index in choices:
            said = words(asked, index)[at]
            logprobs = None
            if _sends_logprobs(asked):
                logprobs = {"content": None, part: [_entry(said, at, asked)]}
            yield _delta(index, {part: said}, logprobs=logprobs)
    for index in choices:
        yield _delta(index, {}, finish_reason="stop")


def _text_events(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    made = {**_MADE, "model": asked["model"], "object": "text_completion"}
    length = len(words(asked))
    for at, index in product(range(length), range(asked.get("n") or 1)):
        text = words(asked, index)[at]
        choice = {
            "index": index,
            "text": text,
            "finish_reason": "stop" if at + 1 == length else None,
            "logprobs": _legacy((text,), at) if asked.get("logprobs") else None,
        }
        yield {**made, "choices": [choice]}


def _delta(
    index: int, delta: dict[str, Any], *, finish_reason: str | None = None, logprobs: Any = None
) -> dict[str, Any]:
    return {
        "index": index,
        "delta": delta,
        "finish_reason": finish_reason,
        "logprobs": logprobs,
    }


def _calls_tool(asked: Mapping[str, Any]) -> bool:
    """A tool is called when there is one, and not again after it has answered."""
    return bool(asked.get("tools")) and asked["messages"][-1]["role"] != "tool"


def _call(asked: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": asked["tools"][0]["function"]["name"], "arguments": "".join(RECORD)}
    return {"id": "call_1", "type": "function", "function": function}


def _sends_logprobs(asked: Mapping[str, Any]) -> bool:
    return bool(asked.get("logprobs")) and asked["model"] != "silent"


def _entries(said: Sequence[str], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_entry(text, at, asked) for at, text in enumerate(said)]


def _entry(text: str, at: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {"token": text, "logprob": logprob(at), "bytes": list(text.encode())}
    other = {"token": "?", "logprob": -3.0, "bytes": [63]}
    return {**chosen, "top_logprobs": [chosen, other][: asked.get("top_logprobs") or 0]}


def _legacy(said: Sequence[str], first: int = 0) -> dict[str, Any]:
    numbers = [logprob(first + at) for at in range(len(said))]
    return {
        "tokens": list(said),
        "token_logprobs": numbers,
        "top_logprobs": [{of: its, "?": -3.0} for of, its in zip(said, numbers, strict=True)],
        "text_offset": [0] * len(said),
    }


def logprob(at: int) -> float:
    """The logprob of every answer's token at this place."""
    return -0.1 * (at + 1)
