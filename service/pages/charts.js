// Figures of a verdict, drawn as SVG: receiver operating characteristic and reliability diagram.
// In: counts as the verdict holds them. Every figure is said in words beside it; the drawing adds no number of its own
// but the Wilson intervals of the bins, and says so.

import { s } from "./dom.js";

const SIZE = 320;
const EDGE = 44;
const SPAN = SIZE - EDGE - 14;
/** 97.5 % quantile of the normal distribution. */
const Z = 1.959964;

const x = (share) => EDGE + share * SPAN;
const y = (share) => SIZE - EDGE - share * SPAN;

/** Wilson's interval of a share. */
export function wilson(hits, n) {
  if (!n) return { low: 0, high: 1 };
  const share = hits / n;
  const middle = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

function axes(title, description, across, up, ...content) {
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const text = (content_, attributes) => s("text", { class: "tick", ...attributes }, content_);
  return s("svg", { class: "chart", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": `${title}. ${description}` },
    ticks.flatMap((tick) => [
      s("line", { class: "grid", x1: x(tick), y1: y(0), x2: x(tick), y2: y(1) }),
      s("line", { class: "grid", x1: x(0), y1: y(tick), x2: x(1), y2: y(tick) }),
      text(String(tick), { x: x(tick), y: y(0) + 16, "text-anchor": "middle" }),
      text(String(tick), { x: x(0) - 8, y: y(tick) + 4, "text-anchor": "end" }),
    ]),
    text(across, { x: x(0.5), y: SIZE - 8, "text-anchor": "middle", class: "axis" }),
    text(up, { x: 13, y: y(0.5), "text-anchor": "middle", class: "axis", transform: `rotate(-90 13 ${y(0.5)})` }),
    s("line", { class: "chance", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }), content);
}

/** The curve, the operating point and its interval in both directions. */
export function rocChart(points, { positives, negatives }, point) {
  const path = points.map(({ true_positives: hits, false_positives: alarms }, at) =>
    `${at ? "L" : "M"}${x(alarms / negatives).toFixed(2)} ${y(hits / positives).toFixed(2)}`).join("");
  const { sensitivity, specificity } = point;
  const [across, up] = [1 - specificity.estimate, sensitivity.estimate];
  return axes("Receiver operating characteristic", `Operating point at sensitivity ${up}, specificity ${specificity.estimate}`,
    "1 − specificity", "Sensitivity",
    s("path", { class: "area", d: `${path}L${x(1)} ${y(0)}L${x(0)} ${y(0)}Z` }),
    s("path", { class: "curve", d: path }),
    s("line", { class: "interval", x1: x(1 - specificity.interval.high), x2: x(1 - specificity.interval.low), y1: y(up), y2: y(up) }),
    s("line", { class: "interval", x1: x(across), x2: x(across), y1: y(sensitivity.interval.low), y2: y(sensitivity.interval.high) }),
    s("circle", { class: "point", cx: x(across), cy: y(up), r: 4.5 }));
}

/** What was said against what was so, by bins of equal size. */
export function reliabilityChart(bins) {
  return axes("Reliability", `${bins.length} bins of equal number`, "Mean probability said", "Share with the finding",
    bins.map(({ n, positives, probability_mean: said }) => {
      const { low, high } = wilson(positives, n);
      return [
        s("line", { class: "interval", x1: x(Number(said)), x2: x(Number(said)), y1: y(low), y2: y(high) }),
        s("circle", { class: "point", cx: x(Number(said)), cy: y(positives / n), r: 3.5 }),
      ];
    }));
}

/** An interval as a line between two ends, with a mark at each limit: for tables. */
export function intervalBar({ estimate, interval }, from = 0, to = 1) {
  const at = (value) => 2 + 116 * Math.min(1, Math.max(0, (Number(value) - from) / (to - from)));
  return s("svg", { class: "interval-bar", viewBox: "0 0 120 12", "aria-hidden": "true" },
    s("line", { class: "grid", x1: 2, x2: 118, y1: 6, y2: 6 }),
    s("line", { class: "interval", x1: at(interval.low), x2: at(interval.high), y1: 6, y2: 6 }),
    s("circle", { class: "point", cx: at(estimate), cy: 6, r: 3 }));
}
