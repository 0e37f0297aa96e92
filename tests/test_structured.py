"""Confidence of JSON fields, tool arguments and labels, from a call to what is sent of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest
from conftest import Observed, attributes_of
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from langchain_logprobs import (
    CallReport,
    LogprobsCallbackHandler,
    SettingsError,
    keep_lowest,
    redact,
    with_logprobs,
)
from langchain_logprobs.local import LocalModel
from langchain_logprobs.telemetry import names
from langchain_logprobs.testing import CollectingSink, ScriptedChatModel, answer, token

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "Order",
        "schema": {
            "type": "object",
            "properties": {
                "mood": {"enum": ["good", "bad"]},
                "items": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"price": {"type": "number"}}},
                },
            },
        },
    },
}
ORDER = answer(
    ('{"', -0.01),
    ("mood", -0.01),
    ('": "', -0.01),
    ("good", -0.5, {"good": -0.5, "bad": -1.2, " Good": -4.0}),
    ('", "items": [{"price": ', -0.01),
    ("12", -0.2),
    ('}, {"price": ', -0.01),
    ("7}", -1.0),
    ("]}", -0.01),
)


def told(observed: Observed) -> list[str | None]:
    return [attributes_of(of).get(names.TOKEN_FIELD) for of in observed.spans("token")]


def call(handler: LogprobsCallbackHandler, *, schema: bool = True) -> CallReport:
    model = ScriptedChatModel(answers=[ORDER])
    asked = model.bind(response_format=SCHEMA) if schema else model
    list(asked.stream("", {"callbacks": [handler]}))
    handler.flush()
    return handler.reports[-1]


def test_each_value_is_measured_by_its_own_tokens(observed: Observed) -> None:
    report = call(observed.handler(keep=1))

    sums = {of.path: of.confidence.sum_logprob for of in report.fields.leaves}
    assert sums == {"$.mood": -0.5, "$.items[0].price": -0.2, "$.items[1].price": -1.0}
    assert report.fields["$.items[1].price"].value == 7
    assert report.fields["$.items[1].price"].shared
    assert report.lowest_field is not None
    assert report.lowest_field.path == "$.items[1].price"
    assert report.confidences_for({"mood": "good", "items": [{"price": 12}, {"price": 7}]}) == {
        "mood": pytest.approx(0.6065, abs=1e-4),
        "items": [
            {"price": pytest.approx(0.8187, abs=1e-4)},
            {"price": pytest.approx(0.3679, abs=1e-4)},
        ],
    }


def test_a_tree_names_the_least_certain_value_of_all_its_calls(observed: Observed) -> None:
    sure = answer(('{"a": ', -0.01), ("1", -0.02), ("}", -0.01))
    model = ScriptedChatModel(answers=[sure, ORDER, answer("no JSON")])
    handler = observed.handler(keep=9)

    RunnableLambda(lambda _: [model.invoke("") for _ in range(3)]).invoke(
        "", {"callbacks": [handler]}
    )

    (tree,) = handler.trees
    assert [of.lowest_field and of.lowest_field.path for of in tree.calls] == [
        "$.a",
        "$.items[1].price",
        None,
    ]
    assert tree.lowest_field is tree.calls[1].lowest_field


def test_labels_of_the_schema_are_found_without_being_named(observed: Observed) -> None:
    report = call(observed.handler(keep=1))

    label = report.labels["$.mood"]
    assert label.chosen == "good"
    assert label.probabilities == {  # " Good" is another spelling of the same
        "good": pytest.approx(0.6065 + 0.0183, abs=1e-4),
        "bad": pytest.approx(0.3012, abs=1e-4),
    }


def test_paths_that_the_application_named_are_told(observed: Observed) -> None:
    call(observed.handler(keep=1))

    price = "$.items[{}].price"
    assert told(observed) == [
        *[None] * 3,
        "$.mood",
        None,
        price.format(0),
        None,
        price.format(1),
        None,
    ]
    (llm,) = observed.spans("chat")
    assert attributes_of(llm)[names.FIELDS_COUNT] == 3
    assert attributes_of(llm)[names.FIELD_LOWEST_PATH] == price.format(1)
    assert attributes_of(llm)[names.FIELD_LOWEST_CONFIDENCE] == pytest.approx(0.3679, abs=1e-4)


def test_keys_of_the_models_own_stay_unless_content_may_be_sent(observed: Observed) -> None:
    call(observed.handler(keep=1), schema=False)
    assert told(observed) == [None] * 9
    (llm,) = observed.spans("chat")
    assert names.FIELD_LOWEST_PATH not in attributes_of(llm)
    assert names.FIELD_LOWEST_CONFIDENCE in attributes_of(llm)

    observed.exporter.clear()
    call(observed.handler(keep=1, capture_content=True), schema=False)
    assert told(observed)[3] == "$.mood"


def test_only_allowed_fields_are_metrics(observed: Observed) -> None:
    call(observed.handler(keep=1, metric_fields=("$.items[*].price",)), schema=False)

    metric = names.FIELD_UNCERTAINTY.name
    assert observed.total(metric) == 2
    assert observed.total(metric, field="$.items[*].price") == 2


def test_without_an_allow_list_no_field_is_a_metric(observed: Observed) -> None:
    call(observed.handler(keep=1))

    assert names.FIELD_UNCERTAINTY.name not in observed.metrics()


@pytest.mark.parametrize(
    ("thresholds", "low"),
    [
        ({}, []),
        ({"$.items[*].price": 0.5}, ["$.items[1].price"]),
        ({"$.items[0].price": 0.99}, ["$.items[0].price"]),
        ({"mood": 0.7}, ["$.mood"]),
        ({"mood": 0.6}, []),
        ({"nothing": 1.0}, []),
    ],
)
def test_a_field_under_its_threshold_is_a_reason_to_call_the_hook(
    observed: Observed, thresholds: dict[str, float], low: list[str]
) -> None:
    doubtful: list[CallReport] = []
    handler = observed.handler(
        keep=1, low_response=0.0, thresholds=thresholds, on_low_confidence=doubtful.append
    )

    report = call(handler)

    assert [of.path for of in report.low_fields] == low
    assert doubtful == [report] * bool(low)


def test_labels_of_a_plain_answer(observed: Observed) -> None:
    said = answer(("Yes", -0.51, {"Yes": -0.51, " yes": -1.2, "No": -2.3}), (".", -0.1))
    handler = observed.handler(keep=1, labels={"$": Literal["yes", "no"]})

    ScriptedChatModel(answers=[said]).invoke("", {"callbacks": [handler]})

    label = handler.reports[0].labels["$"]
    assert (label.chosen, label.probability) == ("yes", pytest.approx(0.9017, abs=1e-4))


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize("labels", [{"x": ["only one"]}, {"x": Colour}, {"x": 3}, {"x": "yes"}])
def test_labels_that_leave_no_choice_are_refused(labels: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"labels\['x'\].* at least two labels"):
        LogprobsCallbackHandler(labels=labels)


@pytest.mark.parametrize("limit", [-0.1, 1.1, True, "0.5"])
def test_thresholds_that_are_no_probabilities_are_refused(limit: Any) -> None:
    with pytest.raises(SettingsError, match=r"thresholds\['x'\] is .* a probability, from 0 to 1"):
        LogprobsCallbackHandler(thresholds={"x": limit})


def test_keeping_the_lowest_tokens_keeps_what_the_fields_say(observed: Observed) -> None:
    whole = call(observed.handler(keep=1))

    fewer = call(observed.handler(keep=1, processors=[keep_lowest(1)]))

    assert [of.text for of in fewer.tokens] == ["7}"]
    assert [(of.path, of.value, of.confidence) for of in fewer.fields.leaves] == [
        (of.path, of.value, of.confidence) for of in whole.fields.leaves
    ]


@pytest.mark.parametrize("schema", [True, False])
def test_redaction_hides_values_and_the_models_own_keys(
    observed: Observed, *, schema: bool
) -> None:
    plain = call(observed.handler(keep=1), schema=schema)

    redacted = call(observed.handler(keep=1, processors=[redact()]), schema=schema)

    numbers = [of.confidence for of in plain.fields.every_field]
    assert [of.confidence for of in redacted.fields.every_field] == numbers
    assert ("price" in repr(redacted)) is schema
    assert "good" not in repr(redacted)
    assert not redacted.labels


# A tool call as vLLM, SGLang and others send it: parsed, and raw in the logprobs.

RAW = ("<tool_call>", '{"name": "', "weather", '", "arguments": {"city": "', "Paris", '"}}', "\n")
LOGPROBS = (-0.01, -0.02, -0.3, -0.04, -0.9, -0.05, -0.06)


def chat_completion(*, stream: bool) -> Iterator[dict[str, Any]]:
    """The bodies of an answer that calls a tool, whole or in chunks, in vLLM's format."""
    entries = [
        {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}
        for text, logprob in zip(RAW, LOGPROBS, strict=True)
    ]
    call: dict[str, Any] = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
    }
    body = {"id": "chatcmpl-1", "created": 1, "model": "qwen", "object": "chat.completion"}
    if not stream:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        logprobs = {"content": entries}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        yield {**body, "choices": [{**choice, "logprobs": logprobs}]}
        return
    for at, entry in enumerate(entries):
        delta = {"tool_calls": [{"index": 0, **call}]} if at == len(entries) - 2 else {}
        choice = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", **delta}}
        chunk = {**body, "object": "chat.completion.chunk"}
        yield {**chunk, "choices": [{**choice, "logprobs": {"content": [entry]}}]}
    choice = {"index": 0, "finish_reason": "tool_calls", "delta": {}}
    yield {**body, "object": "chat.completion.chunk", "choices": [choice]}


@contextmanager
def tool_server() -> Iterator[str]:
    """A server that answers every chat request with that call; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stream = bool(asked.get("stream"))
            bodies = [json.dumps(of) for of in chat_completion(stream=stream)]
            lines = [f"data: {of}\n\n" for of in [*bodies, "[DONE]"]] if stream else bodies
            data = "".join(lines).encode()
            self.send_response(200)
            kind = "text/event-stream" if stream else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_tool_call_in_vllms_format(observed: Observed, way: str) -> None:
    def weather(city: str) -> str:
        """Says what the weather is like."""
        return city

    handler = observed.handler(keep=1)
    with tool_server() as url:
        model = ChatOpenAI(base_url=url, api_key=SecretStr("none"), model="qwen")
        agent = with_logprobs(model).bind_tools([weather])
        if way == "invoke":
            agent.invoke("?", {"callbacks": [handler]})
        else:
            list(agent.stream("?", {"callbacks": [handler]}))

    handler.flush()
    (tool,) = handler.reports[0].tools
    assert (tool.name, tool.unavailable) == ("weather", None)
    assert tool.chosen is not None
    assert tool.chosen.confidence.sum_logprob == -0.3
    assert tool.arguments["$.city"].value == "Paris"
    assert tool.arguments["$.city"].confidence.sum_logprob == -0.9
    assert handler.reports[0].fields["$.city"].confidence.sum_logprob == -0.9
    assert told(observed)[4] == "$.city"  # the tool's own schema names it


class Currency(Enum):
    EUR = "EUR"
    GBP = "GBP"
    USD = "USD"


class Invoice(BaseModel):
    number: str
    total: float
    currency: Currency
    paid: bool


TURNS: Sequence[tuple[str, str]] = (
    ("system", "Invoices as JSON."),
    ("human", "Invoice A-1007 of Miller & Sons. Due: 120.50 euros, not yet paid."),
    ("ai", '{{"number":"A-1007","total":120.5,"currency":"EUR","paid":false}}'),
    ("human", "Received with thanks: 75 dollars for invoice 88/B, Acme Ltd."),
    ("ai", '{{"number":"88/B","total":75.0,"currency":"USD","paid":true}}'),
    ("human", "Bill no. 2024-17 by Green Garden Services: 340 pounds, to be paid in 30 days."),
)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # langchain-openai's `parsed`
def test_a_schema_constrained_answer_of_a_real_model(local: LocalModel) -> None:
    sink = CollectingSink()
    handler = LogprobsCallbackHandler(sinks=[sink], raise_errors=True)
    model = with_logprobs(
        ChatOpenAI(
            base_url=local.base_url,
            api_key=SecretStr(local.api_key),
            model=local.model,
            temperature=0,
            max_completion_tokens=120,
        )
    )
    extract = model.with_structured_output(Invoice, method="json_schema")
    chain = ChatPromptTemplate(list(TURNS)) | extract

    invoked = Invoice.model_validate(chain.invoke({}, {"callbacks": [handler]}))
    streamed = list(chain.stream({}, {"callbacks": [handler]}))[-1]

    assert streamed == invoked
    for report in sink.calls:
        values = {of.path: of.value for of in report.fields.leaves}
        read = invoked.model_dump(mode="json")
        assert values == {f"$.{name}": value for name, value in read.items()}
        assert {of.alignment for of in report.fields.leaves} == {"exact"}
        assert all(0 < sure <= 1 for sure in report.confidences_for(invoked).values())
        currency = report.labels["$.currency"]
        assert currency.chosen == invoked.currency.value
        assert currency.label_mass is not None
        assert currency.label_mass > 0.5
        assert set(report.labels) == {"$.currency", "$.paid"}
    one, other = ([of.confidence.sum_logprob for of in c.fields.leaves] for c in sink.calls)
    assert one == pytest.approx(other, abs=0.02)


def test_a_value_of_split_characters_is_exact(observed: Observed) -> None:
    said = answer(
        ('{"a": "', -0.01),
        token(b"\xf0\x9f", -0.2),
        token(b"\x98\x80", -0.3),
        ('", "b": 1}', -0.5),
    )
    handler = observed.handler(keep=1)

    list(ScriptedChatModel(answers=[said]).stream("", {"callbacks": [handler]}))

    fields = handler.reports[0].fields
    assert (fields["$.a"].value, fields["$.a"].confidence.sum_logprob) == ("😀", -0.5)
    assert fields["$.b"].confidence.sum_logprob == -0.5
