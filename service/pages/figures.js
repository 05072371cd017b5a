// The figures of a verdict with set, version and interval: endpoints, ROC, reliability, confusion, subgroups, secondary.
// In: `verdict.json` as evidence holds it (numbers are texts with fixed decimals). A verdict without a part shows none.

import { facts, h, states } from "./dom.js";
import { intervalBar, reliabilityChart, rocChart } from "./charts.js";
import { section, sentences } from "./parts.js";
import { figure, percent, plain } from "./words.js";

const STATISTICS = { auc: "AUC", sensitivity: "Sensitivity", specificity: "Specificity" };
const RESULTS = { pass: "✓ pass", fail: "✕ fail", inconclusive: "◇ inconclusive", no_rest: "no rest to compare", too_few: "too few" };

const name = (statistic) => STATISTICS[statistic] || plain(statistic);
const share = (statistic) => statistic === "sensitivity" || statistic === "specificity";

function value({ statistic, estimate, interval }) {
  if (!estimate) return "not estimated";
  if (!share(statistic)) return figure(estimate, interval);
  return `${percent(estimate)} (${percent(interval.low)} to ${percent(interval.high)})`;
}

/** All parts, in reading order. */
export function evidenceParts({ verdict }) {
  if (!verdict) return section("Evidence", "endpoints", states.empty("No verdict lies beside this package.", "Nothing is claimed of it."));
  const set = `${verdict.set.name} ${verdict.set.version}`;
  return [
    endpoints(verdict, set),
    h("div", { class: "charts" }, roc(verdict, set), reliability(verdict, set), confusion(verdict, set)),
    subgroups(verdict, set),
    h("div", { class: "two" }, h("div", { class: "column" }, secondary(verdict, set)), h("div", { class: "column" }, theSet(verdict))),
  ];
}

const scroll = (label, table) => h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, table);
const heads = (...names) => h("thead", {}, h("tr", {}, names.map((text) => h("th", { scope: "col" }, text))));
const result = (code) => h("span", { class: `result is-${code}` }, RESULTS[code] || plain(code));

function endpoints(verdict, set) {
  return section("Endpoints, in their fixed order", "endpoints",
    h("p", {}, "Look ", h("b", {}, `${verdict.look.number} of ${verdict.look.budget}`), ` at the locked set ${set}, by protocol ${verdict.protocol.id}: `, result(verdict.result)),
    scroll("Endpoints", h("table", {}, heads("", "Figure", "Estimate (95 % interval)", "", "n", "Asked for", "Result"),
      h("tbody", {}, verdict.endpoints.map((endpoint) => h("tr", {},
        h("th", { scope: "row" }, endpoint.id), h("td", {}, name(endpoint.statistic)),
        h("td", { class: "number" }, value({ ...endpoint, interval: endpoint.ci95 || endpoint.interval })),
        h("td", {}, endpoint.estimate ? intervalBar({ estimate: endpoint.estimate, interval: endpoint.ci95 || endpoint.interval }, 0.7, 1) : null),
        h("td", { class: "number" }, `${endpoint.n} ${endpoint.unit}s`),
        h("td", {}, asked(endpoint)), h("td", {}, result(endpoint.result))))))),
    h("p", { class: "hint" }, `Intervals: ${[...new Set(verdict.endpoints.map((endpoint) => plain(endpoint.ci95?.method)))].join(", ")}; `
      + `bars from 0.7 to 1. Bootstrap by patient and further intervals stand in verdict.json.`));
}

function asked(endpoint) {
  const show = (text) => (share(endpoint.statistic) ? percent(text) : Number(text).toFixed(3));
  return [["point", endpoint.point_min], ["lower limit", endpoint.lower_min], ["goal", endpoint.goal]]
    .filter(([, text]) => text).map(([what, text]) => `${what} ${show(text)}`).join(", ")
    + (endpoint.goal ? (endpoint.goal_reached ? " (reached)" : " (not reached)") : "");
}

const endpoint = (verdict, statistic) => verdict.endpoints.find((found) => found.statistic === statistic);

function roc(verdict, set) {
  const points = verdict.aggregates?.roc;
  const [auc, sensitivity, specificity] = ["auc", "sensitivity", "specificity"].map((statistic) => endpoint(verdict, statistic));
  if (!points || !sensitivity || !specificity) return null;
  const exact = (found) => ({ estimate: Number(found.estimate), interval: { low: Number(found.ci95.low), high: Number(found.ci95.high) } });
  return section("ROC", "roc",
    rocChart(points, verdict.cases, { sensitivity: exact(sensitivity), specificity: exact(specificity) }),
    h("p", {}, auc ? `AUC ${value({ ...auc, interval: auc.ci95 })}, n ${auc.n}. ` : null,
      `The point is ${verdict.operating_point.name}, threshold ${Number(verdict.operating_point.threshold)}: sensitivity ${value({ ...sensitivity, interval: sensitivity.ci95 })}, `
      + `specificity ${value({ ...specificity, interval: specificity.ci95 })}.`),
    h("p", { class: "hint" }, `${set}, ${verdict.cases.positives} with and ${verdict.cases.negatives} without the finding; 95 % intervals.`));
}

function reliability(verdict, set) {
  const bins = verdict.aggregates?.reliability;
  const calibration = verdict.secondary?.find((found) => found.statistic === "calibration");
  if (!bins) return null;
  const slope = calibration && Number(calibration.line.slope);
  return section("Reliability", "reliability", reliabilityChart(bins),
    calibration ? h("p", {}, `Expected calibration error ${figure(calibration.ece.estimate, calibration.ece.interval)}, slope ${slope.toFixed(2)} `
      + `(standard error ${Number(calibration.line.slope_standard_error).toFixed(2)}): probabilities are too ${slope > 1 ? "cautious" : "bold"}.`) : null,
    h("p", { class: "hint" }, `${set}, n ${verdict.cases.n}; ${bins.length} bins of equal number. Lines are Wilson's 95 % intervals, computed by this page from the counts. `,
      calibration ? `Claim: ${calibration.claim}.` : null));
}

function confusion(verdict, set) {
  const table = verdict.aggregates?.confusion;
  if (!table) return null;
  const cell = (count, kind) => h("td", { class: `number ${kind}` }, String(count));
  return section("Confusion", "confusion",
    scroll("Confusion table", h("table", { class: "confusion" },
      h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, "called present"), h("th", { scope: "col" }, "called absent"), h("th", { scope: "col" }, "in all"))),
      h("tbody", {},
        h("tr", {}, h("th", { scope: "row" }, "with the finding"), cell(table.true_positives, "right"), cell(table.false_negatives, "wrong"), cell(verdict.cases.positives, "")),
        h("tr", {}, h("th", { scope: "row" }, "without"), cell(table.false_positives, "wrong"), cell(table.true_negatives, "right"), cell(verdict.cases.negatives, ""))))),
    h("p", {}, `Missed: ${table.false_negatives} of ${verdict.cases.positives}. False alarms: ${table.false_positives} of ${verdict.cases.negatives}.`),
    facts([["Not evaluated", `${verdict.cases.not_evaluated}, counted as ${verdict.cases.missing_counted_as}`], ["Failed", String(verdict.cases.failed)]]),
    h("p", { class: "hint" }, `${set} at ${verdict.operating_point.name}; intervals stand beside sensitivity and specificity. The set's prevalence is `
      + `${percent(verdict.cases.positives / verdict.cases.n)}, no ward's.`));
}

function subgroups(verdict, set) {
  const rows = verdict.subgroups || [];
  if (!rows.length) return null;
  return section("Subgroups", "subgroups", scroll("Subgroups", h("table", {},
    heads("By", "Group", "Figure", "Estimate (95 % interval)", "", "n", "Difference to the rest", "Result"),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("td", {}, plain(row.by)), h("th", { scope: "row" }, plain(row.value)), h("td", {}, name(row.statistic)),
      h("td", { class: "number" }, value(row)), h("td", {}, row.estimate ? intervalBar(row, 0.7, 1) : null), h("td", { class: "number" }, String(row.n)),
      h("td", { class: "number" }, row.difference_to_rest ? `${(Number(row.difference_to_rest) * 100).toFixed(1)} points` : "–"),
      h("td", {}, result(row.result))))))),
  h("p", { class: "hint" }, `${set}. A group passes with at least ${rows[0].min_n} cases and a gap of at most ${percent(rows[0].max_gap)}; bars from 0.7 to 1.`));
}

function secondary(verdict, set) {
  const found = (statistic) => verdict.secondary?.find((one) => one.statistic === statistic);
  const calibration = found("calibration");
  const ratios = found("likelihood_ratios");
  const between = found("auc_between");
  const analyses = (verdict.analyses || []).map((analysis) => h("li", {}, h("b", {}, plain(analysis.id)), `, n ${analysis.n} (${analysis.left_out} left out): `,
    analysis.figures.map((one) => `${name(one.statistic)} ${value(one)}`).join("; ")));
  return section("Secondary, without claim", "secondary", facts([
    ["Brier score", calibration ? figure(calibration.brier.estimate, calibration.brier.interval) : null],
    ["Calibration", calibration ? `intercept ${Number(calibration.line.intercept).toFixed(2)}, slope ${Number(calibration.line.slope).toFixed(2)}; `
      + `Spiegelhalter z ${Number(calibration.spiegelhalter.z).toFixed(2)}, p ${Number(calibration.spiegelhalter.p).toFixed(3)}` : null],
    ["Likelihood ratio +", ratios ? figure(ratios.positive.estimate, ratios.positive.interval, 2) : null],
    ["Likelihood ratio −", ratios ? figure(ratios.negative.estimate, ratios.negative.interval) : null],
    [between ? `${plain(between.positive)} against ${plain(between.negative)}` : "", between ? `AUC ${figure(between.estimate, between.interval)}. Claim: ${between.claim}` : null],
    ["Set", set],
  ]), analyses.length ? [h("h3", {}, "Other analyses"), h("ul", { class: "sentences" }, analyses)] : null);
}

function theSet(verdict) {
  const { set } = verdict;
  return section("The locked set and its limits", "set", facts([
    ["Set", `${set.name} ${set.version}, class ${set.class}: ${set.items} images of ${set.patients} patients`],
    ["Leakage", (verdict.leakage || []).map((check) => `${plain(check.id)} ${check.overlap} (${check.result})`).join(", ")],
    ["Not run", (verdict.suites_not_run || []).map((suite) => `${plain(suite.id)}: ${suite.why}`).join("; ")],
  ]), h("h3", {}, "Why this class"), sentences(set.class_reasons || []),
  h("h3", {}, "Shortcuts that were probed"), sentences((set.shortcut_probes || []).map((probe) => `${probe.input}: AUC ${probe.auc}`)),
  h("h3", {}, "Limits"), sentences(verdict.limits || []));
}
