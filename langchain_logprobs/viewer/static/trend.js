// Confidence over time: the median of each model, and its middle half as a band.
import { ask, el, safe, ticks, when } from "./dom.js";

// Okabe and Ito's colours, told apart by every kind of eye; dashes and marks tell them apart as well.
const ON_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const ON_DARK = ["#56b4e9", "#e69f00", "#00b283", "#cc79a7", "#f0e442", "#d55e00"];
const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 5], [1, 5]];

export function showTrend(box, filters) {
  let chart = null;
  const draw = async () => {
    const { sort, ...rest } = filters;
    const buckets = await ask("trend", rest).catch(() => []);
    chart?.destroy();
    chart = null;
    const models = [...new Set(buckets.map((of) => of.model))].slice(0, DASHES.length);
    const times = [...new Set(buckets.map((of) => of.start_ns))].sort((a, b) => a - b);
    box.replaceChildren();
    box.hidden = times.length < 2;
    if (box.hidden) return;
    box.append(el("h2", {}, "Confidence over time ", el("small", { class: "dim" }, "median and middle half, by model")));
    chart = new uPlot(options(models, box.clientWidth), data(models, times, buckets), box);
  };
  const resized = new ResizeObserver(() => chart?.setSize({ width: box.clientWidth, height: 170 }));
  resized.observe(box);
  addEventListener("themechange", draw);
  draw();
  return { reload: draw, close: () => (removeEventListener("themechange", draw), resized.disconnect(), chart?.destroy()) };
}

function data(models, times, buckets) {
  const at = new Map(buckets.map((of) => [`${of.start_ns} ${of.model}`, of]));
  const rows = [times.map((ns) => ns / 1e9)];
  for (const model of models)
    for (const quantile of [2, 1, 3])
      rows.push(times.map((ns) => at.get(`${ns} ${model}`)?.quantiles[quantile] ?? null));
  return rows;
}

function options(models, width) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--dim").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  const colours = style.colorScheme === "dark" ? ON_DARK : ON_LIGHT;
  const series = [{ label: "Time", value: (_, at) => (at === null ? "–" : when(at * 1e9)) }];
  const bands = [];
  models.forEach((model, index) => {
    const colour = colours[index];
    const shared = { spanGaps: true, points: { show: true, size: 5 } };
    series.push({ ...shared, label: safe(model ?? "unknown model"), stroke: colour, width: 2, dash: DASHES[index], value: (_, v) => (v === null ? "–" : v.toFixed(2)) });
    for (const label of ["from", "to"])
      series.push({ spanGaps: true, label, stroke: "transparent", points: { show: false }, value: (_, v) => (v === null ? "–" : v.toFixed(2)) });
    bands.push({ series: [3 * index + 3, 3 * index + 2], fill: `${colour}2e` });
  });
  return {
    width, height: 170, series, bands,
    scales: { y: { range: [0, 1] } },
    axes: [{ ...axis, space: 90, values: (chart, splits) => ticks(splits, chart.scales.x.max - chart.scales.x.min) }, { ...axis, size: 44, values: (_, ticks) => ticks.map((of) => of.toFixed(1)) }],
    cursor: { drag: { x: false, y: false } },
  };
}
