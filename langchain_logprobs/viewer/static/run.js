// One run: its figures, the calls around it, the strip, the heat map, the fields.
import { ask, duration, el, fixed, meter, percent, safe, when } from "./dom.js";
import { Heat } from "./heat.js";
import { makeStrip } from "./strip.js";

const CHANNELS = { content: "answer", refusal: "refusal", reasoning: "reasoning" };
const EXPLAINED = {
  not_requested: "The model was not asked for logprobs: with_logprobs(model, top_logprobs=5) asks.",
  not_sent: "The model was asked for logprobs and sent none.",
  dropped_by_langchain: "The provider's LangChain package drops logprobs on this way of calling.",
  provider_omits_tool_logprobs: "The provider sends no logprobs for tool calls.",
  unreadable: "Logprobs came in a shape that no reader knows.",
  refusal: "The model refused; these are the refusal's tokens.",
  choices_interleaved: "Several answers were streamed as one and cannot be told apart.",
  incomplete: "The answer comes from a cache that holds the logprobs of its last tokens alone.",
  no_numbers: "Tokens came, none with a usable logprob.",
  no_answer: "The call ended before the first token.",
};

export async function showRun(main, wanted, { isCurrent }) {
  const { report, windows, calls, root_started_ns } = await ask(`runs/${encodeURIComponent(wanted.get("run"))}`);
  if (!isCurrent()) return null;
  const sequences = sequencesOf(report);
  const open = [];
  const stage = el("div", { class: "stage" });
  const show = (sequence) => {
    open.splice(0).forEach((of) => of.close());
    stage.replaceChildren(...answer(report, sequence, sequence === sequences[0] ? windows : [], open));
  };
  main.replaceChildren(
    heading(report),
    calls.length > 1 ? tree(calls, report, root_started_ns) : "",
    sequences.length > 1 ? chooser(sequences, show) : "",
    stage,
    more(report),
  );
  document.title = `${safe(report.model ?? "run")} ${fixed(report.confidence.confidence)}`;
  if (sequences.length) show(sequences[0]);
  else stage.append(el("p", { class: "heat", dir: "auto" }, safe(report.completions[0]?.text ?? "") || "No text."));
  scrollTo(0, 0);
  return { close: () => (open.forEach((of) => of.close()), (document.title = "langchain_logprobs")) };
}

function sequencesOf(report) {
  return report.completions.flatMap((completion, index) =>
    Object.keys(CHANNELS)
      .map((channel) => ({ index, channel, tokens: completion.tokens.filter((of) => of.channel === channel) }))
      .filter((of) => of.tokens.length));
}

function heading(report) {
  const of = report.confidence;
  const figure = (name, value, title) => el("div", { title }, el("dt", {}, name), el("dd", {}, value));
  return el(
    "section", { class: "heading" },
    el("a", { href: "./", "data-go": "", class: "back" }, "← all runs"),
    el("h1", {}, safe(report.response_model ?? report.model ?? "unknown model")),
    el("p", { class: "dim" },
      [when(report.ended_ns), duration(report.ended_ns - report.started_ns), safe(report.provider ?? ""), report.outcome === "ok" ? "" : `${report.outcome} ${safe(report.error ?? "")}`, report.run_id].filter(Boolean).join(" · ")),
    report.unavailable ? el("p", { class: "note" }, EXPLAINED[report.unavailable] ?? report.unavailable) : null,
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

function tree(calls, report, rootStarted) {
  const start = Math.min(...calls.map((of) => of.started_ns), rootStarted ?? Infinity);
  const span = Math.max(1, Math.max(...calls.map((of) => of.ended_ns)) - start);
  return el(
    "section", { class: "tree", "aria-label": "Calls of this run tree" },
    el("h2", {}, safe(report.root_name ?? "run"), el("small", { class: "dim" }, ` ${calls.length} model calls, ${duration(span)}`)),
    el("ol", {}, ...calls.map((of) => {
      const bar = el("span", { class: "bar" });
      bar.style.left = `${(100 * (of.started_ns - start)) / span}%`;
      bar.style.width = `${Math.max(0.5, (100 * (of.ended_ns - of.started_ns)) / span)}%`;
      return el("li", {}, el("a", { href: `?run=${of.run_id}`, "data-go": "", "aria-current": of.run_id === report.run_id ? "true" : null },
        el("span", { class: "name" }, safe(of.node ?? of.model ?? "call")),
        el("span", { class: "confidence" }, meter(of.confidence, of.low)),
        el("span", { class: "time", "aria-hidden": "true" }, bar),
        el("span", { class: "dim took" }, duration(of.ended_ns - of.started_ns))));
    })),
  );
}

function chooser(sequences, show) {
  const buttons = sequences.map((of, index) =>
    el("button", { "aria-pressed": index === 0, onclick: (event) => {
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
    windows.length ? el("p", { class: "dim under-strip" }, `Bracketed: uncertain as a whole, ${windows.map(([a, b]) => `tokens ${a}–${b}`).join(", ")}`) : null,
    legend(report.low_token),
    el("div", { class: beside.length ? "beside" : "" }, heat.box, beside.length ? el("div", {}, ...beside) : null),
  ].filter(Boolean);
}

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
