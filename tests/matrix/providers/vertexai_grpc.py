"""Vertex AI over gRPC, which is what `ChatVertexAI` speaks in async code: Google's own client on
one end of loopback, the wire format on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from functools import cache
from typing import Any

import grpc
import wire
from google.cloud.aiplatform_v1beta1.services import prediction_service
from google.cloud.aiplatform_v1beta1.services.prediction_service import transports
from google.cloud.aiplatform_v1beta1.types import GenerateContentRequest, GenerateContentResponse
from google.protobuf import json_format

_SERVICE = "google.cloud.aiplatform.v1beta1.PredictionService"
_GRPC_ASYNC = transports.PredictionServiceGrpcAsyncIOTransport


class AsyncClient:
    """Google's async client, made when it is first used: in the event loop that it belongs to."""

    def __init__(self, stream: Callable[[wire.Body], wire.Answer]) -> None:
        self._address, _ = _serving(stream)

    def __getattr__(self, name: str) -> Any:
        channel = grpc.aio.insecure_channel(self._address)
        client = prediction_service.PredictionServiceAsyncClient(
            transport=_GRPC_ASYNC(channel=channel)
        )
        return getattr(client, name)


@cache
def _serving(stream: Callable[[wire.Body], wire.Answer]) -> tuple[str, grpc.Server]:
    """The server's address, and the server, which stops when nothing refers to it."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    streaming = grpc.unary_stream_rpc_method_handler(_documents(stream), **_CODEC)
    methods = {"GenerateContent": _WHOLE, "StreamGenerateContent": streaming}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"127.0.0.1:{port}", server


def _documents(make: Callable[[wire.Body], wire.Answer]) -> Callable[[Any, Any], Iterator[Any]]:
    def answered(request: Any, context: Any) -> Iterator[Any]:
        answer = make(json_format.MessageToDict(request._pb))
        documents = list(answer.documents)
        if answer.status != 200:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, documents[0]["error"]["message"])
        yield from map(_response, documents)

    return answered


def _response(document: Mapping[str, Any]) -> Any:
    return json_format.ParseDict(
        document, GenerateContentResponse.pb()(), ignore_unknown_fields=True
    )


def _one(request: Any, context: Any) -> Any:
    return next(_documents(wire.gemini)(request, context))


_CODEC: dict[str, Any] = {
    "request_deserializer": GenerateContentRequest.deserialize,
    "response_serializer": lambda message: message.SerializeToString(),
}
_WHOLE = grpc.unary_unary_rpc_method_handler(_one, **_CODEC)
