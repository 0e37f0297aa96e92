// The answer as a heat map. Hover shows what else the model had in mind; so do the arrow keys.
import { $, band, el, fixed, percent, safe } from "./dom.js";

const LONGEST = 120; // characters of a token beside the answer, which has all of them

export class Heat {
  constructor(tokens, lowToken, { moved = () => {}, label = "The answer, token by token" } = {}) {
    Object.assign(this, { tokens, lowToken, moved, at: null });
    this.spans = tokens.map((token, index) => this.span(token, index));
    this.box = el("div", {
      class: "heat", tabindex: "0", dir: "auto", role: "group", "aria-label": label, "aria-describedby": "keys",
    }, ...this.spans);
    this.box.addEventListener("pointerover", (event) => this.hover(event));
    this.box.addEventListener("pointerleave", () => this.leave());
    this.box.addEventListener("click", (event) => this.click(event));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focus", () => this.box.matches(":focus-visible") && (this.at === null ? this.move(0) : this.pop(this.at)));
    this.box.addEventListener("blur", () => ($("pop").hidden = true));
    this.scrolled = () => this.pinned || ($("pop").hidden = true);
    addEventListener("scroll", this.scrolled, { passive: true });
  }

  close() {
    removeEventListener("scroll", this.scrolled);
    $("pop").hidden = true;
  }

  span(token, index) {
    const step = band(token.probability);
    const made = document.createElement("span");
    let classes = step === null ? "" : `h${step}`;
    if (token.probability === null) classes += " none";
    else if (token.probability < this.lowToken) classes += " low";
    if (classes) made.className = classes.trim();
    made.dataset.i = index;
    made.textContent = safe(token.piece);
    return made;
  }

  index(event) {
    const span = event.target.closest?.("[data-i]");
    return span ? Number(span.dataset.i) : null;
  }

  hover(event) {
    const index = this.index(event);
    if (index !== null) this.pop(index);
  }

  leave() {
    if (this.at !== null && document.activeElement === this.box) this.pop(this.at);
    else $("pop").hidden = true;
  }

  click(event) {
    const index = this.index(event);
    if (index !== null && !getSelection().toString()) this.move(index);
  }

  key(event) {
    const last = this.tokens.length - 1;
    const at = this.at ?? 0;
    const low = (step) => {
      for (let of = at + step; of >= 0 && of <= last; of += step)
        if (this.tokens[of].probability !== null && this.tokens[of].probability < this.lowToken) return of;
      return at;
    };
    const on = () => Math.min(at + 1, last);
    const back = () => Math.max(at - 1, 0);
    const isLeftward = getComputedStyle(this.box).direction === "rtl";
    const moves = {
      ArrowRight: isLeftward ? back : on, ArrowLeft: isLeftward ? on : back,
      ArrowDown: () => this.line(1), ArrowUp: () => this.line(-1),
      Home: () => 0, End: () => last, n: () => low(1), p: () => low(-1),
    };
    if (event.key === "Escape") return ($("pop").hidden = true);
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.move(moves[event.key]());
  }

  /** The token nearest to the current one in the line below or above. */
  line(step) {
    const at = this.at ?? 0;
    const here = this.spans[at].getBoundingClientRect();
    let found = at;
    let least = Infinity;
    for (let of = at + step; of >= 0 && of < this.spans.length; of += step) {
      const there = this.spans[of].getBoundingClientRect();
      const lines = Math.round(Math.abs(there.top - here.top) / Math.max(1, here.height));
      if (!lines) continue;
      if (lines > 1 && found !== at) break;
      const apart = Math.abs(there.left - here.left);
      if (apart < least) [least, found] = [apart, of];
      if (lines > 2) break;
    }
    return found;
  }

  move(index, { scroll = true } = {}) {
    if (this.at !== null) this.spans[this.at]?.classList.remove("at");
    this.at = index;
    this.spans[index].classList.add("at");
    this.pinned = true;
    if (scroll) this.spans[index].scrollIntoView({ block: "nearest" });
    this.pop(index);
    requestAnimationFrame(() => requestAnimationFrame(() => (this.pinned = false)));
    this.moved(index);
  }

  /** Marks these tokens, such as those of a field. */
  mark(from, to) {
    for (const of of this.box.querySelectorAll(".of-field")) of.classList.remove("of-field");
    for (let of = from; of < to; of++) this.spans[of]?.classList.add("of-field");
  }

  pop(index) {
    const pop = $("pop");
    pop.replaceChildren(...details(this.tokens[index], index, this.lowToken));
    pop.hidden = false;
    const place = this.spans[index].getClientRects()[0] ?? this.spans[index].getBoundingClientRect();
    const { width, height } = pop.getBoundingClientRect();
    const room = document.documentElement;
    const below = place.bottom + 6 + height <= room.clientHeight;
    pop.style.left = `${Math.max(8, Math.min(place.left, room.clientWidth - width - 8))}px`;
    pop.style.top = `${below ? place.bottom + 6 : Math.max(8, place.top - height - 6)}px`;
  }
}

function details(token, index, lowToken) {
  const p = token.probability;
  const others = token.candidates.filter((of) => of.text !== token.text);
  const listed = others.reduce((sum, of) => sum + Math.exp(of.logprob), p ?? 0);
  const verdict = p === null ? "no number" : p < lowToken ? "a guess" : null;
  const figures = [`token ${index}`, `entropy ${fixed(token.entropy)} nat`, `log odds ${fixed(token.log_odds, 1)}`];
  if (token.rank > 1) figures.push(`rank ${token.rank}`);
  return [
    el("div", { class: "chosen" }, quoted(token.text), el("b", {}, percent(p, 1)), verdict && el("span", { class: "tag" }, verdict)),
    el("div", { class: "dim" }, figures.join(" · ")),
    el("table", {}, ...[[token.text, p, true], ...others.map((of) => [of.text, Math.exp(of.logprob), false])].map(row)),
    others.length && listed < 0.999 ? el("div", { class: "dim" }, `everything else ${percent(1 - listed, 1)}`) : null,
    others.length ? null : el("div", { class: "dim" }, "No alternatives were sent: ask with top_logprobs=5."),
  ].filter(Boolean);
}

function row([text, p, chosen]) {
  const fill = el("span", { class: `fill h${band(p) ?? "ok"}` });
  fill.style.width = `${100 * (p ?? 0)}%`;
  return el("tr", { class: chosen ? "chosen-row" : null },
    el("td", {}, chosen ? "▸" : ""),
    el("td", {}, quoted(text)),
    el("td", {}, el("span", { class: "track" }, fill)),
    el("td", { class: "number" }, percent(p, 1)));
}

const quoted = (text) => el("code", {}, `“${safe(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text).replaceAll("\n", "")}”`);
