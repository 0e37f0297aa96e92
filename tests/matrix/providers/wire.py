"""The providers' wire formats, served from loopback: each as its API reference describes it.

Logprobs are sent only to who asks for them in that API's own words, and as many alternatives as
were asked for. A path that no format knows is answered with 404, and noted.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Body = Mapping[str, Any]

Said = tuple[str, float, tuple[tuple[str, float], ...]]
SAID: tuple[Said, ...] = (
    ("Syd", -0.6, (("Syd", -0.6), ("Can", -1.2), ("Mel", -3.0))),
    ("ney", -0.01, (("ney", -0.01), ("nei", -5.0), ("n", -7.0))),
    (".", -0.2, ((".", -0.2), ("!", -2.0), (",", -4.0))),
)
"""What every model here answers: token, logprob, the likeliest tokens at its place."""
TEXT = "".join(text for text, _, _ in SAID)
_USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: one JSON document, or several one by one."""

    documents: Iterable[Any]
    kind: str = "application/json"
    around: tuple[str, str, str, str] = ("", "", "", "")
    """Before the first, between two, after each, after the last."""
    status: int = 200


def _one(document: Any) -> Answer:
    return Answer([document])


def _events(documents: Iterable[Any], end: str = "data: [DONE]\n\n") -> Answer:
    return Answer(documents, "text/event-stream", ("data: ", "data: ", "\n\n", end))


def _named_events(documents: Iterable[Mapping[str, Any]]) -> Answer:
    numbered = [{**each, "sequence_number": place} for place, each in enumerate(documents)]
    lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in numbered]
    return Answer(["".join(lines)], "text/event-stream")


# Chat completions: OpenAI and whoever speaks as it does
#
# Whose form is known from more than a description: LiteLLM's pieces, as logged in BerriAI/litellm
# #4898; OpenRouter's `ChatTokenLogprob`, Hugging Face's `ChatCompletionOutputLogprob` (no bytes),
# Together's `ChatCompletionChoicesChunk.logprobs: float | None`: types of their own clients; xAI's
# `LogProbs` message of its SDK; watsonx's, as shown in langchain-ibm's `ChatWatsonx` (no bytes);
# Fireworks', as logged in fw-ai/benchmark #12; DeepSeek's, with `reasoning_content` beside it,
# in tests/payloads. Mistral's and NVIDIA's packages drop whatever comes.


def _entry(said: tuple[Any, ...], top: int, *, with_bytes: bool) -> dict[str, Any]:
    def alternative(text: str, logprob: float) -> dict[str, Any]:
        plain = {"token": text, "logprob": logprob}
        return {**plain, "bytes": list(text.encode())} if with_bytes else plain

    text, logprob, others = said
    tops = [alternative(*each) for each in others[:top]]
    return {**alternative(text, logprob), "top_logprobs": tops}


def _contents(top: int, *, with_bytes: bool) -> list[dict[str, Any]]:
    return [_entry(said, top, with_bytes=with_bytes) for said in SAID]


def _chat_head(body: Body, kind: str) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": kind, "created": 1, "system_fingerprint": "fp"}
    return {**head, "model": body.get("model", "m")}


def _chat(body: Body, choices: list[tuple[str, dict[str, Any]]]) -> Answer:
    """An answer whose pieces are texts, each with what stands beside it in its choice."""
    if not body.get("stream"):
        raise AssertionError("only streams have pieces")
    head = _chat_head(body, "chat.completion.chunk")

    def chunks() -> Iterator[dict[str, Any]]:
        yield {**head, "choices": [_piece({"role": "assistant", "content": ""}, {})]}
        for text, beside in choices:
            yield {**head, "choices": [_piece({"content": text}, beside)]}
        yield {**head, "choices": [_piece({}, {"finish_reason": "stop"})]}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": _USAGE}

    return _events(chunks())


def _piece(delta: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **beside}


def _whole(body: Body, beside: dict[str, Any]) -> Answer:
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **beside}
    head = _chat_head(body, "chat.completion")
    return _one({**head, "choices": [choice], "usage": _USAGE})


def chat(body: Body, *, with_bytes: bool = True) -> Answer:
    """OpenAI's chat completions, and with them those of xAI, DeepSeek, Groq, OpenRouter ..."""
    if body.get("logprobs") is not True:
        texts: list[tuple[str, dict[str, Any]]] = [(text, {}) for text, _, _ in SAID]
        return _chat(body, texts) if body.get("stream") else _whole(body, {"logprobs": None})
    entries = _contents(body.get("top_logprobs") or 0, with_bytes=with_bytes)
    if not body.get("stream"):
        return _whole(body, {"logprobs": {"content": entries, "refusal": None}})
    pieces = [
        (text, {"logprobs": {"content": [entry], "refusal": None}})
        for (text, _, _), entry in zip(SAID, entries, strict=True)
    ]
    return _chat(body, pieces)


def chat_without_bytes(body: Body) -> Answer:
    """Text generation inference, watsonx: the same, without the bytes of tokens."""
    return chat(body, with_bytes=False)


def fireworks(body: Body) -> Answer:
    """Fireworks: more beside each token, and several tokens in a piece."""
    answer = chat(body)
    documents = list(answer.documents)
    for entry in (of for document in documents for of in _entries(document)):
        entry |= {"sampling_logprob": entry["logprob"], "token_id": 7, "text_offset": 0}
    if not body.get("stream") or body.get("logprobs") is not True:
        return replace(answer, documents=documents)
    head, first, second, *rest = documents
    piece, other = first["choices"][0], second["choices"][0]
    piece["delta"]["content"] += other["delta"]["content"]
    piece["logprobs"]["content"] += other["logprobs"]["content"]
    return replace(answer, documents=[head, first, *rest])


def _entries(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for choice in document["choices"]:
        yield from (choice.get("logprobs") or {}).get("content") or ()


def together(body: Body) -> Answer:
    """Together: `logprobs` is a number; lists in an answer, a bare number in a stream."""
    top = body.get("logprobs") or 0
    if not top:
        return chat(body)
    tops = [dict(others[:top]) for _, _, others in SAID]
    if not body.get("stream"):
        lists = {
            "tokens": [text for text, _, _ in SAID],
            "token_logprobs": [logprob for _, logprob, _ in SAID],
            "token_ids": [11, 12, 13],
            "top_logprobs": tops,
        }
        return _whole(body, {"logprobs": lists})
    pieces = [
        (text, {"logprobs": logprob, "top_logprobs": tops[place], "text": text})
        for place, (text, logprob, _) in enumerate(SAID)
    ]
    return _chat(body, pieces)


def completions(body: Body) -> Answer:
    """OpenAI's legacy completions."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}

    def lists(place: slice) -> dict[str, Any] | None:
        top = body.get("logprobs")
        if top is None:
            return None
        said = SAID[place]
        return {
            "tokens": [text for text, _, _ in said],
            "token_logprobs": [logprob for _, logprob, _ in said],
            "top_logprobs": [dict(others[:top]) for _, _, others in said],
            "text_offset": [0, 3, 6][place],
        }

    def choice(text: str, place: slice, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": lists(place), "finish_reason": reason}

    if not body.get("stream"):
        return _one({**head, "choices": [choice(TEXT, slice(None), "stop")], "usage": _USAGE})
    pieces = [
        {**head, "choices": [choice(text, slice(place, place + 1), None)]}
        for place, (text, _, _) in enumerate(SAID)
    ]
    last = {**head, "choices": [{**choice("", slice(0), "stop"), "logprobs": None}]}
    return _events([*pieces, last])


# OpenAI's Responses API


# As recorded by pydantic-ai in April 2026, both whole and streamed:
# tests/models/cassettes/test_openai/test_openai_instructions_with_responses_logprobs*.yaml there.


def responses(body: Body) -> Answer:
    """OpenAI's Responses API: logprobs where `include` names them."""
    asked = "message.output_text.logprobs" in (body.get("include") or ())
    top = body.get("top_logprobs") or 0
    tokens = _contents(top, with_bytes=True) if asked else []
    if not body.get("stream"):
        return _one(_response(body, tokens, done=True))
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [
        {
            "type": "response.output_text.delta",
            "delta": text,
            "logprobs": tokens[index : index + 1],
            "obfuscation": "gXy977j6nL2j2",
            **place,
        }
        for index, (text, _, _) in enumerate(SAID)
    ]
    return _named_events(
        [
            {"type": "response.created", "response": _response(body, tokens, done=False)},
            *deltas,
            {"type": "response.output_text.done", "text": TEXT, "logprobs": tokens, **place},
            {"type": "response.completed", "response": _response(body, tokens, done=True)},
        ]
    )


def _response(body: Body, tokens: list[Any], *, done: bool) -> dict[str, Any]:
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": tokens}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed" if done else "in_progress",
        "model": body["model"],
        "output": [{**message, "content": [part]}] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 3,
            "output_tokens": 3,
            "total_tokens": 6,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


# Ollama


def ollama(body: Body) -> Answer:
    """Ollama's own chat: a JSON document a line."""
    head = {"model": body["model"], "created_at": "2026-11-01T00:00:00Z"}
    entries = _contents(body.get("top_logprobs") or 0, with_bytes=True)

    def piece(text: str, place: int) -> dict[str, Any]:
        logprobs = {"logprobs": [entries[place]]} if body.get("logprobs") else {}
        message = {"role": "assistant", "content": text}
        return {**head, "message": message, "done": False, **logprobs}

    pieces = [piece(text, place) for place, (text, _, _) in enumerate(SAID)]
    last = {
        **head,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 3,
        "eval_count": 3,
    }
    return Answer([*pieces, last], "application/x-ndjson", ("", "", "\n", ""))


# Gemini: the Gemini API and Vertex AI
#
# The form of whole answers is that of Vertex AI's real ones, as pydantic-ai recorded them in
# February 2026 (tests/models/cassettes/test_google/test_google_vertex_logprobs.yaml there). Streams
# that ask are answered with an error: found with five models on Vertex AI in January 2026
# (vercel/ai #11989), and documented by pydantic-ai ("only supported for non-streaming requests")
# and Portkey (gateway #897). The Gemini API itself has them for few models: "Logprobs is not
# enabled for models/gemini-2.5-flash" is what python-genai's own tests expect of it.


def gemini(body: Body) -> Answer:
    """Gemini's `generateContent`."""
    return _one(_gemini_part(body, slice(None), TEXT, done=True))


def gemini_stream(body: Body) -> Answer:
    """Gemini's `streamGenerateContent?alt=sse`."""
    return _gemini_refusal(body) or gemini_stream_with_logprobs(body)


def gemini_stream_with_logprobs(body: Body) -> Answer:
    """The same, should Google come to send them."""
    return _events(_gemini_parts(body), end="")


def gemini_list(body: Body) -> Answer:
    """Gemini's `streamGenerateContent`: one array."""
    return _gemini_refusal(body) or gemini_list_with_logprobs(body)


def gemini_list_with_logprobs(body: Body) -> Answer:
    """The same, should Google come to send them."""
    return Answer(_gemini_parts(body), "application/json", ("[", ",", "", "]"))


def _gemini_refusal(body: Body) -> Answer | None:
    if not (body.get("generationConfig") or {}).get("responseLogprobs"):
        return None
    message = "Unable to submit request because response_logprobs is not supported in streams."
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    return Answer([{"error": error}], status=400)


def _gemini_parts(body: Body) -> list[dict[str, Any]]:
    last = len(SAID) - 1
    return [
        _gemini_part(body, slice(place, place + 1), text, done=place == last)
        for place, (text, _, _) in enumerate(SAID)
    ]


def _gemini_part(body: Body, place: slice, text: str, *, done: bool) -> dict[str, Any]:
    config = body.get("generationConfig") or {}
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if done:
        candidate["finishReason"] = "STOP"
        candidate["avgLogprobs"] = sum(logprob for _, logprob, _ in SAID) / len(SAID)
    if config.get("responseLogprobs"):
        candidate["logprobsResult"] = _gemini_logprobs(place, config.get("logprobs") or 0)
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 6}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini"}


def _gemini_logprobs(place: slice, top: int) -> dict[str, Any]:
    def alternative(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "tokenId": 7, "logProbability": logprob}

    said = SAID[place]
    chosen = [alternative(text, logprob) for text, logprob, _ in said]
    tops = [{"candidates": [alternative(*of) for of in others[:top]]} for _, _, others in said]
    return {"chosenCandidates": chosen} | ({"topCandidates": tops} if top else {})


# watsonx


def watsonx(body: Body) -> Answer:
    """watsonx.ai's chat: as OpenAI's, its stream without an end mark."""
    return chat({**body, "model": body.get("model_id", "m")}, with_bytes=False)


def watsonx_stream(body: Body) -> Answer:
    """watsonx.ai's `chat_stream`."""
    answer = chat({**body, "model": body.get("model_id", "m"), "stream": True}, with_bytes=False)
    return Answer(answer.documents, answer.kind, (*answer.around[:3], ""))


def token(body: Body) -> Answer:
    """watsonx.ai's other paths: a token to show, and a project to work in."""
    del body
    project = {"storage": {"type": "local_git_storage"}, "compute": []}
    return _one({"access_token": "none", "token": "none", "expiration": 4e9, "entity": project})


# Serving them

Route = tuple[str, Callable[[Body], Answer]]


@dataclass(slots=True)
class Server:
    """A server on loopback.

    Attributes:
        url: Where it is.
        unknown: Requests that no route knew.
        asked: The bodies it was sent.
    """

    url: str
    unknown: list[str] = field(default_factory=list)
    asked: list[Body] = field(default_factory=list)


@contextmanager
def serving(routes: Iterable[Route], *, tls: bool = False) -> Iterator[Server]:
    """A server that answers a path by the first route whose text is in it."""
    table = tuple(routes)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            self._answer(json.loads(raw) if raw[:1] == b"{" else {})

        def _answer(self, body: Body) -> None:
            server.asked.append(body)
            make = next((make for part, make in table if part in self.path), None)
            if make is None:
                server.unknown.append(f"{self.command} {self.path}")
                self.send_error(404)
                return
            answer = make(body)
            self.send_response(answer.status)
            self.send_header("content-type", answer.kind)
            self.end_headers()
            for part in _parts(answer):
                self.wfile.write(part.encode())
                self.wfile.flush()

        def log_message(self, *args: Any) -> None:
            del args

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        http.socket = _with_certificate(http.socket)
    server = Server(f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _with_certificate(plain: socket.socket) -> ssl.SSLSocket:
    """The socket under a certificate that signs itself, for a client that insists on TLS."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        options = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
        ]
        subprocess.run(
            ["openssl", *options, "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context.wrap_socket(plain, server_side=True)


def _parts(answer: Answer) -> Iterator[str]:
    before, between, after, end = answer.around
    for place, document in enumerate(answer.documents):
        text = document if isinstance(document, str) else json.dumps(document)
        yield (between if place else before) + text + after
    yield end
