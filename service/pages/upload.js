// Upload: films by drag and drop or by a button, each with its progress, and with its reading as soon as there is one.
// DICOM files of one study go together by STOW-RS; a single file and pictures by POST /readings. Pictures say nothing of
// themselves: what the model must know of them is asked for.

import { Problem, get, randomHex } from "./api.js";
import { announce, choice, field, h, show, states } from "./dom.js";
import { FAILURES, identify } from "./dicom.js";
import { badge, findingWords, section, stateOf } from "./parts.js";
import { count } from "./words.js";

const PICTURES = ["image/png", "image/jpeg"];
/** A study is waited for this long. */
const WAIT_S = 180;
const POLL_S = 25;
const VIEWS = [["", "choose"], ["AP", "AP (front to back)"], ["PA", "PA (back to front)"], ["LATERAL", "Lateral"]];

/** Opens the page. */
export async function open(main, _id, signal) {
  const list = h("ol", { class: "uploads", "aria-label": "Files sent" });
  const input = h("input", { type: "file", multiple: true, class: "unseen", id: "files", accept: ".dcm,.dicom,application/dicom,image/png,image/jpeg,*/*" });
  const pictures = new PictureFacts();
  const take = (files) => sendAll([...files], list, pictures, signal);
  input.addEventListener("change", () => { take(input.files); input.value = ""; });
  const zone = h("div", { class: "drop" },
    h("p", { class: "drop-title" }, "Drop films here"),
    h("p", {}, "or ", h("label", { for: "files", class: "button primary" }, "choose files")), input,
    h("p", { class: "hint" }, "DICOM, several at once; files of one study are read together. PNG and JPEG too: they carry no metadata, so it is asked for."));
  dropOn(zone, take, signal);
  show(main, h("section", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Upload")),
    zone, pictures.element, section("Sent in this visit", "sent", list,
      h("p", { class: "hint" }, "What is accepted is durable and stands in the log before it is read. It is read even if you leave this page."))));
}

function dropOn(zone, take, signal) {
  const over = (on) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.toggle("is-over", on);
  };
  document.addEventListener("dragover", over(true), { signal });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("is-over"); }, { signal });
  document.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer?.files.length) take(event.dataTransfer.files);
  }, { signal });
}

/** What a picture does not say of itself. */
class PictureFacts {
  constructor() {
    this.modality = choice([["", "choose"], ["DX", "DX, digital radiograph"], ["CR", "CR, computed radiograph"], ["OT", "other"]], "", { id: "picture-modality" });
    this.part = h("input", { type: "text", id: "picture-part", maxlength: 16, list: "parts", autocomplete: "off", spellcheck: "false" });
    this.view = choice(VIEWS, "", { id: "picture-view" });
    this.years = h("input", { type: "number", id: "picture-age", min: 0, max: 120, step: 1, inputmode: "numeric" });
    const parts = h("datalist", { id: "parts" }, ["CHEST", "ABDOMEN", "HAND", "SKULL"].map((name) => h("option", { value: name })));
    this.fault = h("div", { "aria-live": "assertive" });
    this.element = section("For pictures (PNG, JPEG)", "pictures",
      h("p", {}, "A picture says neither what it shows nor of whom. Without these the model does not evaluate it; with wrong ones its answer is worth nothing."),
      h("div", { class: "filters" }, field("Modality", this.modality), field("Body part", this.part), field("View", this.view), field("Age in years", this.years)), parts, this.fault);
  }

  /** The parameters, or null where something is missing; then it is said. */
  query() {
    const missing = [[this.modality, "modality"], [this.part, "body part"], [this.view, "view"], [this.years, "age"]].filter(([control]) => !control.value.trim());
    show(this.fault, missing.length ? h("p", { class: "notice" }, `A picture lacks metadata. Say first: ${missing.map(([, name]) => name).join(", ")}.`) : null);
    if (missing.length) {
      missing[0][0].focus();
      return null;
    }
    const age = `${String(Math.min(999, Math.max(0, Math.floor(Number(this.years.value))))).padStart(3, "0")}Y`;
    return { modality: this.modality.value, body_part: this.part.value.trim().toUpperCase(), view: this.view.value, age };
  }
}

/** One line of the list: a file, how far it is, what became of it. */
class Line {
  constructor(file) {
    this.file = file;
    this.bar = h("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
    this.said = h("div", { class: "said", "aria-live": "polite" }, "waiting");
    this.element = h("li", {}, h("strong", { class: "file-name" }, file.name), h("small", {}, size(file.size)), this.bar, this.said);
  }

  say(...what) {
    show(this.said, what);
  }

  fail(problem) {
    this.bar.hidden = true;
    const wait = problem.retryAfter ? ` Try again in ${count(problem.retryAfter, "second")}.` : "";
    this.say(h("span", { class: "refused" }, h("b", {}, "Not taken: "), (problem.detail || problem.message) + wait));
    announce(`${this.file.name}: not taken`);
  }
}

const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function sendAll(files, list, pictures, signal) {
  const studies = new Map();
  for (const file of files) {
    const line = new Line(file);
    const said = await identify(file);
    if (said) {
      list.prepend(line.element);
      const key = said.study || randomHex(8);
      studies.set(key, [...(studies.get(key) || []), { line, said }]);
    } else if (PICTURES.includes(file.type)) {
      const query = pictures.query();
      if (!query) continue;
      list.prepend(line.element);
      await sendOne(line, file.type, query, signal);
    } else {
      list.prepend(line.element);
      line.fail({ detail: "it is neither a DICOM file nor PNG or JPEG." });
    }
  }
  for (const [study, parts] of studies) {
    if (parts.length === 1) await sendOne(parts[0].line, "application/dicom", {}, signal);
    else await sendStudy(study, parts, signal);
  }
}

async function tip(signal) {
  return (await get("/readings/changes", { query: { since: 0, wait: 0 }, signal })).tip;
}

async function sendOne(line, type, query, signal) {
  try {
    const before = await tip(signal);
    line.say("sending");
    const answer = await transmit(`/readings?${new URLSearchParams(query)}`, line.file, type, (share) => { line.bar.value = share; });
    line.bar.hidden = true;
    if (answer.reading) await showReading(line, answer.reading, "held already, and read:");
    else if (answer.state === "held") line.say("held already; nothing new to read.");
    else {
      line.say(states.loading("accepted and durable, being read"));
      follow([line], { study: answer.study }, before, signal);
    }
  } catch (problem) {
    if (problem.name !== "AbortError") line.fail(problem);
  }
}

/** STOW-RS: one multipart body made of the files themselves, which the browser reads as it sends. */
async function sendStudy(study, parts, signal) {
  const boundary = `vidimus-${randomHex(16)}`;
  const head = `\r\nContent-Type: application/dicom\r\n\r\n`;
  const body = new Blob([...parts.flatMap(({ line }) => [`--${boundary}${head}`, line.file, "\r\n"]), `--${boundary}--\r\n`]);
  const type = `multipart/related; type="application/dicom"; boundary=${boundary}`;
  for (const { line } of parts) line.say("sending");
  try {
    const before = await tip(signal);
    const answer = await transmit("/dicom-web/studies", body, type, (share) => { for (const { line } of parts) line.bar.value = share; }, "application/dicom+json");
    const refused = new Map((answer["00081198"]?.Value || []).map((item) => [item["00081155"]?.Value?.[0], item["00081197"]?.Value?.[0]]));
    const taken = parts.filter(({ line, said }) => {
      line.bar.hidden = true;
      if (!refused.has(said.instance)) return true;
      const reason = refused.get(said.instance);
      line.fail({ detail: `${FAILURES[reason] || "it was refused"} (reason ${(reason ?? 0).toString(16).padStart(4, "0")}).` });
      return false;
    });
    for (const { line } of taken) line.say(states.loading("accepted and durable, being read"));
    if (taken.length) follow(taken.map(({ line }) => line), { study_instance_uid: study }, before, signal);
  } catch (problem) {
    for (const { line } of parts) line.fail(problem);
  }
}

/** Waits for the reading of a study, and links it. */
async function follow(lines, query, before, signal) {
  const end = Date.now() + WAIT_S * 1000;
  let since = before;
  try {
    while (Date.now() < end && !signal.aborted) {
      const { readings } = await get("/readings", { query: { ...query, order: "newest", limit: 1 }, signal });
      if (readings[0] && readings[0].index > before) {
        for (const line of lines) await showReading(line, readings[0].id, "read:", readings[0]);
        return;
      }
      since = (await get("/readings/changes", { query: { since, wait: POLL_S }, signal })).tip;
    }
    for (const line of lines) line.say("accepted; it is still being read. It will appear in the ", h("a", { href: "#/worklist" }, "worklist"), ".");
  } catch (problem) {
    if (problem.name !== "AbortError") for (const line of lines) line.say("accepted; the answer could not be fetched. See the ", h("a", { href: "#/worklist" }, "worklist"), ".");
  }
}

async function showReading(line, id, words, known) {
  const reading = known || await get(`/readings/${id}`);
  const what = reading.status === "evaluated" ? (reading.findings || []).map(findingWords).join("; ") : reading.reason?.text;
  line.say(h("span", { class: "done" }, `${words} `, badge(stateOf(reading)), " ", h("a", { href: `#/study/${id}` }, what || "open the reading")));
  announce(`${line.file.name}: read`);
}

/** Sends a body and says how far it is; fetch cannot. */
function transmit(address, body, type, progress, accept = "application/json") {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("content-type", type);
    request.setRequestHeader("accept", accept);
    request.setRequestHeader("idempotency-key", randomHex(16));
    request.upload.onprogress = (event) => progress(event.lengthComputable ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Problem(0, { detail: "the program does not answer." }));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // An answer without a body is told by its status.
      }
      const partly = request.status === 409 && answer["00081198"];
      if (request.status < 300 || partly) resolve(answer);
      else reject(new Problem(request.status, { detail: `the program answered with status ${request.status}.`, ...answer,
        retryAfter: Number(request.getResponseHeader("retry-after")) || answer.retryAfter }));
    };
    request.send(body);
  });
}
