"""An application as gunicorn and uvicorn serve it: `/ended` makes a short call, `/slow` a long one.

With `CLOSES=1` it does what the documentation says at the end of its life; without, nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.testing import ScriptedChatModel, answer

TOKENS = {"/ended": 3000, "/slow": 100}
"""The first are still on their way when their answer has been given."""
PAUSE = 0.01

provider = TracerProvider(resource=Resource.create({"service.name": "served"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
handler = LogprobsCallbackHandler(max_token_spans=None)
config: Any = {"callbacks": [handler]}
quick = ScriptedChatModel(model="quick", answers=[answer(*["x"] * TOKENS["/ended"])])
slow = ScriptedChatModel(model="slow", answers=[answer(*["x"] * TOKENS["/slow"], pause=PAUSE)])


async def ended(_: Request) -> Response:
    return PlainTextResponse((await quick.ainvoke("?", config)).text[:1])


async def streamed(_: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        async for chunk in slow.astream("?", config):
            yield chunk.text

    return StreamingResponse(body())


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    yield
    if os.environ.get("CLOSES"):
        handler.close()
        provider.shutdown()


asgi = Starlette(routes=[Route("/ended", ended), Route("/slow", streamed)], lifespan=lifespan)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/ended":
        return [quick.invoke("?", config).text[:1].encode()]
    return _body()


def _body() -> Iterator[bytes]:
    for chunk in slow.stream("?", config):
        yield chunk.text.encode()
