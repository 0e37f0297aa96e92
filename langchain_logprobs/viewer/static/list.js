// The list of runs: as long as the store, but only what is in sight is in the page.
import { ask, duration, el, meter, oneLine, problem, safe, when } from "./dom.js";
import { FILTERS } from "./filters.js";
import { showTrend } from "./trend.js";

const PAGE = 200;
const CHART_MS = 5000;
const RETRY_MS = 2000;

export async function showList(wanted, { put, filters: bar, place }) {
  const filters = Object.fromEntries(FILTERS.filter((of) => wanted.get(of)).map((of) => [of, wanted.get(of)]));
  const isNewest = (filters.sort ?? "newest") === "newest";
  const known = await ask("choices");
  const list = new List(filters);
  const fresh = el("button", { class: "fresh", hidden: true, onclick: () => {
    if (isNewest) list.box.scrollTop = 0;
    follow().catch((error) => problem(error.message, "list"));
  } });
  const trend = el("section", { class: "trend", "aria-label": "Confidence over time", hidden: true });
  if (!put(bar.form, trend, el("div", { class: "count-line" }, list.count, fresh), list.head(), list.box)) return null;
  bar.set(filters, known);
  const chart = showTrend(trend, filters);
  let heard = known.seq;
  let drawn = Date.now();
  const follow = async () => {
    fresh.hidden = true;
    await list.reload(heard);
    // The chart reads every run there is: not twice a second.
    if (Date.now() - drawn < CHART_MS) return;
    drawn = Date.now();
    chart.reload();
    bar.set(filters, await ask("choices"));
  };
  const tell = async () => {
    const upTo = heard;
    const { total } = await ask("runs", { ...filters, up_to: upTo, offset: 0 });
    const more = total - list.known.total;
    if (upTo !== heard || more <= 0 || list.closed) return; // more has come meanwhile
    fresh.textContent = `${more.toLocaleString()} new: show`;
    fresh.hidden = false;
  };
  // Whoever comes back finds the list as it was left.
  const isSame = place?.top > 0 && place.upTo <= known.seq;
  await list.reload(isSame ? place.upTo : known.seq);
  if (place) list.restore(place);
  if (isSame && place.upTo < known.seq) tell().catch(() => {});
  return {
    close: () => (list.close(), chart.close()),
    place: () => list.place(),
    focus: () => list.focus(place?.index ?? 0),
    heard: (seq) => {
      heard = seq;
      return isNewest && list.box.scrollTop === 0 ? follow() : tell();
    },
  };
}

/** One reading of the list, up to one moment: its pages are of one piece, whatever is written meanwhile. */
const reading = (upTo) => ({ upTo, total: 0, pages: new Map(), asked: new Set() });

class List {
  constructor(filters) {
    Object.assign(this, { filters, known: reading(0), current: 0 });
    this.count = el("span", { role: "status" });
    this.inner = el("div", { class: "inner", role: "list" });
    this.box = el("div", { class: "list", tabindex: "-1" }, this.inner);
    this.box.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focusin", ({ target }) => this.stand(target));
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
    clearTimeout(this.waiting);
    problem(null, "list");
  }

  /** Where somebody is in the list, and `restore` brings them back to. */
  place() {
    return { top: this.box.scrollTop, index: this.current, upTo: this.known.upTo };
  }

  restore({ top, index }) {
    this.current = index;
    this.box.scrollTop = top;
    this.draw(true);
  }

  focus(index) {
    this.inner.querySelector(`[data-index="${index}"]`)?.focus({ preventScroll: true });
  }

  /** Reads the list anew; what is in the page stays until there is something to show instead. */
  async reload(upTo) {
    const anew = (this.latest = reading(upTo));
    const isLatest = () => this.latest === anew && !this.closed; // else a later one is on its way
    const failed = await this.load(0, anew);
    if (!isLatest()) return;
    if (failed) {
      if (!failed.isFinal) setTimeout(() => isLatest() && this.reload(upTo), RETRY_MS);
      return;
    }
    this.known = anew;
    this.draw(true);
  }

  /** Reads a page; what went wrong, if something did. */
  async load(page, into) {
    if (into.asked.has(page) || this.closed) return null;
    into.asked.add(page);
    try {
      const got = await ask("runs", { ...this.filters, up_to: into.upTo, offset: page * PAGE });
      into.pages.set(page, got.runs);
      into.total = got.total;
      if (!this.closed) problem(null, "list");
      return null;
    } catch (error) {
      if (!this.closed) problem(error.message, "list");
      setTimeout(() => (into.asked.delete(page), this.schedule()), RETRY_MS);
      return error;
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
    if (!total) rows.push(this.nothing());
    this.inner.replaceChildren(...rows);
    this.stand(rows.find((row) => row.dataset.index === String(this.current)) ?? rows[Math.min(around, rows.length - 1)]);
    if (focused) this.refocus(focused, rows);
  }

  nothing() {
    const isAll = Object.keys(this.filters).every((of) => of === "sort");
    if (!isAll) return el("p", { class: "empty" }, "No run is as the filters ask. ", el("a", { href: "./", "data-go": "" }, "Show all"));
    return el("p", { class: "empty" }, "No runs here yet. They appear as soon as an application with a Store() calls a model; ", el("code", {}, "langchain-logprobs demo"), " makes some.");
  }

  /** The row that Tab leads to: one of them, or it would take a hundred thousand to leave the list. */
  stand(row) {
    if (!row?.dataset.index) return;
    this.inner.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    row.setAttribute("tabindex", "0");
    if (row.contains(document.activeElement)) this.current = Number(row.dataset.index);
  }

  /** The run that had the focus keeps it, wherever it is now; else its place does, else the list. */
  refocus({ href, dataset }, rows) {
    const same = href && rows.find((row) => row.href === href);
    (same || rows.find((row) => row.dataset.index === dataset.index) || this.box).focus({ preventScroll: true });
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
        class: `row${low ? " unsure" : ""}`, href: `?run=${encodeURIComponent(run.run_id)}`, "data-go": "", "data-index": index, tabindex: "-1",
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
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (Number.isNaN(at) || !step) return;
    event.preventDefault();
    const to = Math.min(Math.max(at + step, 0), this.known.total - 1);
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 36;
    if (to * height < this.box.scrollTop) this.box.scrollTop = to * height;
    if ((to + 1) * height > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = (to + 1) * height - this.box.clientHeight;
    this.draw(true);
    this.focus(to);
  }
}
