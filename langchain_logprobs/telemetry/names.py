"""Every span, attribute and metric name, with unit and description; they stand nowhere else.

`gen_ai.*` is what OpenTelemetry's semantic conventions for generative AI define. Their Python
constants are deprecated, so the strings are kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SCOPE: Final = "langchain_logprobs"
"""The instrumentation scope of every span and metric."""

# Spans

TOKEN_SPAN: Final = "token"
SUMMARY_SPAN: Final = "logprobs"
"""Under an LLM span that ended before the answer was known to us, or whose trace must stay open."""
WORKFLOW_OPERATION: Final = "invoke_workflow"

# What the semantic conventions define

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
ERROR_TYPE: Final = "error.type"
EVALUATION_EVENT: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"

REQUEST_PARAMETERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
"""LangChain's name of a request parameter to its attribute."""

PROVIDERS: Final = {
    "amazon": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""LangChain's `ls_provider` to the conventions' well-known value, where they differ."""

# What OpenInference defines, for Phoenix and Arize; written only where the settings ask for it

OPENINFERENCE_KIND: Final = "openinference.span.kind"
OPENINFERENCE_OUTPUT: Final = "output.value"
OPENINFERENCE_OUTPUT_TYPE: Final = "output.mime_type"

# On a token span

TOKEN_INDEX: Final = "langchain_logprobs.token.index"
TOKEN_LOGPROB: Final = "langchain_logprobs.token.logprob"
TOKEN_PROBABILITY: Final = "langchain_logprobs.token.probability"
TOKEN_ENTROPY: Final = "langchain_logprobs.token.entropy"
TOKEN_TAIL_MASS: Final = "langchain_logprobs.token.tail_mass"
TOKEN_MARGIN: Final = "langchain_logprobs.token.margin"
TOKEN_LOG_ODDS: Final = "langchain_logprobs.token.log_odds"
TOKEN_RANK: Final = "langchain_logprobs.token.rank"
TOKEN_LOW: Final = "langchain_logprobs.token.low"
TOKEN_TIMED: Final = "langchain_logprobs.token.timed"
TOKEN_CHANNEL: Final = "langchain_logprobs.token.channel"
TOKEN_COMPLETION: Final = "langchain_logprobs.token.completion"
TOKEN_FIELD: Final = "langchain_logprobs.token.field"
TOKEN_BYTE_START: Final = "langchain_logprobs.token.byte_start"
TOKEN_BYTE_END: Final = "langchain_logprobs.token.byte_end"
TOKEN_TEXT: Final = "langchain_logprobs.token.text"
TOKEN_CANDIDATES: Final = "langchain_logprobs.token.candidates"
TOKEN_CANDIDATE_LOGPROBS: Final = "langchain_logprobs.token.candidate_logprobs"

# On the LLM span, and on the root span of a chain

RESPONSE_CONFIDENCE: Final = "langchain_logprobs.response.confidence"
RESPONSE_PERPLEXITY: Final = "langchain_logprobs.response.perplexity"
RESPONSE_LOW: Final = "langchain_logprobs.response.low"
LOGPROB_MEAN: Final = "langchain_logprobs.logprob.mean"
LOGPROB_SUM: Final = "langchain_logprobs.logprob.sum"
LOGPROB_MIN: Final = "langchain_logprobs.logprob.min"
ENTROPY_MEAN: Final = "langchain_logprobs.entropy.mean"
ENTROPY_MAX: Final = "langchain_logprobs.entropy.max"
MARGIN_MEAN: Final = "langchain_logprobs.margin.mean"
LOG_ODDS_MIN: Final = "langchain_logprobs.log_odds.min"
SURPRISAL_TAIL: Final = "langchain_logprobs.surprisal.tail"
WINDOW_LOWEST: Final = "langchain_logprobs.window.lowest"
TOKENS_COUNT: Final = "langchain_logprobs.tokens.count"
TOKENS_LOW: Final = "langchain_logprobs.tokens.low"
TOKENS_LOW_RATIO: Final = "langchain_logprobs.tokens.low_ratio"
TOKENS_LOW_LONGEST_RUN: Final = "langchain_logprobs.tokens.low_longest_run"
TOKENS_MISSING: Final = "langchain_logprobs.tokens.missing"
TOKENS_CENSORED: Final = "langchain_logprobs.tokens.censored"
TOKENS_WITH_CANDIDATES: Final = "langchain_logprobs.tokens.with_candidates"
TOKENS_TRUNCATED: Final = "langchain_logprobs.tokens.truncated"
TOKENS_LOGPROBS: Final = "langchain_logprobs.tokens.logprobs"
TOKENS_TEXTS: Final = "langchain_logprobs.tokens.texts"
TOKEN_SPANS_OMITTED: Final = "langchain_logprobs.token_spans.omitted"
FIELDS_COUNT: Final = "langchain_logprobs.fields.count"
FIELD_LOWEST_PATH: Final = "langchain_logprobs.field.lowest.path"
FIELD_LOWEST_CONFIDENCE: Final = "langchain_logprobs.field.lowest.confidence"
SOURCE: Final = "langchain_logprobs.source"
TIMED: Final = "langchain_logprobs.timed"
OUTCOME: Final = "langchain_logprobs.outcome"
UNAVAILABLE: Final = "langchain_logprobs.unavailable"
RUN_ID: Final = "langchain_logprobs.run_id"

# On the root span of a chain alone

TREE_CALLS: Final = "langchain_logprobs.tree.calls"
TREE_OMITTED: Final = "langchain_logprobs.tree.omitted"
TREE_WEAKEST_RUN_ID: Final = "langchain_logprobs.tree.weakest.run_id"
TREE_WEAKEST_CONFIDENCE: Final = "langchain_logprobs.tree.weakest.confidence"

# On metrics alone

METRIC_CONFIDENCE: Final = "confidence"
METRIC_REASON: Final = "reason"
METRIC_BAND: Final = "band"
METRIC_FIELD: Final = "field"
METRIC_RESULT: Final = "result"
METRIC_WHERE: Final = "where"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric: what it is called, what it counts or measures, and in what unit."""

    name: str
    kind: Literal["histogram", "counter"]
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None


_PROBABILITY_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_NAT_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
_MAX_NAT_BUCKETS = (0.05, 0.1, 0.2, 0.35, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 100.0)
_LENGTH_BUCKETS = tuple(float(2**power) for power in range(15))

UNCERTAINTY = Instrument(
    "langchain_logprobs.response.uncertainty",
    "histogram",
    "1",
    "1 - the geometric mean probability of a response's tokens.",
    _PROBABILITY_BUCKETS,
)
SURPRISAL = Instrument(
    "langchain_logprobs.response.surprisal",
    "histogram",
    "{nat}",
    "Mean surprisal of a response's tokens.",
    _NAT_BUCKETS,
)
SURPRISAL_MAX = Instrument(
    "langchain_logprobs.response.surprisal.max",
    "histogram",
    "{nat}",
    "Surprisal of a response's least certain token.",
    _MAX_NAT_BUCKETS,
)
ENTROPY = Instrument(
    "langchain_logprobs.response.entropy",
    "histogram",
    "{nat}",
    "Mean entropy of a response's tokens, a lower bound from the listed candidates.",
    _NAT_BUCKETS,
)
LENGTH = Instrument(
    "langchain_logprobs.response.tokens",
    "histogram",
    "{token}",
    "Tokens with a logprob entry in a response.",
    _LENGTH_BUCKETS,
)
RESPONSES = Instrument(
    "langchain_logprobs.responses",
    "counter",
    "{response}",
    "Responses by confidence (ok, low, unavailable), with the reason where it is unavailable.",
)
TOKENS = Instrument(
    "langchain_logprobs.tokens",
    "counter",
    "{token}",
    "Tokens by band of probability (high, medium, low, missing).",
)
CHAIN_UNCERTAINTY = Instrument(
    "langchain_logprobs.chain.uncertainty",
    "histogram",
    "1",
    "1 - the confidence of the least certain call of a root run.",
    _PROBABILITY_BUCKETS,
)
FIELD_UNCERTAINTY = Instrument(
    "langchain_logprobs.field.uncertainty",
    "histogram",
    "1",
    "1 - the confidence of a value in a JSON answer, by its path, for the paths in metric_fields.",
    _PROBABILITY_BUCKETS,
)
TOKEN_SPANS = Instrument(
    "langchain_logprobs.token_spans",
    "counter",
    "{span}",
    "Token spans by result: emitted, omitted by settings, unsampled, lost; unsent by our exporter.",
)
ERRORS = Instrument(
    "langchain_logprobs.errors",
    "counter",
    "{error}",
    "Errors that were kept from the application, by where they arose.",
)

INSTRUMENTS: Final = (
    UNCERTAINTY,
    SURPRISAL,
    SURPRISAL_MAX,
    ENTROPY,
    LENGTH,
    RESPONSES,
    TOKENS,
    CHAIN_UNCERTAINTY,
    FIELD_UNCERTAINTY,
    TOKEN_SPANS,
    ERRORS,
)
"""Every metric."""
