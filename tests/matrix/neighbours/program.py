"""Makes model calls in every way beside another instrumentation, and prints the spans of each.

Runs in that instrumentation's own environment:
`python program.py NEIGHBOUR without|explicit|instrument BASE_URL`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypedDict

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from neighbours import Neighbour, Seen, beside
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

AT_ONCE = 30


class State(TypedDict):
    q: str
    left: str
    right: str


class Calls:
    """The calls of one process: what to call, and with which callbacks."""

    def __init__(self, neighbour: Neighbour, base_url: str, callbacks: list[Any]) -> None:
        self._neighbour = neighbour
        self._base_url = base_url
        self._callbacks = callbacks
        self.model = self._model("says")
        self.chain = self._chain(self.model)
        self.broken = self._chain(self._model("breaks"))
        self.failing = self._chain(self._model("fails"))
        self.graph = self._graph(self._node)
        self.async_graph = self._graph(self._async_node)
        # What is streamed out of parallel nodes comes in another order each time.
        self.steps = self._graph(self._node, after={"right": "left"})
        self.async_steps = self._graph(self._async_node, after={"right": "left"})

    def _model(self, name: str) -> ChatOpenAI:
        return ChatOpenAI(
            model=name,
            base_url=self._base_url,
            api_key="none",
            max_retries=0,
            logprobs=True,
            top_logprobs=2,
            stream_usage=False,
        )

    @staticmethod
    def _chain(model: ChatOpenAI) -> Runnable[Any, str]:
        return ChatPromptTemplate.from_template("Say {q}") | model | StrOutputParser()

    @staticmethod
    def _graph(
        node: Callable[[str], Any], after: Mapping[str, str] = MappingProxyType({})
    ) -> Runnable[Any, Any]:
        graph = StateGraph(State)
        for name in ("left", "right"):
            graph.add_node(name, node(name))
            graph.add_edge(after.get(name, START), name)
            graph.add_edge(name, END)
        return graph.compile()

    def _node(self, name: str) -> Any:
        return lambda state: {name: self.model.invoke(f"{name} {state['q']}{name}").text}

    def _async_node(self, name: str) -> Any:
        async def run(state: State) -> dict[str, str]:
            return {name: (await self.model.ainvoke(f"{name} {state['q']}{name}")).text}

        return run

    def config(self) -> Any:
        """The configuration of one call; handlers of neighbours are made for each."""
        callbacks = [*self._callbacks, *self._neighbour.callbacks()]
        return {"callbacks": callbacks} if callbacks else {}

    @contextlib.contextmanager
    def request(self, q: object) -> Iterator[dict[str, str]]:
        """A span of the application's around a call, as a web framework makes one."""
        with trace.get_tracer("application").start_as_current_span(f"request {q}"):
            yield {"q": str(q)}

    # One cell each

    async def lone_invoke(self) -> None:
        self.model.invoke("Say 1", self.config())

    async def lone_stream(self) -> None:
        list(self.model.stream("Say 1", self.config()))

    async def lone_ainvoke(self) -> None:
        await self.model.ainvoke("Say 1", self.config())

    async def lone_astream(self) -> None:
        async for _ in self.model.astream("Say 1", self.config()):
            pass

    async def invoke(self) -> None:
        self.chain.invoke({"q": "1"}, self.config())

    async def stream(self) -> None:
        list(self.chain.stream({"q": "1"}, self.config()))

    async def ainvoke(self) -> None:
        await self.chain.ainvoke({"q": "1"}, self.config())

    async def astream(self) -> None:
        async for _ in self.chain.astream({"q": "1"}, self.config()):
            pass

    async def batch(self) -> None:
        self.chain.batch([{"q": f"{n}"} for n in range(3)], self.config())

    async def graph_sync(self) -> None:
        with self.request("1"):
            self.graph.invoke({"q": "1"}, self.config())

    async def graph_async(self) -> None:
        with self.request("1"):
            await self.async_graph.ainvoke({"q": "1"}, self.config())

    async def graph_stream(self) -> None:
        with self.request("1"):
            list(self.steps.stream({"q": "1"}, self.config(), stream_mode="messages"))

    async def graph_astream(self) -> None:
        with self.request("1"):
            async for _ in self.async_steps.astream(
                {"q": "1"}, self.config(), stream_mode="messages"
            ):
                pass

    async def gather_30(self) -> None:
        async def one(n: int) -> None:
            with self.request(n) as given:
                await self.chain.ainvoke(given, self.config())

        await asyncio.gather(*map(one, range(AT_ONCE)))

    async def astream_30(self) -> None:
        async def one(n: int) -> None:
            with self.request(n) as given:
                async for _ in self.chain.astream(given, self.config()):
                    pass

        await asyncio.gather(*map(one, range(AT_ONCE)))

    async def threads_30(self) -> None:
        def one(n: int) -> None:
            with self.request(n) as given:
                list(self.chain.stream(given, self.config()))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(AT_ONCE)))

    async def error(self) -> None:
        with contextlib.suppress(Exception):
            self.failing.invoke({"q": "1"}, self.config())

    async def error_midway(self) -> None:
        with contextlib.suppress(Exception):
            async for _ in self.broken.astream({"q": "1"}, self.config()):
                pass


CELLS = (
    "lone_invoke",
    "lone_stream",
    "lone_ainvoke",
    "lone_astream",
    "invoke",
    "stream",
    "ainvoke",
    "astream",
    "batch",
    "graph_sync",
    "graph_async",
    "graph_stream",
    "graph_astream",
    "gather_30",
    "astream_30",
    "threads_30",
    "error",
    "error_midway",
)


def plain(span: ReadableSpan, *, is_direct: bool) -> dict[str, Any]:
    """A span as JSON."""
    scope = span.instrumentation_scope
    return {
        "name": span.name,
        "kind": span.kind.name,
        "scope": scope.name if scope else "",
        "version": scope.version if scope else "",
        "id": f"{span.context.span_id:016x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else None,
        "trace": f"{span.context.trace_id:032x}",
        "ended": span.end_time is not None,
        "status": [span.status.status_code.name, span.status.description],
        "resource": dict(span.resource.attributes),
        "attributes": dict(span.attributes or {}),
        "events": [[of.name, dict(of.attributes or {})] for of in span.events],
        "links": [dict(of.attributes or {}) for of in span.links],
        "is_direct": is_direct,
    }


async def run_cell(call: Callable[[], Awaitable[None]]) -> None:
    await asyncio.wait_for(call(), 60)


def handler_of(mode: str, provider: TracerProvider | None) -> Any:
    """Our handler, if it is to be there, and how it is to be there."""
    if mode == "without":
        return None
    from langchain_logprobs import LogprobsCallbackHandler, instrument

    return (instrument if mode == "instrument" else LogprobsCallbackHandler)(
        tracer_provider=provider
    )


def main(name: str, mode: str, base_url: str) -> None:
    """Runs every cell, and prints its spans."""
    warnings.simplefilter("ignore")
    os.environ["LANGCHAIN_LOGPROBS_CAPTURE_CONTENT"] = "true"
    seen = Seen()
    seen.watch()
    # Before anything else is set up is the harder order, where no provider is to be handed over.
    early = handler_of(mode, None) if mode == "instrument" and name != "mlflow-alone" else None
    with beside(name, seen, base_url) as neighbour:
        handler = early or handler_of(mode, neighbour.provider)
        calls = Calls(neighbour, base_url, [handler] if mode == "explicit" else [])
        for cell in CELLS:
            asyncio.run(run_cell(getattr(calls, cell)))
            if handler is not None:
                handler.flush()
            spans = [plain(of, is_direct=is_direct) for of, is_direct in seen.take()]
            print(json.dumps({"cell": cell, "spans": spans}))
        print(json.dumps({"arrived": neighbour.arrived()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
