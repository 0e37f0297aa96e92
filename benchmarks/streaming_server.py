"""An OpenAI-compatible server on loopback that streams as many tokens as it is asked for.

python -m benchmarks.streaming_server
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

from benchmarks.payloads import entries

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def serve() -> None:
    """Serves until it is ended."""
    server = await asyncio.start_server(_connection, "127.0.0.1", 0, backlog=256)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await _answer(await _request(reader), writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


async def _request(reader: asyncio.StreamReader) -> Any:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return json.loads(await reader.readexactly(int(length.split(":")[1])))


async def _answer(asked: Any, writer: asyncio.StreamWriter) -> None:
    tokens = asked.get("max_completion_tokens") or asked["max_tokens"]
    writer.write(_HEAD)
    for event in _events(tokens, asked.get("top_logprobs") or 0):
        writer.write(event)
        await writer.drain()
        await asyncio.sleep(0)  # the other streams' turn
    writer.write(b"0\r\n\r\n")
    await writer.drain()


@cache
def _events(tokens: int, candidates: int) -> tuple[bytes, ...]:
    """Every event of an answer, each ready to be sent."""
    said = [_event({"content": of["token"]}, of) for of in entries(tokens, candidates)]
    return (
        _framed(_event({"role": "assistant", "content": ""}, None)),
        *map(_framed, said),
        _framed({**_event({}, None), "choices": [_choice({}, None, "stop")]}),
        _chunked(b"data: [DONE]\n\n"),
    )


def _event(delta: dict[str, str], entry: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": "answer-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "benchmark",
        "choices": [_choice(delta, entry, None)],
    }


def _choice(
    delta: dict[str, str], entry: dict[str, Any] | None, finish: str | None
) -> dict[str, Any]:
    logprobs = None if entry is None else {"content": [entry], "refusal": None}
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _framed(event: dict[str, Any]) -> bytes:
    return _chunked(f"data: {json.dumps(event)}\n\n".encode())


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


if __name__ == "__main__":
    asyncio.run(serve())
