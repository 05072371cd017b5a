// The worklist: what needs eyes first and why, kept live by a long poll.
// Rows change in place; new ones are put in only when neither pointer nor focus is in the list, and else are announced
// and wait for a key or a click. Filters hold identifiers, so they live in this module and never in the address.

import { get } from "./api.js";
import { announce, button, choice, field, h, show, states } from "./dom.js";
import { badge, findingWords, againstThreshold, probabilityBar, stateOf } from "./parts.js";
import { may } from "./session.js";
import { singleKeys } from "./theme.js";
import { age, count, day, exact, person, probability, rank, sex, shortMoment } from "./words.js";

const PAGE = 50;
const WAIT_S = 45;
const RETRY_MS = 4000;

/** What is filtered; kept while the page is open, lost with it. */
const filters = { order: "attention", status: "", decision: "", signed: "", study_instance_uid: "", from: "", to: "" };
/** Ids in the order shown, for "next" and "previous" on the study page. */
export const shownIds = [];

/** Opens the page. */
export async function open(main, _id, signal) {
  const view = new Worklist(main, signal);
  await view.reload();
  view.follow();
}

class Worklist {
  constructor(main, signal) {
    this.signal = signal;
    this.rows = new Map();
    this.next = null;
    this.tip = 0;
    this.fresh = new Set();
    this.list = h("div", { class: "readings", id: "readings" });
    this.waiting = h("span", { class: "waiting" });
    this.live = h("span", { class: "live", title: "Changes appear by themselves" });
    this.arrived = h("div", { class: "arrived" });
    this.end = h("div", { class: "list-end" });
    this.limits = h("details", { class: "limits" });
    show(main, h("section", { class: "page" },
      h("div", { class: "page-head" }, h("h1", {}, "Worklist"), this.waiting, this.live), this.limits,
      this.form(), this.arrived, this.list, this.end));
    document.addEventListener("keydown", (event) => this.key(event), { signal });
    this.showLimits();
  }

  form() {
    const pick = (name) => (event) => {
      filters[name] = event.target.value.trim();
      this.reload();
    };
    const select = (label, name, options) =>
      field(label, choice(options, filters[name], { id: `filter-${name}`, onchange: pick(name) }));
    const date = (label, name) => field(label, h("input", { type: "date", value: filters[name], id: `filter-${name}`, onchange: pick(name) }));
    return h("form", { class: "filters", role: "search", "aria-label": "Filter readings", onsubmit: (event) => event.preventDefault() },
      select("Order", "order", [["attention", "Attention"], ["newest", "Newest"]]),
      select("Status", "status", [["", "Any"], ["evaluated", "Evaluated"], ["not_evaluated", "Not evaluated"], ["failed", "Failed"]]),
      select("Finding", "decision", [["", "Any"], ["present", "Present"], ["absent", "Absent"]]),
      select("Signature", "signed", [["", "Any"], ["false", "Not signed"], ["true", "Signed"]]),
      field("Study Instance UID", h("input", {
        type: "text", inputmode: "decimal", pattern: "[0-9.]*", value: filters.study_instance_uid, id: "filter-study",
        autocomplete: "off", spellcheck: "false", maxlength: 64, onchange: pick("study_instance_uid"),
      })),
      date("Read from", "from"), date("to", "to"),
      button("Clear", () => this.clear(), { class: "quiet" }));
  }

  clear() {
    Object.assign(filters, { status: "", decision: "", signed: "", study_instance_uid: "", from: "", to: "" });
    document.querySelector(".filters").replaceWith(this.form());
    this.reload();
  }

  query(cursor) {
    const edge = (date, days) => (date ? new Date(new Date(`${date}T00:00:00`).getTime() + days * 864e5).toISOString() : "");
    return { ...filters, from: edge(filters.from, 0), to: edge(filters.to, 1), limit: PAGE, cursor };
  }

  /** The first page anew. */
  async reload() {
    this.asked = (this.asked || 0) + 1;
    const asked = this.asked;
    if (!this.rows.size) show(this.list, states.loading("Loading readings"));
    try {
      const answer = await get("/readings", { query: this.query(), signal: this.signal });
      if (asked !== this.asked) return;
      this.fresh.clear();
      this.rows = new Map(answer.readings.map((reading) => [reading.id, reading]));
      this.take(answer);
      this.draw();
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      if (problem.status !== 401) show(this.list, states.error(problem, () => this.reload()));
    }
  }

  take(answer) {
    this.next = answer.next;
    this.tip = Math.max(this.tip, answer.tip ?? 0);
    this.count(answer.waiting);
  }

  count(waiting) {
    show(this.waiting, waiting ? `${count(waiting, "study", "studies")} waiting to be read` : "Nothing waits to be read");
  }

  async more() {
    const answer = await get("/readings", { query: this.query(this.next), signal: this.signal });
    for (const reading of answer.readings) this.rows.set(reading.id, reading);
    this.take(answer);
    this.draw();
    announce(`${count(answer.readings.length, "more reading")} shown`);
  }

  draw() {
    const readings = [...this.rows.values()];
    shownIds.splice(0, shownIds.length, ...readings.map((reading) => reading.id));
    const held = document.activeElement?.closest?.(".reading")?.dataset.id;
    if (!readings.length) this.nothing();
    else if (filters.order === "attention") this.groups(readings);
    else show(this.list, this.rowsOf(readings, "Readings"));
    if (held) this.row(held)?.focus({ preventScroll: true });
    show(this.end, this.next
      ? button("Show more", () => this.more(), { id: "more" })
      : readings.length ? h("p", { class: "hint" }, `${count(readings.length, "reading")}, no more.`) : null);
    this.pill();
  }

  nothing() {
    const filtered = Object.entries(filters).some(([name, value]) => name !== "order" && value);
    show(this.list, filtered
      ? states.empty("No reading fits these filters.", button("Clear the filters", () => this.clear()))
      : states.empty("No readings yet.", may("upload")
        ? ["Films sent by a modality appear here by themselves. Or ", h("a", { href: "#/upload" }, "upload one"), "."]
        : "Films sent by a modality appear here by themselves."));
  }

  groups(readings) {
    const ranks = [...new Set(readings.map((reading) => reading.attention.rank))].sort((a, b) => a - b);
    show(this.list, ranks.map((number) => {
      const [, code, title, sentence] = rank(number);
      const inside = readings.filter((reading) => reading.attention.rank === number);
      return h("section", { class: `group is-${code}`, "aria-label": title },
        h("h2", {}, badge(code, title), h("span", { class: "group-count" }, String(inside.length)), h("small", {}, sentence)),
        this.rowsOf(inside, title));
    }));
  }

  rowsOf(readings, name) {
    return h("ol", { class: "rows", "aria-label": name }, readings.map((reading) => h("li", {}, rowOf(reading))));
  }

  row(id) {
    return this.list.querySelector(`.reading[data-id="${id}"]`);
  }

  /** Asks again and again what changed; ends with the page. */
  async follow() {
    show(this.live, "Live");
    while (!this.signal.aborted) {
      try {
        const answer = await get("/readings/changes", { query: { since: this.tip, wait: WAIT_S }, signal: this.signal });
        show(this.live, "Live");
        this.live.classList.remove("is-off");
        this.tip = Math.max(this.tip, answer.tip);
        this.count(answer.waiting);
        if (answer.changed.length) await this.changed(answer.changed);
      } catch (problem) {
        if (problem.name === "AbortError" || problem.status === 401) return;
        show(this.live, "Not live: trying again");
        this.live.classList.add("is-off");
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async changed(changed) {
    for (const { id } of changed) {
      if (!this.rows.has(id)) {
        this.fresh.add(id);
        continue;
      }
      const reading = await get(`/readings/${id}`, { signal: this.signal }).catch(() => null);
      if (reading) {
        this.rows.set(id, { ...reading, images: reading.images?.length ?? reading.images });
        this.row(id)?.replaceWith(rowOf(this.rows.get(id)));
      }
    }
    if (!this.fresh.size) return;
    announce(`${count(this.fresh.size, "new reading")}`);
    if (this.busy()) this.pill();
    else await this.reload();
  }

  /** Whether a reader's pointer or focus is in the list, or the list is scrolled: then it does not move. */
  busy() {
    return this.list.matches(":hover") || this.list.contains(document.activeElement) || scrollY > 200;
  }

  pill() {
    show(this.arrived, this.fresh.size
      ? button(`${count(this.fresh.size, "new reading")}: show (.)`, () => this.reload(), { class: "primary", id: "show-new" })
      : null);
  }

  key(event) {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const arrow = event.key === "ArrowDown" || event.key === "ArrowUp";
    const inside = this.list.contains(document.activeElement);
    if (arrow ? !inside : !singleKeys()) return;
    if (event.key === "j" || event.key === "ArrowDown") this.step(event, 1);
    else if (event.key === "k" || event.key === "ArrowUp") this.step(event, -1);
    else if (event.key === "/") {
      event.preventDefault();
      document.getElementById("filter-order").focus();
    } else if (event.key === "." && this.fresh.size) this.reload();
  }

  step(event, by) {
    const rows = [...this.list.querySelectorAll(".reading")];
    if (!rows.length) return;
    event.preventDefault();
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + by))].focus();
  }

  /** The limits of the model that reads here, one click away. */
  async showLimits() {
    try {
      const { models } = await get("/models", { signal: this.signal });
      const admitted = models.find((model) => model.admitted);
      if (!admitted) {
        show(this.limits, h("summary", {}, "No model is admitted here: studies are kept and not evaluated."));
        return;
      }
      const model = await get(`/models/${admitted.root}`, { signal: this.signal });
      const use = model.package?.intended_use;
      show(this.limits, h("summary", {}, `Read by ${admitted.name} ${admitted.version}, ${admitted.mode} only. What it is for, and its limits`),
        h("p", {}, use?.text), h("ul", { class: "sentences" }, (use?.limits || []).map((text) => h("li", {}, text))),
        h("p", {}, h("a", { href: `#/models/${admitted.root}` }, "The model and its evidence")));
    } catch {
      this.limits.remove();
    }
  }
}

/** One reading as a row: one link, its parts in a grid. */
function rowOf(reading) {
  const state = stateOf(reading);
  const { patient = {}, study = {} } = reading;
  const born = patient.birth_date ? `born ${day(patient.birth_date)}` : null;
  const what = [study.modality, study.body_part, study.view, age(study.age)].filter(Boolean).join(" · ");
  return h("a", {
    class: `reading is-${state}${reading.signed ? " is-signed" : ""}`, href: `#/study/${reading.id}`, data: { id: reading.id },
  },
    h("span", { class: "cell finding" }, badge(state), evaluation(reading)),
    h("span", { class: "cell patient" }, h("strong", {}, person(patient.name)),
      small(patient.id, sex(patient.sex), born)),
    h("span", { class: "cell study" }, h("span", {}, what || "no description"),
      small(study.date ? `taken ${day(study.date)}` : null, study.accession, count(Number(reading.images) || 1, "image"))),
    h("span", { class: "cell when" }, h("time", { datetime: exact(reading.issued), title: exact(reading.issued) }, shortMoment(reading.issued)),
      h("small", {}, "read")),
    h("span", { class: "cell sign" }, signature(reading)));
}

/** Small print whose parts wrap whole. */
const small = (...parts) => h("small", { class: "parts" }, parts.filter(Boolean).map((text) => h("span", {}, text)));

function evaluation(reading) {
  if (reading.status !== "evaluated") {
    return h("span", { class: "why" }, reading.reason?.text || reading.reason?.code || "no reason given");
  }
  return (reading.findings || []).map((finding) => h("span", { class: "score", title: findingWords(finding) },
    h("span", { class: "name" }, finding.code.display), " ", h("b", {}, probability(finding.probability)),
    probabilityBar(finding), h("small", {}, againstThreshold(finding))));
}

function signature({ signed, status }) {
  if (!signed) return h("small", {}, status === "evaluated" ? "not signed" : "–");
  return [badge("signed", signed.agrees ? "signed, agrees" : "overridden"), h("small", {}, [signed.by, shortMoment(signed.at)].filter(Boolean).join(", "))];
}
