"""Traces and metrics to an OpenTelemetry collector, over OTLP/HTTP.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 python examples/otlp_collector.py

With --times 300 it goes on asking, as an application does: a graph shows how fast a metric rises.

The standard OTEL_EXPORTER_OTLP_* variables say where they go, OTEL_SERVICE_NAME under what name. A
token's text goes along only with OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY.
"""

from __future__ import annotations

from itertools import cycle, islice

from _model import chosen_model, options
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from langchain_logprobs import LogprobsCallbackHandler

QUESTIONS = (
    "What is the capital of Australia?",
    "Who painted the Mona Lisa?",
    "What is the capital of Burkina Faso?",
    "Who invented the telephone?",
)
PROMPT = ChatPromptTemplate(
    [
        ("system", "Trivia quiz with the correct answers."),
        ("human", "What is the capital of France?"),
        ("ai", "Paris."),
        ("human", "{question}"),
    ]
)


def set_up_opentelemetry() -> None:
    """What any application does once at its start; nothing here is ours."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracer_provider)
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    metrics.set_meter_provider(MeterProvider([reader]))


def main() -> None:
    """Asks each question inside a span of the application's own."""
    parser = options(__doc__)
    parser.add_argument("--times", type=int, default=1, help="how many questions to ask")
    given = parser.parse_args()
    set_up_opentelemetry()
    handler = LogprobsCallbackHandler()
    with chosen_model(None, given=given) as model:
        chain = PROMPT | model | StrOutputParser()
        for question in islice(cycle(QUESTIONS), given.times):
            with trace.get_tracer("example").start_as_current_span("request") as span:
                answer = chain.invoke({"question": question}, {"callbacks": [handler]})
            trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            print(f"{question} {answer.strip()}  (trace {trace_id})")
    handler.close()
    print("All of it is with the exporter; what it could not send, it says above.")


if __name__ == "__main__":
    main()
