// Elements are made from text, never from HTML: token texts can hold anything.

export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const $ = (id) => document.getElementById(id);

export const percent = (p, digits = 0) => (p === null || p === undefined ? "?" : `${(100 * p).toFixed(digits)} %`);

export const fixed = (value, digits = 2) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");

/** Which step of the heat scale: 0 to 8, or null for what needs no colour. As core/heat.py has it. */
export const band = (p) => (p === null || p === undefined || p >= 0.9 ? null : Math.min(8, Math.floor(p * 10)));

const MARKS = { "\n": "↵\n", "\r": "␍", "\t": "⇥\t" };
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;

/** The text with what is invisible made visible; direction overrides cannot turn what is beside. */
export const safe = (text) =>
  text.replace(HIDDEN, (of) => MARKS[of] ?? (of === "\u200c" || of === "\u200d" ? of : "\ufffd"));

export const oneLine = (text) => safe(text.trim().replace(/\s+/g, " "));

export function duration(ns) {
  const seconds = ns / 1e9;
  if (seconds >= 100) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return ns > 0 && ns < 5e5 ? "<1 ms" : `${Math.round(seconds * 1000)} ms`;
}

// Swedish dates are ISO's: they sort as they read, and read the same everywhere.
const TIME = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short" });

/** Ticks of a time axis, in seconds: the day where it is a new one, the time where there are several a day. */
export function ticks(splits) {
  const apart = splits[1] - splits[0];
  let day = null;
  return splits.map((of) => {
    const [today, time] = [DAY, TIME].map((its) => its.format(of * 1000));
    const parts = [today !== day && (apart >= 86400 ? today : today.slice(5)), apart < 86400 && time.slice(0, apart < 60 ? 8 : 5)];
    day = today;
    return parts.filter(Boolean).join(" ");
  });
}

const DATE = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
export const when = (ns) => DATE.format(new Date(ns / 1e6));

/** A bar with its number; and a word, so that it does not hang on colour. */
export function meter(value, low, words = low ? "unsure" : "sure") {
  if (value === null || value === undefined) return el("span", { class: "dim" }, "no confidence");
  const fill = el("span", { class: `fill h${band(value) ?? "ok"}` });
  fill.style.width = `${100 * value}%`;
  return el(
    "span", { class: "meter" },
    words && el("span", { class: "mark", title: words }, low ? "▼" : "▲"),
    el("span", { class: "track", "aria-hidden": "true" }, fill),
    el("span", { class: "number" }, value.toFixed(2)),
    words && el("span", { class: "hidden-text" }, words),
  );
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await fetch(`api/${path}${query ? `?${query}` : ""}`).catch(() => {
    throw new Error("The viewer has stopped. Start it again: langchain-logprobs view");
  });
  const body = await answer.json().catch(() => ({ error: `The viewer answered ${answer.status}.` }));
  // A viewer that is started anew has a new secret.
  if (answer.status === 403) throw new Error("This is no longer the viewer's address: open the one it printed when it was started.");
  if (body.error) throw Object.assign(new Error(body.error), { isFinal: answer.status === 400 });
  return body;
}

const problems = new Map();

/** Tells what is wrong, or that it no longer is; each `of` speaks for itself alone. */
export function problem(text, of = "view") {
  if (text) problems.set(of, text);
  else problems.delete(of);
  const told = [...new Set(problems.values())].join(" ");
  if ($("problem").textContent !== told) $("problem").textContent = told;
  $("problem").hidden = !told;
}
