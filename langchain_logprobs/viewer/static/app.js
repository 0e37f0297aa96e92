// What is shown stands in the address: filters and the run that is open.
import { $, ask, problem } from "./dom.js";
import { showList } from "./list.js";
import { showRun } from "./run.js";

const state = { seq: null, tree: null, close: null };

export function parameters() {
  return new URLSearchParams(location.search);
}

export function go(changes, { replace = false } = {}) {
  const wanted = parameters();
  for (const [key, value] of Object.entries(changes)) {
    if (value) wanted.set(key, value);
    else wanted.delete(key);
  }
  const query = wanted.toString();
  history[replace ? "replaceState" : "pushState"](null, "", query ? `?${query}` : "./");
  return open();
}

async function open() {
  state.close?.();
  state.close = null;
  problem();
  $("pop").hidden = true;
  const wanted = parameters();
  const mine = (state.opened = {});
  try {
    const view = wanted.get("run") ? showRun : showList;
    const shown = await view($("main"), wanted, { go, isCurrent: () => state.opened === mine });
    if (state.opened === mine) state.close = shown?.close ?? null;
    if (state.opened === mine) state.heard = shown?.heard ?? null;
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    if (state.opened === mine) problem(error.message);
  }
}

function listen() {
  const events = new EventSource("api/live");
  events.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    $("live").textContent = told.error ? "store unreadable" : "● live";
    if (told.error) return problem(told.error);
    const isNew = told.seq !== state.seq || told.tree !== state.tree;
    if (isNew && state.seq !== null) state.heard?.(told.seq);
    Object.assign(state, told);
  };
  events.onerror = () => ($("live").textContent = "○ not connected");
  addEventListener("pagehide", () => events.close());
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
  history.pushState(null, "", link.getAttribute("href"));
  open();
});

theme();
$("home").dataset.go = "";
// Asked before anything is shown: whatever is written from here on is heard of.
await ask("choices").then(
  ({ path, seq, tree, dropped }) => {
    $("store").textContent = path;
    Object.assign(state, { seq, tree });
    if (dropped) state.dropped = `${dropped} reports were dropped: writing could not keep up.`;
  },
  () => {}, // the view asks too, and says it
);
await open();
if (state.dropped) problem(state.dropped);
listen();
