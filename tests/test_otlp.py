"""Through the real OTLP/HTTP exporter into a receiver that parses protobuf."""

from __future__ import annotations

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from receiver import Received, attributes, receiving

from langchain_logprobs import LogprobsCallbackHandler
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.testing import ScriptedChatModel, answer

SECRET, OTHER, PROMPT = "Xylophonist", "Quetzalcoatl", "Zanzibarian"
ANSWER = answer(
    (SECRET, -0.4, {SECRET: -0.4, OTHER: -1.2}),
    (" plays", None),
    (".", -9999.0, {"!": -0.5}),
)


def exported(
    received: Received, model: ScriptedChatModel | None = None, **settings: object
) -> None:
    """Streams one answer through a chain, and sends everything to the receiver."""
    tracer_provider = TracerProvider()
    exporter = OTLPSpanExporter(f"{received.endpoint}/v1/traces")
    tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
    metrics = OTLPMetricExporter(f"{received.endpoint}/v1/metrics")
    meter_provider = MeterProvider([PeriodicExportingMetricReader(metrics)])
    handler = LogprobsCallbackHandler(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        raise_errors=True,
        **settings,  # type: ignore[arg-type]
    )
    model = model or ScriptedChatModel(answers=[ANSWER])
    chain = ChatPromptTemplate.from_template(PROMPT + "{q}") | model | StrOutputParser()
    list(chain.stream({"q": "?"}, {"callbacks": [handler]}))
    assert handler.flush()
    tracer_provider.shutdown()
    meter_provider.shutdown()


def test_a_call_arrives_as_a_trace_and_metrics() -> None:
    with receiving() as received:
        exported(received)

    (root,), (llm,) = received.spans("invoke_workflow"), received.spans("chat")
    tokens = sorted(received.spans("token"), key=lambda of: of.start_time_unix_nano)
    assert {of.trace_id for of in received.spans()} == {root.trace_id}
    assert llm.parent_span_id == root.span_id
    assert [of.parent_span_id for of in tokens] == [llm.span_id] * 3
    assert attributes(tokens[0])["langchain_logprobs.token.logprob"] == -0.4
    assert "langchain_logprobs.token.logprob" not in attributes(tokens[1])
    assert attributes(llm)["langchain_logprobs.tokens.logprobs"] == [-0.4, None, -9999.0]
    assert attributes(llm)["langchain_logprobs.tokens.missing"] == 1
    ends = [of.end_time_unix_nano for of in tokens]
    assert [of.start_time_unix_nano for of in tokens] == [llm.start_time_unix_nano, *ends[:-1]]
    assert ends[-1] <= llm.end_time_unix_nano

    histogram = received.metrics()["langchain_logprobs.response.uncertainty"].histogram
    (point,) = histogram.data_points
    assert point.count == 1
    # exp((-0.4 + ln(0.3935)) / 2), as the censored token is floored at the mass left to it
    assert point.sum == pytest.approx(1 - 0.5137, abs=1e-3)
    assert list(point.explicit_bounds)[:3] == [0.01, 0.02, 0.05]
    assert [of.span_id for of in point.exemplars] == [llm.span_id]


def test_by_default_no_exported_byte_holds_any_text() -> None:
    with receiving() as received:
        exported(received)

    body = b"".join(received.bodies)
    assert b"langchain_logprobs.token.probability" in body
    for text in (SECRET, OTHER, PROMPT, " plays"):
        assert text.encode() not in body


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OPENINFERENCE_HIDE_OUTPUTS", "true"), ("TRACELOOP_TRACE_CONTENT", "false")],
)
def test_an_environment_that_forbids_content_is_obeyed_over_the_code(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with receiving() as received:
        exported(received, capture_content=True)

    assert SECRET.encode() not in b"".join(received.bodies)


@pytest.mark.parametrize("value", ["SPAN_ONLY", "span_and_event", "true"])
def test_the_standard_variable_lets_content_out(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)

    with receiving() as received:
        exported(received)

    (llm,) = received.spans("chat")
    first = min(received.spans("token"), key=lambda of: of.start_time_unix_nano)
    assert attributes(llm)["langchain_logprobs.tokens.texts"] == [SECRET, " plays", "."]
    assert attributes(first)["langchain_logprobs.token.candidates"] == [SECRET, OTHER]
    assert attributes(first)["langchain_logprobs.token.candidate_logprobs"] == [-0.4, -1.2]
    assert PROMPT.encode() not in b"".join(received.bodies)


def test_half_characters_hold_nothing_up() -> None:
    """As servers send them that cut JSON's escapes of an emoji in two."""
    halves = (Candidate("\U0001f600", -0.4), Candidate("\ud83d", -1.2))
    said = TokenLogprob("\U0001f600", -0.4, None, halves)
    model = ScriptedChatModel.model_construct(answers=[answer(said)], model="m\udc00")

    with receiving() as received:
        exported(received, model, capture_content=True)

    (llm,), (sent,) = received.spans("chat m?"), received.spans("token")
    assert attributes(llm)["gen_ai.request.model"] == "m?"
    assert attributes(sent)["langchain_logprobs.token.candidates"] == ["\U0001f600", "?"]
    assert b"langchain_logprobs.response.uncertainty" in b"".join(received.bodies)


def test_events_only_lets_no_content_onto_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_ONLY")

    with receiving() as received:
        exported(received)

    assert SECRET.encode() not in b"".join(received.bodies)
