// The study page: film on the left, what was said of it and why on the right, its signature and its receipt.
// First the words, then the film's values: the reading is there before the pixels have come.

import { get, post } from "./api.js";
import { announce, button, digest, facts, h, show, states } from "./dom.js";
import { FilmPanel } from "./film.js";
import { againstThreshold, badge, probabilityBar, section, sentences, stateOf } from "./parts.js";
import { may } from "./session.js";
import { signPanel } from "./sign.js";
import { singleKeys } from "./theme.js";
import { checkInto } from "./trust.js";
import { age, count, day, exact, moment, person, plain, probability, rank, sex, withInterval } from "./words.js";
import { shownIds } from "./worklist.js";

/** Opens the page of one reading. */
export async function open(main, id, signal) {
  const reading = await get(`/readings/${id}`, { signal });
  const film = new FilmPanel(reading, signal);
  const top = h("div");
  const sign = h("div");
  const refresh = async () => draw(await get(`/readings/${id}`, { signal }));
  const draw = (now) => {
    show(top, head(now));
    show(sign, signPanel(now, refresh));
  };
  draw(reading);
  show(main, h("article", { class: "study-page" }, top, h("div", { class: "study-columns" },
    film.element,
    h("div", { class: "study-side" }, // What is not sure stands before the place to sign.
      finding(reading), uncertainty(reading), notEvaluated(reading), sign, receipt(reading),
      limits(reading), may("replay") ? replay(reading) : null, record(reading)))));
  document.addEventListener("keydown", (event) => keys(event, id), { signal });
  film.load();
}

function keys(event, id) {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey || !singleKeys()) return;
  if (document.querySelector("dialog[open]")) return;
  const at = shownIds.indexOf(id);
  const go = (by) => {
    const next = at >= 0 && shownIds[at + by];
    if (next) location.hash = `#/study/${next}`;
    else announce("No further reading in the worklist");
  };
  if (event.key === "n") go(1);
  else if (event.key === "b") go(-1);
  else if (event.key === "v") document.querySelector(".film canvas")?.focus();
  else if (event.key === "s") {
    const control = document.querySelector("#signature select, #signature button, #signature h2");
    control?.scrollIntoView({ block: "center" });
    control?.focus();
  } else return;
  event.preventDefault();
}

function head(reading) {
  const { patient = {}, study = {} } = reading;
  const at = shownIds.indexOf(reading.id);
  const [, , why] = rank(reading.attention?.rank);
  const film = [study.modality, study.body_part, study.view].filter(Boolean).join(" ");
  return h("header", { class: "study-head" },
    h("div", { class: "study-bar" },
      h("nav", { class: "steps-nav", "aria-label": "Readings" }, h("a", { href: "#/worklist" }, "← Worklist"),
        at > 0 ? h("a", { href: `#/study/${shownIds[at - 1]}`, "aria-label": "Previous reading" }, "previous") : null,
        at >= 0 && at + 1 < shownIds.length ? h("a", { href: `#/study/${shownIds[at + 1]}`, "aria-label": "Next reading" }, "next") : null),
      h("p", { class: "study-state" }, badge(reading.signed ? "signed" : stateOf(reading), reading.signed ? "signed" : why),
        h("span", {}, "read ", h("time", { datetime: exact(reading.issued) }, moment(reading.issued))))),
    // The tab's title names no patient.
    h("h1", { data: { title: "Study" } }, person(patient.name)),
    h("p", { class: "study-facts" }, [
      patient.id ? `ID ${patient.id}` : null, sex(patient.sex), patient.birth_date ? `born ${day(patient.birth_date)}` : null,
      study.age ? `${age(study.age)} at the film` : null, film, study.date ? `taken ${day(study.date)}` : null,
      study.accession ? `accession ${study.accession}` : null,
    ].filter(Boolean).map((text) => h("span", {}, text))));
}

function finding(reading) {
  if (reading.status !== "evaluated") {
    const failed = reading.status === "failed";
    return section(failed ? "Could not be read" : "Not evaluated", "finding",
      h("p", { class: "headline" }, badge(reading.status), " ", reading.reason?.text || "No reason was given."),
      reading.reason ? h("p", { class: "hint" }, "Code ", h("code", {}, reading.reason.code)) : null,
      h("p", {}, failed
        ? "Something broke on the way: nothing is known about this study. It has to be read by a person."
        : "The model has said nothing about this study, because it lies outside of what it may read. That is no finding of any kind."));
  }
  return section(reading.findings.length > 1 ? "Findings" : "Finding", "finding", reading.findings.map(oneFinding));
}

function oneFinding(found) {
  const point = found.operating_point;
  const { ci95 = {} } = point;
  const regions = found.regions || [];
  return h("div", { class: `one-finding is-${found.decision}` },
    h("p", { class: "headline" }, badge(found.decision, `${found.code.display} ${found.decision}`)),
    h("div", { class: "probability" }, h("span", { class: "number" }, probability(found.probability)),
      h("div", {}, probabilityBar(found),
        h("p", {}, "Probability, ", againstThreshold(found), "."))),
    h("p", {}, h("b", {}, "At that point: "), "of 100 films with the finding it calls ",
      h("b", {}, hundred(point.sensitivity)), "; of 100 films without it leaves ", h("b", {}, hundred(point.specificity)), " uncalled."),
    facts([
      ["Sensitivity", withInterval(point.sensitivity, ci95.sensitivity)],
      ["Specificity", withInterval(point.specificity, ci95.specificity)],
      ["Measured on", point.set],
      ["Where", regions.length ? regions.map((region) =>
        `the explanation's weight lies most in rows ${region.row} to ${region.row + region.rows}, columns ${region.column} to `
        + `${region.column + region.columns} (${Math.round(region.weight * 100)} % of it); not the outline of a lesion`).join("; ") : null],
      ["Code", [`${found.code.display}, `, h("code", {}, `${systemName(found.code.system)} ${found.code.code}`)]],
    ]));
}

const hundred = (share) => (typeof share === "number" ? String(Math.round(share * 100)) : "–");
const systemName = (system) => (system === "http://snomed.info/sct" ? "SNOMED CT" : system);

function uncertainty(reading) {
  const sure = reading.uncertainty;
  if (!sure || reading.status !== "evaluated") return null;
  const mirrored = sure.mirrored_probability?.map(probability).join(", ");
  const far = sure.ood_score > 0.9 * sure.ood_limit;
  const notes = (sure.notes || []).filter((note) => note.code !== "limit").concat(reading.quality || []);
  const calibration = sure.calibration;
  return section("How sure", "uncertainty", facts([
    ["From the threshold", `${number(sure.margin)} of probability`],
    ["Film mirrored", [`${mirrored}: differs by ${number(sure.mirrored_spread)}`,
      sure.mirrored_spread > 0.1 ? ", which is much" : null]],
    ["Like the training films", [`distance ${number(sure.ood_score)} of at most ${number(sure.ood_limit)}`, far ? ", near the limit" : null]],
    ["Evidence on the border", typeof sure.saliency_border_share === "number"
      ? `${Math.round(sure.saliency_border_share * 100)} % of the explanation's weight` : null],
    ["Calibration", calibration ? `expected error ${number(calibration.error, 3)}, slope ${number(calibration.slope)}: probabilities are too `
      + `${calibration.slope > 1 ? "cautious" : "bold"} on that set` : null],
  ]), notes.length ? h("div", { class: "notice" }, sentences(notes.map((note) => note.text))) : null);
}

const number = (value, decimals = 2) => (typeof value === "number" ? value.toFixed(decimals) : "–");

function notEvaluated(reading) {
  // Why nothing was evaluated stands above; here stands what was left out beside it.
  const said = reading.reason?.text;
  const parts = (reading.not_evaluated || []).filter((part) => part.text !== said);
  if (reading.status !== "evaluated" && !parts.length) return null;
  const text = parts.length
    ? sentences(parts.map((part) => [part.text, " ", h("code", {}, part.code)]))
    : h("p", { class: "hint" }, "Nothing of this study was left out.");
  return section("What was not evaluated", "left-out", text,
    h("p", { class: "hint" }, "Everything that no finding above names was not looked for."));
}

function limits(reading) {
  const notes = (reading.uncertainty?.notes || []).filter((note) => note.code === "limit").map((note) => note.text);
  const all = [...new Set([...(reading.limits || []), ...notes])];
  return all.length ? section("Limits", "limits", sentences(all)) : null;
}

function receipt(reading) {
  const place = h("div", { "aria-live": "polite", id: "receipt-check" });
  const entry = reading.receipt || {};
  checkInto(place, `/readings/${reading.id}/receipt`, { entryId: reading.id });
  return section("Receipt", "receipt",
    h("p", {}, "This reading stands as entry ", h("b", {}, entry.index ?? reading.index), " in the audit log. Your browser checks that itself, without trust in ",
      "the program: hashes by its own SHA-256, the signature by its own Ed25519."),
    place,
    h("p", { class: "hint" }, "The entry binds the film, the model's output and the report by salted commitments; what they open to lies sealed at the site."));
}

function replay(reading) {
  const place = h("div", { "aria-live": "polite" });
  const run = button("Read it again and compare", async () => {
    run.disabled = true;
    show(place, states.loading("Computing the reading again"));
    try {
      const { results: [result] } = await post("/replay", { readings: [reading.id] });
      show(place, result.same
        ? h("div", { class: "verdict is-good" }, h("strong", {}, "✓ The same"), h("p", {}, "Input, preparation, output and explanation have the digests of the record."))
        : h("div", { class: "verdict is-bad", role: "alert" }, h("strong", {}, "✕ Not the same"), sentences(result.differences.map(plain))));
      announce(result.same ? "The replay gave the same" : "The replay differs");
    } catch (problem) {
      show(place, states.error(problem));
    } finally {
      run.disabled = false;
    }
  }, { id: "replay" });
  return section("Replay", "replay-part", h("p", {}, "The same film through the same model must give the same digests, bit by bit."), run, place);
}

function record(reading) {
  const { model, digests = {}, timing_ms: timing = {} } = reading;
  const steps = Object.entries(timing).filter(([name]) => name !== "total");
  return section("Record", "record", facts([
    ["Model", model ? h("a", { href: model.package_root ? `#/models/${model.package_root}` : "#/models" }, `${model.id} ${model.version}`) : null],
    ["Mode", model?.mode ? `${model.mode} only` : null],
    ["Computed as", model?.precision],
    ["Weights", digest(model?.weights_sha256)],
    ["Package", digest(model?.package_root)],
    ["Files as received", digest(digests.input)],
    ["Prepared input", digest(digests.preprocessing)],
    ["Output", digest(digests.output)],
    ["Explanation", digest(digests.saliency)],
    ["Study", h("code", { class: "digest" }, reading.study?.study_instance_uid || reading.study_instance_uid)],
    ["Entry", h("code", { class: "digest" }, reading.id)],
    ["Time", timing.total ? `${Math.round(timing.total)} ms in all: ${steps.map(([name, ms]) => `${plain(name)} ${number(ms, 1)}`).join(", ")}` : null],
    ["Images", count(reading.images?.length || 0, "image")],
  ], "facts tight"));
}
