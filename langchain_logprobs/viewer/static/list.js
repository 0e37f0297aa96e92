// The list of runs: as long as the store, but only what is in sight is in the page.
import { ask, duration, el, meter, oneLine, problem, safe, when } from "./dom.js";
import { showTrend } from "./trend.js";

const FILTERS = ["model", "node", "outcome", "since", "low", "under", "text", "sort"];
const SORTS = {
  newest: "newest first", oldest: "oldest first", least: "least sure first",
  most: "surest first", longest: "longest first", slowest: "slowest first",
};
const SINCE = { "": "any time", 3600: "the last hour", 86400: "the last day", 604800: "the last week", 2592000: "the last 30 days" };
const PAGE = 200;
const CHART_MS = 5000;

export async function showList(main, wanted, { go, isCurrent }) {
  const filters = Object.fromEntries(FILTERS.filter((of) => wanted.get(of)).map((of) => [of, wanted.get(of)]));
  const known = await ask("choices");
  if (!isCurrent()) return null;
  const list = new List(filters, known.seq);
  const fresh = el("button", { class: "fresh", hidden: true, onclick: () => follow() });
  const trend = el("section", { class: "trend", "aria-label": "Confidence over time" });
  let drawn = Date.now();
  const follow = async () => {
    fresh.hidden = true;
    list.upTo = (await ask("choices")).seq;
    await list.reload();
    // The chart reads every run there is: not twice a second.
    if (Date.now() - drawn < CHART_MS) return;
    drawn = Date.now();
    chart.reload();
  };
  main.replaceChildren(filterBar(filters, known, go), trend, el("div", { class: "count-line" }, list.count, fresh), list.head(), list.box);
  const chart = showTrend(trend, filters);
  await list.reload();
  return {
    close: () => (list.close(), chart.close()),
    heard: async (seq) => {
      if (list.box.scrollTop === 0 && (filters.sort ?? "newest") === "newest") return follow();
      const { total } = await ask("runs", { ...filters, up_to: seq, offset: 0 });
      if (total > list.total) {
        fresh.textContent = `${total - list.total} new: show`;
        fresh.hidden = false;
      }
    },
  };
}

function filterBar(filters, known, go) {
  const changed = (name) => (event) => go({ [name]: event.target.type === "checkbox" ? (event.target.checked ? "1" : "") : event.target.value });
  const select = (name, label, choices) =>
    el("label", {}, label, el("select", { name, onchange: changed(name) },
      ...Object.entries(choices).map(([value, text]) =>
        el("option", { value, selected: value === (filters[name] ?? (name === "sort" ? "newest" : "")) }, safe(text)))));
  const each = (values) => Object.fromEntries([["", "all"], ...values.map((of) => [of, of])]);
  const search = el("input", { type: "search", name: "text", value: filters.text, placeholder: "in the answer", onchange: changed("text") });
  return el(
    "form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => (event.preventDefault(), go({ text: search.value })) },
    select("model", "Model", each(known.models)),
    known.nodes.length ? select("node", "Node", each(known.nodes)) : null,
    select("outcome", "Outcome", each(["ok", "error", "cancelled", "abandoned"])),
    select("since", "Since", SINCE),
    el("label", {}, "Under", el("input", { type: "number", name: "under", min: 0, max: 1, step: 0.05, value: filters.under, placeholder: "1.00", onchange: changed("under") })),
    el("label", {}, "Text", search),
    select("sort", "Order", SORTS),
    el("label", { class: "check" }, el("input", { type: "checkbox", name: "low", checked: Boolean(filters.low), onchange: changed("low") }), "unsure only"),
    Object.keys(filters).length ? el("a", { href: "./", "data-go": "" }, "clear") : null,
  );
}

class List {
  constructor(filters, upTo) {
    Object.assign(this, { filters, upTo, total: 0, pages: new Map(), asked: new Set() });
    this.count = el("span", { role: "status" });
    this.inner = el("div", { class: "inner", role: "list" });
    this.box = el("div", { class: "list", tabindex: "-1" }, this.inner);
    this.box.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.resized = new ResizeObserver(() => this.draw(true));
    this.resized.observe(this.box);
  }

  head() {
    return el("div", { class: "row head", "aria-hidden": "true" },
      ...["ended", "model", "confidence", "tokens", "took", "answer"].map((of) => el("span", { class: of }, of)));
  }

  close() {
    this.closed = true;
    this.resized.disconnect();
  }

  /** Reads the list anew; what is in the page stays until there is something to show instead. */
  async reload() {
    this.asked = new Set();
    await this.load(0, new Map());
    this.draw(true);
  }

  async load(page, pages = this.pages) {
    const { asked } = this;
    if (asked.has(page) || this.closed) return;
    asked.add(page);
    try {
      const got = await ask("runs", { ...this.filters, up_to: this.upTo, offset: page * PAGE });
      if (asked !== this.asked) return; // the list was read anew meanwhile
      this.pages = pages.set(page, got.runs);
      this.total = got.total;
      this.count.textContent = this.total === 1 ? "1 run" : `${this.total.toLocaleString()} runs`;
    } catch (error) {
      asked.delete(page);
      problem(error.message);
    }
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Puts what is in sight, and a screen around it, into the page. */
  draw(anew = false) {
    if (this.closed) return;
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
    this.inner.style.height = `${this.total * height}px`;
    const around = Math.ceil(this.box.clientHeight / height);
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - around);
    const last = Math.min(this.total, first + 3 * around);
    if (!anew && first === this.first && last === this.last && this.whole) return;
    Object.assign(this, { first, last, whole: true });
    const focused = this.inner.contains(document.activeElement) ? document.activeElement : null;
    const rows = [];
    for (let index = first; index < last; index++) {
      const run = this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
      const row = run ? this.row(run, index) : el("div", { class: "row waiting", tabindex: "-1", "data-index": index }, "…");
      if (!run) this.fetch(Math.floor(index / PAGE));
      row.style.transform = `translateY(${index * height}px)`;
      rows.push(row);
    }
    if (!this.total) rows.push(el("p", { class: "empty" }, "No runs here yet. They appear as soon as an application with a Store() calls a model; ", el("code", {}, "langchain-logprobs demo"), " makes some."));
    this.inner.replaceChildren(...rows);
    if (focused) this.refocus(focused, rows);
  }

  /** The run that had the focus keeps it, wherever it is now; its place does, if it is there no more. */
  refocus({ href, dataset }, rows) {
    const same = href && rows.find((row) => row.href === href);
    (same || rows.find((row) => row.dataset.index === dataset.index))?.focus({ preventScroll: true });
  }

  async fetch(page) {
    this.whole = false;
    // Whoever flies past a page does not need it.
    clearTimeout(this.waiting);
    this.waiting = setTimeout(async () => {
      const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
      const from = Math.floor(this.first / PAGE);
      const to = Math.floor(Math.max(this.last - 1, 0) / PAGE);
      for (let of = from; of <= to; of++) await this.load(of);
      if (height) this.draw(true);
    }, 60);
  }

  row(run, index) {
    const low = run.low === true;
    return el(
      "a", {
        class: `row${low ? " unsure" : ""}`, href: `?run=${encodeURIComponent(run.run_id)}`, "data-go": "", "data-index": index,
        role: "listitem", "aria-setsize": this.total, "aria-posinset": index + 1,
      },
      el("span", { class: "ended" }, when(run.ended_ns)),
      el("span", { class: "model" }, safe(run.model ?? "–")),
      el("span", { class: "confidence" }, run.confidence === null ? el("span", { class: "dim" }, run.unavailable ?? run.outcome) : meter(run.confidence, low)),
      el("span", { class: "tokens" }, run.tokens.toLocaleString()),
      el("span", { class: "took" }, duration(run.ended_ns - run.started_ns)),
      el("span", { class: "answer", dir: "auto" },
        run.outcome === "ok" ? null : el("span", { class: "tag" }, run.outcome),
        run.node ? el("span", { class: "tag" }, safe(run.node)) : null,
        oneLine(run.text) || "no text"),
    );
  }

  key(event) {
    const at = Number(event.target.dataset?.index);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (Number.isNaN(at) || !step) return;
    event.preventDefault();
    const to = Math.min(Math.max(at + step, 0), this.total - 1);
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
    if (to * height < this.box.scrollTop) this.box.scrollTop = to * height;
    if ((to + 1) * height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = (to + 1) * height - this.box.clientHeight;
    this.draw(true);
    this.inner.querySelector(`[data-index="${to}"]`)?.focus({ preventScroll: true });
  }
}
