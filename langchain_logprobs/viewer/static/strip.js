// The probability strip: every token of the answer, from the first to the last, on one line.
import { band, el } from "./dom.js";

const HEIGHT = 76;
const WIDEST = 28; // a token of a short answer need not fill a tenth of the screen
const BASE = 14; // room under the bars for the marks of uncertain windows

export function makeStrip(tokens, windows, lowToken, jump) {
  const canvas = el("canvas", { class: "strip", role: "img", "aria-label": label(tokens, windows) });
  let at = null;
  const draw = () => paint(canvas, tokens, windows, lowToken, at);
  const index = (event) => {
    const box = canvas.getBoundingClientRect();
    const place = ((event.clientX - box.left) / used(box.width, tokens)) * tokens.length;
    return Math.min(tokens.length - 1, Math.max(0, Math.floor(place)));
  };
  canvas.addEventListener("click", (event) => jump(index(event)));
  const resized = new ResizeObserver(draw);
  resized.observe(canvas);
  addEventListener("themechange", draw);
  return {
    canvas,
    mark: (token) => ((at = token), draw()),
    close: () => (resized.disconnect(), removeEventListener("themechange", draw)),
  };
}

const used = (width, tokens) => Math.min(width, WIDEST * tokens.length);

function label(tokens, windows) {
  const spans = windows.map(([first, last]) => `tokens ${first} to ${last}`).join(", ");
  return `Probability of each of ${tokens.length} tokens. ${spans ? `Uncertain: ${spans}.` : "No uncertain window."}`;
}

function paint(canvas, tokens, windows, lowToken, at) {
  const whole = canvas.clientWidth;
  const width = used(whole, tokens);
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(whole * scale);
  canvas.height = HEIGHT * scale;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.clearRect(0, 0, whole, HEIGHT);
  const tall = HEIGHT - BASE - 2;
  const x = (token) => (token / tokens.length) * width;
  const [sure, ink, dim] = ["--sure", "--ink", "--dim"].map(colour);
  marks(pen, windows, x, ink, colour("--window"));
  // A column shows the least likely of its tokens: what is doubtful must not vanish among the rest.
  const columns = Math.min(tokens.length, Math.floor(width));
  const fills = [...Array(9).keys()].map((n) => colour(`--h${n}`));
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((column * tokens.length) / columns);
    const last = Math.max(first + 1, Math.floor(((column + 1) * tokens.length) / columns));
    let p = null;
    for (let of = first; of < last; of++) {
      const value = tokens[of].probability;
      if (value !== null && (p === null || value < p)) p = value;
    }
    if (p === null) continue;
    const left = (column / columns) * width;
    const wide = Math.max(1, width / columns - (width / columns > 4 ? 1 : 0));
    const high = Math.max(1, p * tall);
    const step = band(p);
    pen.fillStyle = step === null ? sure : fills[step];
    pen.fillRect(left, 2 + tall - high, wide, high);
    // Where a bar ends is its number: the palest of them are hardly seen on paper.
    const edge = p < lowToken ? 1.5 : 1;
    pen.fillStyle = p < lowToken ? ink : dim;
    pen.fillRect(left, 2 + tall - high - edge, wide, edge);
  }
  pen.strokeStyle = dim;
  pen.setLineDash([3, 3]);
  pen.beginPath();
  pen.moveTo(0, 2 + tall * (1 - lowToken));
  pen.lineTo(width, 2 + tall * (1 - lowToken));
  pen.stroke();
  pen.setLineDash([]);
  if (at !== null) {
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = 2;
    pen.strokeRect(x(at) - 1, 1, Math.max(3, x(at + 1) - x(at) + 2), HEIGHT - 2);
  }
}

function marks(pen, windows, x, ink, shade) {
  for (const [first, last] of windows) {
    pen.fillStyle = shade;
    pen.fillRect(x(first), 0, x(last + 1) - x(first), HEIGHT);
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x(first) + 1, HEIGHT - 10);
    pen.lineTo(x(first) + 1, HEIGHT - 4);
    pen.lineTo(x(last + 1) - 1, HEIGHT - 4);
    pen.lineTo(x(last + 1) - 1, HEIGHT - 10);
    pen.stroke();
  }
}
