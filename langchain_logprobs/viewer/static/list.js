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
const RETRY_MS = 2000;

export async function showList(main, wanted, { go, isCurrent }) {
  const filters = Object.fromEntries(FILTERS.filter((of) => wanted.get(of)).map((of) => [of, wanted.get(of)]));
  const known = await ask("choices");
  if (!isCurrent()) return null;
  const list = new List(filters);
  const fresh = el("button", { class: "fresh", hidden: true, onclick: () => follow() });
  const trend = el("section", { class: "trend", "aria-label": "Confidence over time" });
  let drawn = Date.now();
  const follow = async () => {
    fresh.hidden = true;
    await list.reload((await ask("choices")).seq);
    // The chart reads every run there is: not twice a second.
    if (Date.now() - drawn < CHART_MS) return;
    drawn = Date.now();
    chart.reload();
  };
  main.replaceChildren(filterBar(filters, known, go), trend, el("div", { class: "count-line" }, list.count, fresh), list.head(), list.box);
  const chart = showTrend(trend, filters);
  await list.reload(known.seq);
  return {
    close: () => (list.close(), chart.close()),
    heard: async (seq) => {
      if (list.box.scrollTop === 0 && (filters.sort ?? "newest") === "newest") return follow();
      const { total } = await ask("runs", { ...filters, up_to: seq, offset: 0 });
      const more = total - list.known.total;
      if (more > 0) {
        fresh.textContent = `${more} new: show`;
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

/** One reading of the list, up to one moment: its pages are of one piece, whatever is written meanwhile. */
const reading = (upTo) => ({ upTo, total: 0, pages: new Map(), asked: new Set() });

class List {
  constructor(filters) {
    Object.assign(this, { filters, known: reading(0) });
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
  async reload(upTo) {
    const anew = (this.latest = reading(upTo));
    await this.load(0, anew);
    if (this.latest !== anew || !anew.pages.has(0)) return; // a later one is on its way, or none could be had
    this.known = anew;
    this.draw(true);
  }

  async load(page, into = this.known) {
    if (into.asked.has(page) || this.closed) return;
    into.asked.add(page);
    try {
      const got = await ask("runs", { ...this.filters, up_to: into.upTo, offset: page * PAGE });
      into.pages.set(page, got.runs);
      into.total = got.total;
      if (this.failed) problem((this.failed = null));
    } catch (error) {
      this.failed = error;
      problem(error.message);
      setTimeout(() => (into.asked.delete(page), this.schedule()), RETRY_MS);
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
    const { pages, asked, total } = this.known;
    if (this.closed || !pages.size) return; // nothing is known yet, not even that there is nothing
    this.count.textContent = total === 1 ? "1 run" : `${total.toLocaleString()} runs`;
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
    this.inner.style.height = `${total * height}px`;
    const around = Math.ceil(this.box.clientHeight / height);
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - around);
    const last = Math.min(total, first + 3 * around);
    if (!anew && first === this.first && last === this.last && this.whole) return;
    Object.assign(this, { first, last, whole: true });
    const focused = this.inner.contains(document.activeElement) ? document.activeElement : null;
    const rows = [];
    for (let index = first; index < last; index++) {
      const run = pages.get(Math.floor(index / PAGE))?.[index % PAGE];
      const row = run ? this.row(run, index) : el("div", { class: "row waiting", tabindex: "-1", "data-index": index }, "…");
      this.whole &&= Boolean(run);
      if (!run && !asked.has(Math.floor(index / PAGE))) this.fetch();
      row.style.transform = `translateY(${index * height}px)`;
      rows.push(row);
    }
    if (!total) rows.push(el("p", { class: "empty" }, "No runs here yet. They appear as soon as an application with a Store() calls a model; ", el("code", {}, "langchain-logprobs demo"), " makes some."));
    this.inner.replaceChildren(...rows);
    if (focused) this.refocus(focused, rows);
  }

  /** The run that had the focus keeps it, wherever it is now; its place does, if it is there no more. */
  refocus({ href, dataset }, rows) {
    const same = href && rows.find((row) => row.href === href);
    (same || rows.find((row) => row.dataset.index === dataset.index))?.focus({ preventScroll: true });
  }

  /** Reads the pages in sight, a moment later: whoever flies past a page does not need it. */
  fetch() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(async () => {
      const { known } = this;
      const to = Math.floor(Math.max(this.last - 1, 0) / PAGE);
      for (let page = Math.floor(this.first / PAGE); page <= to; page++) await this.load(page, known);
      if (known === this.known) this.draw(true);
    }, 60);
  }

  row(run, index) {
    const low = run.low === true;
    return el(
      "a", {
        class: `row${low ? " unsure" : ""}`, href: `?run=${encodeURIComponent(run.run_id)}`, "data-go": "", "data-index": index,
        role: "listitem", "aria-setsize": this.known.total, "aria-posinset": index + 1,
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
    const to = Math.min(Math.max(at + step, 0), this.known.total - 1);
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
    if (to * height < this.box.scrollTop) this.box.scrollTop = to * height;
    if ((to + 1) * height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = (to + 1) * height - this.box.clientHeight;
    this.draw(true);
    this.inner.querySelector(`[data-index="${to}"]`)?.focus({ preventScroll: true });
  }
}
