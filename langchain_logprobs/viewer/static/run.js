// One run: its figures, the calls around it, the strip, the heat map, the fields.
import { ask, duration, el, fixed, meter, percent, safe, when } from "./dom.js";
import { Heat } from "./heat.js";
import { makeStrip } from "./strip.js";

const CHANNELS = { content: "answer", refusal: "refusal", reasoning: "reasoning" };
const DEEPEST = 24;
const INDENT = 16;
const NAMED = 12; // uncertain stretches that are named under the strip

export async function showRun(wanted, { put, isCurrent }) {
  const { report, explained, windows, trace } = await ask(`runs/${encodeURIComponent(wanted.get("run"))}`);
  const sequences = sequencesOf(report);
  const tree = new Tree(report, trace);
  const fromTree = Boolean(document.activeElement?.closest(".tree"));
  const open = [];
  const stage = el("div", { class: "stage" });
  const show = (sequence) => {
    open.splice(0).forEach((of) => of.close());
    stage.replaceChildren(...answer(report, sequence, sequence === sequences[0] ? windows : [], open));
  };
  const isPlain = sequences.length < 2 && (sequences[0]?.channel ?? "content") === "content";
  const title = el("h1", { tabindex: "-1" }, safe(report.response_model ?? report.model ?? "unknown model"));
  if (!put(heading(report, explained, title), tree.box, isPlain ? "" : chooser(sequences, show), stage, more(report))) return null;
  document.title = `${safe(report.model ?? "run")} ${fixed(report.confidence.confidence)}`;
  if (sequences.length) show(sequences[0]);
  else stage.append(el("p", { class: "heat", dir: "auto" }, safe(report.completions[0]?.text ?? "") || "No text."));
  tree.reveal();
  scrollTo(0, 0);
  return {
    // The rest of the tree comes when the root run ends, or with its next call.
    heard: async () => {
      if (tree.trace.ended) return;
      const trace = await ask(`runs/${encodeURIComponent(report.run_id)}/trace`);
      if (isCurrent()) tree.grow(trace);
    },
    focus: () => ((fromTree && tree.box.querySelector("[aria-current]")) || title).focus({ preventScroll: true }),
    close: () => open.forEach((of) => of.close()),
  };
}

function sequencesOf(report) {
  return report.completions.flatMap((completion, index) =>
    Object.keys(CHANNELS)
      .map((channel) => ({ index, channel, tokens: completion.tokens.filter((of) => of.channel === channel) }))
      .filter((of) => of.tokens.length));
}

function heading(report, explained, title) {
  const of = report.confidence;
  const figure = (name, value, title) => el("div", { title }, el("dt", {}, name), el("dd", {}, value));
  return el(
    "section", { class: "heading" },
    el("a", { href: "./", "data-go": "", class: "back" }, "← all runs"),
    title,
    el("p", { class: "dim" },
      ended(report) ? el("span", { class: "tag failed" }, ended(report)) : null,
      [when(report.ended_ns), duration(report.ended_ns - report.started_ns), safe(report.provider ?? ""), report.run_id].filter(Boolean).join(" · ")),
    report.unavailable ? el("p", { class: "note" }, explained) : null,
    el("dl", { class: "figures" },
      el("div", { class: "main-figure" }, el("dt", {}, "confidence"), el("dd", {}, meter(of.confidence, report.low))),
      figure("tokens", of.count.toLocaleString()),
      figure(`under ${percent(report.low_token)}`, of.low.toLocaleString(), "tokens that were guesses"),
      figure("lowest window", fixed(of.lowest_window), "lowest geometric mean probability of 32 tokens in a row"),
      figure("mean entropy", fixed(of.mean_entropy), "in nats"),
      figure("lowest log odds", fixed(of.min_log_odds, 1), "of the least certain token against everything else, in nats"),
      figure("perplexity", fixed(of.perplexity))),
  );
}

/** The trace tree. It grows while its root run goes on, and whoever reads in it stays where they are. */
class Tree {
  constructor(report, trace) {
    this.report = report;
    this.lines = el("ol", { class: "lines brief" });
    this.told = el("small", { class: "dim" });
    this.name = el("span");
    this.small = el("span");
    this.toggle = el("label", { class: "check" },
      el("input", { type: "checkbox", name: "steps", onchange: ({ target }) => this.lines.classList.toggle("brief", !target.checked) }), this.small);
    this.notes = el("div");
    this.box = el("section", { class: "tree", "aria-label": "Trace tree" }, el("h2", {}, this.name, " ", this.told, " ", this.toggle), this.lines, this.notes);
    this.draw(trace);
  }

  /** Draws what has come; not an answer that was overtaken by a later one. */
  grow(trace) {
    if (trace.total < this.trace.total || this.trace.ended || (trace.total === this.trace.total && !trace.ended)) return;
    const top = this.lines.scrollTop;
    const { href } = document.activeElement?.closest(".tree a") ?? {};
    this.draw(trace);
    this.lines.scrollTop = top;
    if (href) [...this.lines.querySelectorAll("a")].find((of) => of.href === href)?.focus({ preventScroll: true });
  }

  /** Brings the call that is open into sight. */
  reveal() {
    const current = this.lines.querySelector("[aria-current]")?.closest("li");
    if (current && this.lines.scrollHeight > this.lines.clientHeight) this.lines.scrollTop = current.offsetTop - this.lines.clientHeight / 2;
  }

  draw(trace) {
    this.trace = trace;
    const span = Math.max(1, trace.ended_ns - trace.started_ns);
    const calls = trace.lines.filter((of) => of.kind === "call").length;
    // Prompts and parsers are most of a tree, and rarely what somebody looks for.
    const small = trace.lines.filter(isSmall).length;
    const unseen = trace.total - trace.lines.length;
    this.box.hidden = trace.total < 2;
    this.name.textContent = safe(trace.name ?? "run");
    this.told.textContent = [
      trace.ended ? "" : "has not ended yet", ended(trace), `${calls} model call${calls === 1 ? "" : "s"}`, duration(span),
    ].filter(Boolean).join(" · ");
    this.small.textContent = small === 1 ? "1 prompt or parser" : `${small} prompts and parsers`;
    this.toggle.hidden = !small;
    this.lines.replaceChildren(...trace.lines.map((of) => line(of, trace, span, this.report)));
    this.notes.replaceChildren(
      unseen ? el("p", { class: "dim" }, `and ${unseen.toLocaleString()} more: langchain-logprobs export --trees`) : "",
      trace.omitted ? el("p", { class: "dim" }, `${trace.omitted.toLocaleString()} further runs passed the bounds, and were not kept.`) : "",
    );
  }
}

const isSmall = (of) => (of.kind === "prompt" || of.kind === "parser") && of.outcome === "ok";

const ended = (of) => (of.outcome && of.outcome !== "ok" ? `${of.outcome} ${safe(of.error ?? "")}`.trim() : "");

function line(of, trace, span, report) {
  const bar = el("span", { class: "bar" });
  const left = Math.min(Math.max(0, of.started_ns - trace.started_ns) / span, 1);
  bar.style.left = `${100 * left}%`;
  bar.style.width = `${100 * Math.min(Math.max(0.003, (of.ended_ns - of.started_ns) / span), 1 - left)}%`;
  const isCall = of.kind === "call";
  // Of a root run that goes on only the calls are known yet: their nodes tell them apart.
  const called = (trace.ended ? null : of.node) ?? of.model ?? "model";
  const label = safe(isCall ? called : of.name);
  const name = el("span", { class: "name" }, el(isCall ? "b" : "span", { class: "label", title: label }, label),
    el("span", { class: "kind" }, isCall ? "model" : of.kind), ended(of) ? el("span", { class: "tag failed" }, ended(of)) : null);
  const indent = Math.min(of.depth, DEEPEST) * INDENT;
  name.style.paddingInlineStart = `${indent}px`;
  name.style.backgroundSize = `${indent}px 100%`; // a rail for each level above it
  const parts = [
    name,
    el("span", { class: "confidence" }, isCall ? (of.confidence === null ? el("span", { class: "dim" }, of.unavailable ?? of.outcome) : meter(of.confidence, of.low)) : ""),
    el("span", { class: "time", "aria-hidden": "true" }, bar),
    el("span", { class: "dim took" }, duration(of.ended_ns - of.started_ns)),
  ];
  const inner = isCall
    ? el("a", { class: "line", href: `?run=${encodeURIComponent(of.run_id)}`, "data-go": "", "aria-current": of.run_id === report.run_id ? "true" : null }, ...parts)
    : el("div", { class: "line" }, ...parts);
  return el("li", { class: `${of.kind}${isSmall(of) ? " small" : ""}`, "aria-level": of.depth + 1 }, inner);
}

function chooser(sequences, show) {
  const buttons = sequences.map((of, index) =>
    el("button", { "aria-pressed": String(index === 0), onclick: (event) => {
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
      show(of);
    } }, `${CHANNELS[of.channel]}${sequences.some((other) => other.index) ? ` ${of.index + 1}` : ""} (${of.tokens.length})`));
  return el("div", { class: "chooser", role: "group", "aria-label": "Which answer" }, ...buttons);
}

function answer(report, sequence, windows, open) {
  const isHeadline = sequence.index === 0 && sequence.channel === "content";
  const fields = isHeadline ? report.fields.filter((of) => of.leaf) : [];
  const heat = new Heat(sequence.tokens, report.low_token, { moved: (index) => strip.mark(index) });
  const strip = makeStrip(sequence.tokens, windows, report.low_token, (index) => {
    heat.box.focus({ preventScroll: true });
    heat.move(index);
  });
  open.push(heat, strip);
  const beside = [];
  if (fields.length) beside.push(fieldTable(fields, heat));
  if (isHeadline && Object.keys(report.labels).length) beside.push(labelTable(report.labels, heat));
  return [
    strip.canvas,
    windows.length ? el("p", { class: "dim under-strip" }, `Bracketed: uncertain as a whole, tokens ${stretches(windows)}`) : null,
    legend(report.low_token),
    el("div", { class: beside.length ? "beside" : "" }, heat.box, beside.length ? el("div", {}, ...beside) : null),
  ].filter(Boolean);
}

const stretches = (windows) =>
  windows.slice(0, NAMED).map(([first, last]) => `${first}–${last}`).join(", ") + (windows.length > NAMED ? ` and ${windows.length - NAMED} more` : "");

function legend(lowToken) {
  return el("p", { class: "legend dim", id: "keys" }, "Probability, %: ",
    ...[...Array(9).keys()].map((n) => el("span", { class: `h${n}` }, String(10 * n))), el("span", {}, "90 and up "),
    el("span", { class: "low" }, `under ${percent(lowToken)}`), " ", el("span", { class: "none" }, "no number"),
    el("span", { class: "keys" }, " ← → tokens, n p guesses"));
}

function labelTable(labels, heat) {
  return el(
    "div", { class: "fields labels", role: "group", "aria-label": "Labels" },
    ...Object.entries(labels).map(([path, of]) => el("div", { class: "label", onpointerenter: () => heat.mark(...of.tokens), onpointerleave: () => heat.mark(0, 0) },
      el("h2", {}, "Label ", el("code", {}, safe(path)), el("small", { class: "dim" }, ` all of them ${percent(of.label_mass)}`)),
      ...Object.entries(of.probabilities).map(([name, p]) => el("div", { class: "field" }, el("span", {}, name === of.chosen ? `▸ ${safe(name)}` : safe(name)), meter(p, false, ""))))),
  );
}

function fieldTable(fields, heat) {
  const select = (of) => ({
    onpointerenter: () => heat.mark(...of.tokens), onpointerleave: () => heat.mark(0, 0),
    onfocus: () => heat.mark(...of.tokens), onblur: () => heat.mark(0, 0),
    onclick: () => of.tokens[1] > of.tokens[0] && heat.move(of.tokens[0]),
  });
  return el(
    "div", { class: "fields", role: "group", "aria-label": "Fields" },
    el("h2", {}, "Fields"),
    ...fields.map((of) => el("button", { class: "field", ...select(of) },
      el("code", { class: "path" }, safe(of.path.replace(/^\$\.?/, "") || "$")),
      el("span", { class: "value", dir: "auto" }, safe(JSON.stringify(of.value)), of.complete ? null : el("span", { class: "tag" }, "cut off")),
      of.confidence === null ? el("span", { class: "dim" }, "no number") : meter(of.confidence, of.confidence < 0.7))),
  );
}

function more(report) {
  const block = (title, value) => (value && Object.keys(value).length ? el("details", {}, el("summary", {}, title), el("pre", {}, safe(JSON.stringify(value, null, 2)).replaceAll("↵", ""))) : null);
  const calls = report.completions.flatMap((of) => of.tool_calls);
  return el("section", { class: "more" }, block("Tool calls", calls), block("Parameters", report.parameters), block("Metadata", report.metadata), block("All measures", report.confidence));
}
