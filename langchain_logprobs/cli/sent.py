"""What is sent of a call, spans and metrics, as something to look at in a terminal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.bar import Bar
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from langchain_logprobs.cli.render import (
    BARS,
    GAP,
    duration,
    heat_of,
    heat_style,
    number,
    quoted,
)
from langchain_logprobs.telemetry import names

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData
    from opentelemetry.sdk.trace import ReadableSpan


_GUIDES = ("├─ ", "└─ ")


def span_tree(
    spans: Iterable[ReadableSpan],
    *,
    expand: Callable[[ReadableSpan], bool] = lambda _: True,
    width: int = 32,
) -> Table:
    """The spans as a tree, with how long each took, and when within its trace.

    Args:
        spans: Finished spans, in any order; of one or more traces.
        expand: Whether a span's token spans are to be shown, and not only their number.
        width: Of the time line.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="ellipsis", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=width, no_wrap=True)
    known = sorted(spans, key=_start)
    children: dict[int | None, list[ReadableSpan]] = defaultdict(list)
    ids = {span.context.span_id for span in known}
    for span in known:
        parent = span.parent.span_id if span.parent and span.parent.span_id in ids else None
        children[parent].append(span)
    for root in children[None]:
        for label, shown in _branches(root, children, expand):
            table.add_row(label, *_timing(shown, root, width))
    return table


# Metrics


def metrics_table(data: MetricsData | None) -> Table:
    """Every instrument's points: how many, the mean, the extremes, and how they are distributed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=GAP)
    table.add_column(f"{names.SCOPE}.", no_wrap=True)
    for heading in ("count", "mean", "least", "most"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("spread", no_wrap=True)
    for metric in sorted(_metrics(data), key=lambda metric: metric.name):
        for point in metric.data.data_points:
            table.add_row(_point_label(metric, point.attributes), *_point(point))
    return table


# What they are made of


def _start(span: ReadableSpan) -> int:
    return span.start_time or 0


def _seconds(span: ReadableSpan) -> float:
    return ((span.end_time or _start(span)) - _start(span)) / 1e9


def _branches(
    span: ReadableSpan,
    children: Mapping[int | None, Sequence[ReadableSpan]],
    expand: Callable[[ReadableSpan], bool],
    lead: str = "",
    guide: str = "",
) -> Iterator[tuple[Text, ReadableSpan]]:
    """The lines of a span and of what is under it."""
    under = children.get(span.context.span_id, ())
    tokens = () if expand(span) else [child for child in under if child.name == names.TOKEN_SPAN]
    shown = [child for child in under if child not in tokens]
    label = Text().append(f"{lead}{guide}", "dim").append_text(_label(span))
    yield label.append(f"  +{len(tokens)} tokens" if tokens else "", "dim"), span
    lead += {"": "", "├─ ": "│  ", "└─ ": "   "}[guide]
    for child in shown:
        yield from _branches(child, children, expand, lead, _GUIDES[child is shown[-1]])


def _label(span: ReadableSpan) -> Text:
    attributes = span.attributes or {}
    if span.name == names.TOKEN_SPAN:
        return _token_label(attributes)
    text = Text().append(span.name, "bold")
    confidence = attributes.get(names.RESPONSE_CONFIDENCE)
    if isinstance(confidence, float):
        text.append("  confidence ", "dim")
        text.append(number(confidence), heat_of(confidence))
    return text


def _token_label(attributes: Mapping[str, object]) -> Text:
    value = attributes.get(names.TOKEN_PROBABILITY)
    text = attributes.get(names.TOKEN_TEXT)
    shown = f"{value:.0%}" if isinstance(value, float) else "?"
    told = quoted(text) if isinstance(text, str) else f"#{attributes.get(names.TOKEN_INDEX)}"
    style = heat_style(value if isinstance(value, float) else None)
    return Text(f"{names.TOKEN_SPAN} ").append(told, style).append(f" {shown}", "dim")


def _timing(span: ReadableSpan, root: ReadableSpan, width: int) -> Iterator[RenderableType]:
    begin = (_start(span) - _start(root)) / 1e9
    yield Text(duration(_seconds(span)), "cyan")
    total = max(_seconds(root), 1e-9)
    # At least a sliver, so that the shortest span is seen.
    end = max(begin + _seconds(span), begin + total / width / 4)
    yield Bar(total, min(begin, total), min(end, total), width=width, color="cyan")


def _metrics(data: MetricsData | None) -> Iterator[Metric]:
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _point_label(metric: Metric, attributes: Mapping[str, object] | None) -> Text:
    """The metric's name, its unit, and the attributes that not every GenAI metric has."""
    label = Text().append(metric.name.removeprefix(f"{names.SCOPE}."))
    unit = "" if metric.unit == "1" else (metric.unit or "").strip("{}")
    own = {key: value for key, value in (attributes or {}).items() if key[:7] != "gen_ai."}
    told = [f"{key}={value}" for key, value in sorted(own.items())] or [unit]
    return label.append(f" {', '.join(told)}", "dim")


def _point(point: object) -> Iterator[str]:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint  # noqa: PLC0415 - 0.2 s

    if isinstance(point, HistogramDataPoint):
        yield f"{point.count:,}"
        yield from (f"{value:.2f}" for value in (point.sum / point.count, point.min, point.max))
        yield _spread(point.bucket_counts)
    else:
        yield f"{getattr(point, 'value', 0):,}"


def _spread(counts: Sequence[int]) -> str:
    """The filled part of a histogram, as a row of bars."""
    filled = [index for index, count in enumerate(counts) if count]
    inner = counts[filled[0] : filled[-1] + 1]
    return "".join(BARS[math.ceil(7 * count / max(inner))] if count else " " for count in inner)
