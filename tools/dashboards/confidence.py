"""The *Confidence* dashboard, for Prometheus and whatever speaks its language."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from langchain_logprobs.telemetry import names
from tools.dashboards import tokens
from tools.dashboards.panels import (
    ON_THE_RIGHT,
    PLAIN,
    PROMETHEUS,
    SHARE,
    lines,
    number,
    ranking,
    row,
    spread,
    stacked,
    with_last_week_dashed,
)
from tools.dashboards.promql import (
    JOB,
    LAST_WEEK,
    LOW,
    MEASURED,
    MODEL,
    REQUESTED,
    Over,
    label,
    selector,
    series,
)

UID = "langchain-logprobs-confidence"
BY_MODEL = "{{" + MODEL + "}}"
RESPONSE_MODEL = label(names.RESPONSE_MODEL)
EVERY = Over()
MODELS = Over(by=MODEL)
A_WEEK_AGO = Over(when=LAST_WEEK)
FIELDS = Over(by=names.METRIC_FIELD)
ANSWERED = series(names.RESPONSES) + selector(names.RESPONSES)
"""Every series of responses, for what asks only which there are."""
NEW_MODEL = (
    f'group by ({RESPONSE_MODEL}) ({ANSWERED[:-1]}, {RESPONSE_MODEL}!=""}}) '
    f"unless group by ({RESPONSE_MODEL}) (last_over_time({ANSWERED}[1d] offset 1h))"
)
"""The models that answer now, and in the day before the last hour did not."""


def build() -> models.Dashboard:
    """The dashboard."""
    board = (
        dashboard.Dashboard("LLM confidence")
        .uid(UID)
        .description("How sure the models are of what they answer. From langchain_logprobs.")
        .tags(["langchain-logprobs", "llm"])
        .editable()
        .time("now-24h", "now")
        .timezone("browser")
        .refresh("1m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_link())
        .annotation(_new_models())
    )
    for variable in _variables():
        board.with_variable(variable)
    _overview(board)
    _by_model(board)
    _where(board)
    _other_reasons(board)
    return board.build()


def _overview(board: dashboard.Dashboard) -> None:
    board.with_row(row("Is it as sure as it was?"))
    board.with_panel(
        number(
            "Low-confidence rate",
            "Of the responses with a number, the share under low_response (0.7 by default).",
            SHARE,
            EVERY.share(names.RESPONSES, LOW, MEASURED),
        )
    )
    board.with_panel(
        number(
            "Median uncertainty",
            "1 - the geometric mean probability of a response's tokens, in the middle response.",
            SHARE,
            EVERY.quantile(0.5, names.UNCERTAINTY),
        )
    )
    board.with_panel(
        number(
            "Responses a minute",
            "With and without a number.",
            PLAIN,
            f"60 * {EVERY.rate(names.RESPONSES)}",
        )
    )
    board.with_panel(
        number(
            "With a number",
            "Of the responses whose model was asked for logprobs, the share that has a confidence.",
            SHARE,
            EVERY.share(names.RESPONSES, MEASURED, REQUESTED),
        )
    )
    board.with_panel(
        with_last_week_dashed(
            lines(
                "Low-confidence rate, and last week's",
                "The same hour a week before, dashed. Above it: less sure than it was.",
                SHARE,
                {
                    "now": EVERY.share(names.RESPONSES, LOW, MEASURED),
                    "a week before": A_WEEK_AGO.share(names.RESPONSES, LOW, MEASURED),
                },
            ),
            "a week before",
        )
    )
    band = Over(by=names.METRIC_CONFIDENCE)
    board.with_panel(
        stacked(
            "Responses by confidence",
            "Responses a minute: sure enough, low, and those without a number.",
            PLAIN,
            {"{{" + names.METRIC_CONFIDENCE + "}}": f"60 * {band.rate(names.RESPONSES)}"},
        )
    )


def _by_model(board: dashboard.Dashboard) -> None:
    board.with_row(row("Which model?"))
    board.with_panel(_middle_and_worst("Uncertainty", names.UNCERTAINTY, SHARE))
    board.with_panel(_middle_and_worst("Surprisal", names.SURPRISAL, PLAIN, "Nats a token. "))
    board.with_panel(
        _middle_and_worst(
            "Entropy",
            names.ENTROPY,
            PLAIN,
            "Nats a token: how spread its choices were. Only where top_logprobs is asked for. ",
        )
    )
    board.with_panel(
        lines(
            "Low-confidence rate by model",
            "Of each model's responses with a number.",
            SHARE,
            {BY_MODEL: MODELS.share(names.RESPONSES, LOW, MEASURED)},
        )
    )
    board.with_panel(
        spread(
            "Uncertainty, every response",
            "Each point is an exemplar: a click leads to its trace.",
            SHARE,
            Over(by="le", window="$__rate_interval").rate(names.UNCERTAINTY, end="_bucket"),
        )
    )


def _where(board: dashboard.Dashboard) -> None:
    board.with_row(row("Where in the answer, where in the chain?"))
    board.with_panel(
        ranking(
            "Least certain fields",
            "Mean uncertainty of JSON fields and tool arguments, of those in metric_fields.",
            SHARE,
            f"sort_desc(topk(15, {FIELDS.mean(names.FIELD_UNCERTAINTY)}))",
            "{{" + names.METRIC_FIELD + "}}",
        ).no_value("No field: metric_fields names those to measure.")
    )
    board.with_panel(
        lines(
            "Least certain token, least certain call",
            "Surprisal of the least certain token of a response in nats, by model; and, on the "
            "right, the uncertainty of the weakest call of a chain.",
            PLAIN,
            {
                f"{BY_MODEL}: worst token, median": MODELS.quantile(0.5, names.SURPRISAL_MAX),
                "chain: weakest call, median": EVERY.quantile(0.5, names.CHAIN_UNCERTAINTY),
                "chain: weakest call, p95": EVERY.quantile(0.95, names.CHAIN_UNCERTAINTY),
            },
        ).override_by_regexp("/^chain/", ON_THE_RIGHT)
    )


def _other_reasons(board: dashboard.Dashboard) -> None:
    band, result = Over(by=names.METRIC_BAND), Over(by=names.METRIC_RESULT)
    reason = Over(by=names.METRIC_REASON)
    board.with_row(row("Before you blame the model"))
    board.with_panel(
        _middle_and_worst(
            "Length",
            names.LENGTH,
            PLAIN,
            "Tokens. Longer answers are less certain: a new prompt can move confidence alone. ",
            width=12,
        )
    )
    board.with_panel(
        stacked(
            "Tokens by probability",
            "Tokens a second: high from 0.9, low under low_token (0.5 by default).",
            PLAIN,
            {"{{" + names.METRIC_BAND + "}}": band.rate(names.TOKENS)},
        )
    )
    board.with_panel(
        lines(
            "Responses without a number, by reason",
            "A minute. not_requested is harmless; not_sent and dropped_by_langchain are not.",
            PLAIN,
            {
                "{{" + names.METRIC_REASON + "}}": "60 * "
                + reason.rate(names.RESPONSES, f'{names.METRIC_CONFIDENCE}="unavailable"')
            },
            width=8,
        ).no_value("none")
    )
    board.with_panel(
        stacked(
            "Token spans",
            "A second, by what became of them. Lost: the exporter does not keep up. "
            "Unsent: of those emitted, what our exporter had to give up.",
            PLAIN,
            {"{{" + names.METRIC_RESULT + "}}": result.rate(names.TOKEN_SPANS)},
            width=8,
        )
    )
    board.with_panel(
        lines(
            "Errors kept from the application",
            "A minute, by where they arose. The first of each kind is in the application's log.",
            PLAIN,
            {
                "{{" + names.METRIC_WHERE + "}}": "60 * "
                + Over(by=names.METRIC_WHERE).rate(names.ERRORS)
            },
            width=8,
        ).no_value("none")
    )


def _middle_and_worst(
    title: str, histogram: names.Instrument, unit: str, about: str = "", *, width: int = 8
) -> timeseries.Panel:
    return lines(
        f"{title} by model",
        f"{about}Median and 95th percentile of the responses; the points lead to traces.",
        unit,
        {
            f"{BY_MODEL}, median": MODELS.quantile(0.5, histogram),
            f"{BY_MODEL}, p95": MODELS.quantile(0.95, histogram),
        },
        width=width,
        exemplars=True,
    )


def _variables() -> list[Builder[models.VariableModel]]:
    known = f"label_values({series(names.RESPONSES)}"
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("job", "Application", f"{known}, {JOB})"),
        _choice("model", "Model", f'{known}{{{JOB}=~"$job"}}, {MODEL})'),
        dashboard.IntervalVariable("window")
        .label("Averaged over")
        .values("5m,15m,1h,6h,1d")
        .current(models.VariableOption(text="1h", value="1h", selected=True)),
    ]


def _choice(name: str, text: str, query: str) -> dashboard.QueryVariable:
    every = models.VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard.QueryVariable(name)
        .label(text)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": name, "qryType": 5})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
    )


def _new_models() -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("New model")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("purple")
        .expr(NEW_MODEL)
    )


def _link() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("The doubtful tokens")
        .type(models.DashboardLinkType.LINK)
        .icon("bolt")
        .tooltip("Word by word, in the traces")
        .url(f"/d/{tokens.UID}")
        .keep_time(True)
    )
