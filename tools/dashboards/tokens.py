"""The *Tokens* dashboard, for Tempo: the doubtful tokens, and the calls they are in."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table, tempo, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import tempo as queries

from langchain_logprobs.telemetry import names

UID = "langchain-logprobs-tokens"
TEMPO = models.DataSourceRef(type_val="tempo", uid="${datasource}")
CALL = (
    f'resource.service.name =~ "$service" && span.{names.REQUEST_MODEL} =~ "$model"'
    f" && span.{names.RESPONSE_CONFIDENCE} != nil"
)
"""A call with a number: another instrumentation's span or the package's own."""
# By attribute and not by name: with `openinference` token spans are named after their tokens.
# Times 1.0: to Tempo a probability is a float, and no float is below an integer such as 1.
DOUBTFUL = f"span.{names.TOKEN_PROBABILITY} < 1.0 * $below"
TOKENS = f"{{ {CALL} }} > {{ {DOUBTFUL} }}"
SHOWN_OF_TOKEN = (
    names.TOKEN_TEXT,
    names.TOKEN_PROBABILITY,
    names.TOKEN_LOG_ODDS,
    names.TOKEN_ENTROPY,
    names.TOKEN_RANK,
    names.TOKEN_INDEX,
    names.TOKEN_CHANNEL,
)
SHOWN_OF_CALL = (
    names.REQUEST_MODEL,
    names.RESPONSE_CONFIDENCE,
    names.LOGPROB_MIN,
    names.SURPRISAL_TAIL,
    names.WINDOW_LOWEST,
    names.TOKENS_LOW,
    names.TOKENS_COUNT,
    names.OUTCOME,
    names.RUN_ID,
)
NOTE = """
Numbers are sent by default, text is not: the column with the token's text is filled where
`capture_content` is on. A click on a trace shows the whole call, token by token.
"""


def build() -> models.Dashboard:
    """The dashboard."""
    board = (
        dashboard.Dashboard("LLM tokens in doubt")
        .uid(UID)
        .description("Which words were guesses, and in which calls. From langchain_logprobs.")
        .tags(["langchain-logprobs", "llm"])
        .editable()
        .time("now-1h", "now")
        .timezone("browser")
        .with_panel(
            text.Panel().title("").content(NOTE.strip()).transparent(True).span(24).height(2)
        )
        .with_panel(
            _spans(
                "The doubtful tokens",
                "Tokens the model gave less than the probability chosen above.",
                f"{TOKENS} | select({_selected(SHOWN_OF_TOKEN)})",
            )
        )
        .with_panel(
            _spans(
                "The calls it was not sure of",
                "Responses under low_response; the least certain token and the worst tenth beside.",
                f"{{ {CALL} && span.{names.RESPONSE_LOW} = true }}"
                f" | select({_selected(SHOWN_OF_CALL)})",
            )
        )
        .with_panel(
            _lines(
                "Confidence of sampled calls",
                "Mean and lowest, by model. The Confidence dashboard counts every call, sampled "
                "or not. Tempo 2 needs its local-blocks processor for this.",
                # Not quantiles: Tempo's buckets are powers of two from 2 on, and no probability
                # falls into one.
                *(
                    f"{{ {CALL} }} | {function}(span.{names.RESPONSE_CONFIDENCE})"
                    f" by (span.{names.REQUEST_MODEL})"
                    for function in ("avg_over_time", "min_over_time")
                ),
            ).max(1)
        )
        .with_panel(
            _lines(
                "Doubtful tokens a second",
                "Of sampled calls, by channel of the answer. Tempo 2 needs its local-blocks "
                "processor for this.",
                f"{TOKENS} | rate() by (span.{names.TOKEN_CHANNEL})",
            )
        )
    )
    for variable in _variables():
        board.with_variable(variable)
    return board.build()


def _spans(title: str, about: str, query: str) -> table.Panel:
    target = (
        tempo.TempoQuery()
        .ref_id("A")
        .datasource(TEMPO)
        .query_type("traceql")
        .query(query)
        .limit(200)
        .spss(50)
        .table_type(queries.SearchTableType.SPANS)
    )
    return (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(TEMPO)
        .with_target(target)
        .span(24)
        .height(11)
    )


def _lines(title: str, about: str, *queries: str) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(TEMPO)
        .min(0)
        .span(12)
        .height(8)
    )
    for name, query in zip("AB", queries, strict=False):
        target = tempo.TempoQuery().ref_id(name).datasource(TEMPO).query_type("traceql")
        panel.with_target(target.query(query))
    return panel


def _selected(attributes: tuple[str, ...]) -> str:
    return ", ".join(f"span.{name}" for name in attributes)


def _variables() -> list[Builder[models.VariableModel]]:
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("tempo"),
        _choice("service", "Application", "service.name"),
        _choice("model", "Model", names.REQUEST_MODEL),
        dashboard.TextBoxVariable("below").label("Probability below").default_value("0.5"),
    ]


def _choice(name: str, label: str, tag: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(TEMPO)
        .query({"type": 1, "label": tag, "stream": "", "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )
