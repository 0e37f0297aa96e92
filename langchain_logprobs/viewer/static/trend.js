// Confidence over time: the median of each model, and its middle half as a band.
import { ask, el, safe, ticks, when } from "./dom.js";

// Okabe and Ito's colours, told apart by every kind of eye; dashes and marks tell them apart as well.
const ON_LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const ON_DARK = ["#56b4e9", "#e69f00", "#00b283", "#cc79a7", "#f0e442", "#d55e00"];
const HEIGHT = 170;
const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 5], [1, 5]];

export function showTrend(box, filters) {
  let chart = null;
  let buckets = [];
  let closed = false;
  let asked = null;
  const draw = () => {
    chart?.destroy();
    chart = null;
    const models = mostUsed(buckets);
    const times = [...new Set(buckets.map((of) => of.start_ns))].sort((a, b) => a - b);
    box.replaceChildren();
    box.hidden = times.length < 2;
    if (box.hidden) return;
    const shown = models.slice(0, DASHES.length);
    const others = models.length - shown.length;
    const told = `median and middle half, by model${others ? `: the ${shown.length} of ${models.length} with the most runs` : ""}`;
    box.append(el("h2", {}, "Confidence over time ", el("small", { class: "dim" }, told)));
    chart = new uPlot(options(shown, box.clientWidth), data(shown, times, buckets), box);
    box.querySelectorAll(".u-series:not(.edge) .u-marker").forEach((of, index) => of.replaceWith(index ? key(chart.series[3 * index - 2]) : ""));
  };
  const reload = async () => {
    const mine = (asked = {});
    const { sort, ...rest } = filters;
    // Without an answer the old one stays; the list beside it says what is wrong.
    const got = await ask("trend", rest).catch(() => null);
    if (!got || closed || asked !== mine) return;
    buckets = got;
    draw();
  };
  const resized = new ResizeObserver(() => chart?.setSize({ width: box.clientWidth, height: HEIGHT }));
  resized.observe(box);
  addEventListener("themechange", draw);
  reload();
  return { reload, close: () => ((closed = true), removeEventListener("themechange", draw), resized.disconnect(), chart?.destroy()) };
}

/** The models, those with the most runs first: only so many colours can be told apart. */
function mostUsed(buckets) {
  const runs = new Map();
  for (const { model, count } of buckets) runs.set(model, (runs.get(model) ?? 0) + count);
  return [...runs.keys()].sort((a, b) => runs.get(b) - runs.get(a) || String(a).localeCompare(String(b)));
}

/** The line as it is drawn, dashes and all: nobody need tell its colour from the others'. */
function key({ stroke, dash }) {
  const [picture, line] = ["svg", "line"].map((of) => document.createElementNS("http://www.w3.org/2000/svg", of));
  const attributes = { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 2, stroke: stroke(), "stroke-dasharray": dash.join(" ") || "none" };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  picture.setAttribute("class", "key");
  picture.setAttribute("aria-hidden", "true");
  picture.append(line);
  return picture;
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
  const inWords = (chart, v, of, at) => (v === null ? "–" : `${v.toFixed(2)} (${[of + 1, of + 2].map((its) => chart.data[its][at].toFixed(2)).join("–")})`);
  const bands = [];
  models.forEach((model, index) => {
    const colour = colours[index];
    const shared = { spanGaps: true, points: { show: true, size: 5 } };
    series.push({ ...shared, label: safe(model ?? "unknown model"), stroke: colour, width: 2, dash: DASHES[index], value: inWords });
    // The edges of the middle half stand in their model's figure, not beside it.
    for (const label of ["from", "to"])
      series.push({ spanGaps: true, label, class: "edge", stroke: "transparent", points: { show: false } });
    bands.push({ series: [3 * index + 3, 3 * index + 2], fill: `${colour}2e` });
  });
  return {
    width, height: HEIGHT, series, bands,
    scales: { y: { range: [0, 1] } },
    axes: [{ ...axis, size: 34, space: 90, values: (_, splits) => ticks(splits) }, { ...axis, size: 44, values: (_, ticks) => ticks.map((of) => of.toFixed(1)) }],
    cursor: { drag: { x: false, y: false } },
    // A model that is switched off in the legend goes with the edges of its middle half.
    hooks: { setSeries: [(chart, of, { show }) => of % 3 === 1 && show !== undefined && [of + 1, of + 2].forEach((edge) => chart.series[edge].show !== show && chart.setSeries(edge, { show }))] },
  };
}
