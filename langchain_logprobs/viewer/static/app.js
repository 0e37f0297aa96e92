// What is shown stands in the address: filters and the run that is open.
import { $, ask, el, problem } from "./dom.js";
import { makeFilters } from "./filters.js";
import { showList } from "./list.js";
import { showRun } from "./run.js";

const state = { seq: null, tree: null, opened: null, shown: null, failed: false };
const places = new Map(); // where one was in a view, by its entry in the history
const filters = makeFilters(go);

function go(changes) {
  const wanted = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value) wanted.set(key, value);
    else wanted.delete(key);
  }
  const query = wanted.toString();
  return visit(query ? `?${query}` : "./");
}

function visit(address) {
  // Enter in a field is a change and a submission: one step back must undo both.
  const isNew = new URL(address, location.href).href !== location.href;
  if (isNew) history.pushState({ entry: crypto.randomUUID() }, "", address);
  return open();
}

async function open() {
  const mine = (state.opened = {});
  const isCurrent = () => state.opened === mine;
  const { seq, tree, shown: before } = state;
  if (before?.place) places.set(before.entry, before.place());
  const entry = history.state?.entry ?? "";
  const main = $("main");
  main.setAttribute("aria-busy", "true");

  /** Puts this view in the place of the former; not if another was asked for meanwhile. */
  const put = (...children) => {
    if (!isCurrent()) return false;
    state.shown?.close();
    state.shown = null;
    state.failed = false;
    problem();
    $("pop").hidden = true;
    document.title = "langchain_logprobs";
    replace(main, children);
    main.removeAttribute("aria-busy");
    return true;
  };
  try {
    const wanted = new URLSearchParams(location.search);
    const view = wanted.get("run") ? showRun : showList;
    const shown = await view(wanted, { put, isCurrent, filters, place: places.get(entry) });
    if (!isCurrent()) return shown?.close();
    state.shown = { ...shown, entry };
    if (before && document.activeElement === document.body) shown.focus?.();
  } catch (error) {
    if (!put(el("p", {}, el("a", { href: "./", "data-go": "", class: "back" }, "← all runs")), el("button", { onclick: open }, "Try again"))) return;
    problem(error.message);
    state.failed = true;
  }
  document.documentElement.dataset.ready = "true";
  // What was told while the view was on its way, nobody heard.
  if (state.seq !== seq || state.tree !== tree) hear();
}

/** Puts the children into an element; the first stays if it is there, and with it the focus in it. */
function replace(main, [first, ...rest]) {
  if (main.firstChild !== first) return main.replaceChildren(first, ...rest);
  while (first.nextSibling) first.nextSibling.remove();
  first.after(...rest);
}

async function hear() {
  try {
    await state.shown?.heard?.(state.seq);
  } catch (error) {
    problem(error.message, "live");
  }
}

function listen() {
  const events = new EventSource("api/live");
  events.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    $("live").textContent = told.error ? "store unreadable" : "● live";
    problem(told.error, "live");
    if (told.error) return;
    const isNew = state.seq !== null && (told.seq !== state.seq || told.tree !== state.tree);
    Object.assign(state, told);
    if (state.failed) open(); // perhaps it can be had now
    else if (isNew) hear();
  };
  events.onerror = () => {
    $("live").textContent = "○ not connected";
    if (events.readyState === EventSource.CLOSED) problem("This is no longer the viewer's address: open the one it printed when it was started.", "live");
  };
  addEventListener("pagehide", () => events.close(), { once: true });
  addEventListener("pageshow", ({ persisted }) => persisted && listen(), { once: true });
}

function theme() {
  const select = $("theme");
  const apply = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    dispatchEvent(new Event("themechange"));
  };
  select.value = localStorage.getItem("theme") ?? "";
  apply(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem("theme", select.value);
    apply(select.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
}

addEventListener("popstate", open);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-go]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  visit(link.getAttribute("href"));
});

theme();
$("home").dataset.go = "";
// Asked before anything is shown: whatever is written from here on is heard of.
await ask("choices").then(
  ({ path, seq, tree, dropped }) => {
    $("store").textContent = $("store").title = path;
    Object.assign(state, { seq, tree });
    if (dropped) state.dropped = `${dropped} reports were dropped: writing could not keep up.`;
  },
  () => {}, // the view asks too, and says it
);
await open();
if (state.dropped) problem(state.dropped);
listen();
