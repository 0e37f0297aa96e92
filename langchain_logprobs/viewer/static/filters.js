// Which runs, in which order: the bar above the list. It outlives the lists, so that whoever types
// or steps through a choice is not interrupted by what it brings.
import { el, safe } from "./dom.js";

export const FILTERS = ["model", "node", "outcome", "since", "low", "under", "text", "sort"];
const OUTCOMES = [["", "all"], ...["ok", "error", "cancelled", "abandoned"].map((of) => [of, of])];
const SORTS = [
  ["newest", "newest first"], ["oldest", "oldest first"], ["least", "least sure first"],
  ["most", "surest first"], ["longest", "longest first"], ["slowest", "slowest first"],
];
const SINCE = [["", "any time"], ["3600", "the last hour"], ["86400", "the last day"], ["604800", "the last week"], ["2592000", "the last 30 days"]];

export function makeFilters(go) {
  const typed = new Set(); // fields with something in them that has not been asked for yet
  const controls = {};
  const ask = ({ target: of }) => {
    typed.delete(of);
    go({ [of.name]: of.type === "checkbox" ? (of.checked ? "1" : "") : of.value });
  };
  const control = (kind, name, more = {}) => (controls[name] = el(kind, { name, onchange: ask, oninput: (event) => typed.add(event.target), ...more }));
  const select = (name, label) => el("label", {}, label, control("select", name, { oninput: null }));
  const node = select("node", "Node");
  const clear = el("a", { href: "./", "data-go": "" }, "clear");
  const form = el(
    "form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => (event.preventDefault(), ask({ target: controls.text })) },
    select("model", "Model"), node, select("outcome", "Outcome"), select("since", "Since"),
    el("label", {}, "Under", control("input", "under", { type: "number", min: 0, max: 1, step: 0.05, placeholder: "1.00" })),
    // The cross that empties the field is no change, but a search.
    el("label", {}, "Text", control("input", "text", { type: "search", placeholder: "in the answer", onsearch: ask })),
    select("sort", "Order"),
    el("label", { class: "check" }, control("input", "low", { type: "checkbox", oninput: null }), "unsure only"),
    clear,
  );

  const choices = { outcome: OUTCOMES, since: SINCE, sort: SORTS };
  /** Shows what the list is filtered by, and what there is to filter by. */
  const set = (filters, known) => {
    for (const [name, of] of Object.entries({ ...choices, model: all(known.models), node: all(known.nodes) }))
      fill(controls[name], of, filters[name]);
    for (const [name, of] of Object.entries(controls)) {
      const value = filters[name] ?? (name === "sort" ? "newest" : "");
      if (of.type === "checkbox") of.checked = Boolean(value);
      else if (of.value !== value && !(typed.has(of) && of === document.activeElement)) of.value = value;
    }
    node.hidden = !known.nodes.length && !filters.node;
    clear.hidden = !Object.keys(filters).length;
  };
  return { form, set };
}

const all = (values) => [["", "all"], ...values.map((of) => [of, of])];

/** The choices of a `select`, and what an address has chosen beside them. */
function fill(select, choices, chosen) {
  const wanted = !chosen || choices.some(([of]) => of === chosen) ? choices : [...choices, [chosen, chosen]];
  const there = [...select.options];
  if (there.length === wanted.length && wanted.every(([of], index) => there[index].value === of)) return;
  const { value } = select;
  select.replaceChildren(...wanted.map(([of, text]) => el("option", { value: of }, safe(text))));
  select.value = value;
}
