"""Panels in the few styles the dashboards have, so that each is told by its title and queries."""

from __future__ import annotations

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as queries

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
SHARE = "percentunit"
PLAIN = "none"
COLOURS = {
    "ok": "green",
    "low": "orange",
    "unavailable": "text",
    "high": "green",
    "medium": "yellow",
    "missing": "text",
    "emitted": "green",
    "omitted": "blue",
    "unsampled": "text",
    "lost": "red",
    "unsent": "purple",
}
"""Colours of what a legend can say, the same in every panel."""

ON_THE_RIGHT = [
    models.DynamicConfigValue("unit", SHARE),
    models.DynamicConfigValue("custom.axisPlacement", "right"),
]
"""Of lines that are shares, in a panel that is of something else."""

Queries = dict[str, str]
"""Legend to PromQL."""


def number(title: str, about: str, unit: str, expression: str) -> stat.Panel:
    """One number, with its course behind it."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .unit(unit)
        .decimals(2 if unit != SHARE else 1)
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(expression, title, "A"))
        .span(6)
        .height(4)
    )


def lines(
    title: str,
    about: str,
    unit: str,
    expressions: Queries,
    *,
    width: int = 12,
    exemplars: bool = False,
) -> timeseries.Panel:
    """Lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(8)
        .show_points(shapes.VisibilityMode.NEVER)
        .span_nulls(3_600_000)
        .legend(_legend())
        .tooltip(_tooltip())
        .span(width)
        .height(8)
    )
    for name, (legend, expression) in zip("ABCDEFGH", expressions.items(), strict=False):
        panel.with_target(_target(expression, legend, name, exemplars=exemplars))
    return panel


def stacked(
    title: str, about: str, unit: str, expressions: Queries, *, width: int = 12
) -> timeseries.Panel:
    """Areas over time, each on top of the one before, in the colours of what they stand for."""
    panel = (
        lines(title, about, unit, expressions, width=width)
        .fill_opacity(45)
        .line_width(1)
        .stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    )
    for name, colour in COLOURS.items():
        panel.override_by_name(name, [_fixed(colour)])
    return panel


def ranking(title: str, about: str, unit: str, expression: str, legend: str) -> bargauge.Panel:
    """Bars, the longest first."""
    return (
        bargauge.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .max(1)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(expression, legend, "A", instant=True))
        .span(12)
        .height(8)
    )


def spread(title: str, about: str, unit: str, expression: str) -> heatmap.Panel:
    """How a histogram's buckets filled over time, with an exemplar's trace a click away."""
    target = _target(expression, "{{le}}", "A", exemplars=True)
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmaps.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
        )
        .exemplars_color("rgba(255,0,255,0.9)")
        .with_target(target.format(queries.PromQueryFormat.HEATMAP))
        .span(12)
        .height(8)
    )


def with_last_week_dashed(panel: timeseries.Panel, legend: str) -> timeseries.Panel:
    """The panel, with the line of that name told apart as a memory."""
    dashes = {"fill": "dash", "dash": [6, 6]}
    return panel.override_by_name(
        legend,
        [
            models.DynamicConfigValue("custom.lineStyle", dashes),
            models.DynamicConfigValue("custom.fillOpacity", 0),
            _fixed("text"),
        ],
    )


def row(title: str) -> dashboard.Row:
    """A heading."""
    return dashboard.Row(title)


def _target(
    expression: str, legend: str, name: str, *, exemplars: bool = False, instant: bool = False
) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(name)
    query = query.datasource(PROMETHEUS).editor_mode(queries.QueryEditorMode.CODE)
    query = query.instant() if instant else query.range()
    return query.exemplar(exemplars) if exemplars else query


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions()
        .mode(shapes.TooltipDisplayMode.MULTI)
        .sort(shapes.SortOrder.DESCENDING)
    )


def _fixed(colour: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
