// Small pieces that several pages draw the same way: state marks, the probability bar, what a model may read.

import { h, s } from "./dom.js";
import { DECISIONS, MARKS, plain, probability } from "./words.js";

/** A state as shape and word. */
export function badge(code, text) {
  return h("span", { class: `badge is-${code}` }, h("span", { class: "shape", "aria-hidden": "true" }, MARKS[code] || "·"),
    text || plain(code));
}

/** The state of a reading: decision where it was evaluated, else the status. */
export function stateOf(reading) {
  return reading.status === "evaluated" ? reading.findings?.[0]?.decision || "undetermined" : reading.status;
}

/** The probability as a bar from 0 to 1 with the threshold's tick. The words stand beside it: the bar is decoration. */
export function probabilityBar(finding) {
  const { probability: value, operating_point: point } = finding;
  const at = (share) => 2 + 96 * Math.min(1, Math.max(0, share));
  return s("svg", { class: `bar is-${finding.decision}`, viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "bar-track", x: 2, y: 3.5, width: 96, height: 3, rx: 1.5 }),
    s("rect", { class: "bar-value", x: 2, y: 3.5, width: at(value) - 2, height: 3, rx: 1.5 }),
    s("rect", { class: "bar-threshold", x: at(point.threshold) - 0.4, y: 0, width: 0.8, height: 10 }));
}

/** "0.90, over the threshold 0.50 (even-odds)". */
export function againstThreshold(finding) {
  const { threshold, name } = finding.operating_point;
  const side = finding.probability >= threshold ? "at or over" : "under";
  return `${side} the threshold ${threshold.toFixed(2)} (${name})`;
}

/** One finding in a line of words. */
export function findingWords(finding) {
  const decision = DECISIONS[finding.decision] || finding.decision;
  return `${finding.code.display} ${decision}, probability ${probability(finding.probability)}, ${againstThreshold(finding)}`;
}

/** A titled part of a page. */
export function section(title, id, ...children) {
  return h("section", { class: "card", id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title), children);
}

/** A list of sentences. */
export function sentences(texts) {
  return h("ul", { class: "sentences" }, texts.map((text) => h("li", {}, text)));
}
