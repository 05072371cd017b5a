// The audit log: newest entries, search, one entry in full with its links and its proof, the whole log verified by the
// program and, apart from it, by this browser from the public tiles.

import { bytes, get, post, text } from "./api.js";
import { announce, button, choice, digest, facts, field, h, show, states } from "./dom.js";
import { section } from "./parts.js";
import { available, base64, checkTree } from "./receipt.js";
import { may } from "./session.js";
import { checkInto, keys, stepsOf } from "./trust.js";
import { count, exact, moment, plain } from "./words.js";

const PAGE = 50;
const KINDS = [
  "site_opened", "boot", "shutdown", "model_registered", "dataset_locked", "protocol_registered", "dataset_opened", "evaluation",
  "release_decision", "rollout", "read_refused", "read_intent", "read_outcome", "finding_released", "sign_off", "amendment", "override",
  "access", "config_change", "role_change", "key_rotation", "erasure", "witness", "timestamp", "self_audit", "incident", "export",
];
const search = { kind: "", actor: "", operation: "", from: "", to: "" };

/** Opens the list, or one entry. */
export async function open(main, index, signal) {
  if (index !== null) return openEntry(main, index, signal);
  const list = h("div");
  const end = h("div", { class: "list-end" });
  const size = h("span", { class: "waiting" });
  const load = async (cursor = null) => {
    if (!cursor) show(list, states.loading("Loading entries"));
    try {
      const answer = await get("/log/entries", { query: { ...times(), limit: PAGE, cursor }, signal });
      show(size, count(answer.size, "entry", "entries"));
      if (cursor) list.querySelector("tbody").append(...answer.entries.map(row));
      else show(list, answer.entries.length ? table(answer.entries) : states.empty("No entry fits this search."));
      show(end, answer.next ? button("Older entries", () => load(answer.next)) : null);
      if (cursor) announce(`${count(answer.entries.length, "older entry", "older entries")} shown`);
    } catch (problem) {
      if (problem.name !== "AbortError" && problem.status !== 401) show(list, states.error(problem, () => load(cursor)));
    }
  };
  show(main, h("section", { class: "page" },
    h("div", { class: "page-head" }, h("h1", {}, "Audit log"), size),
    h("p", { class: "lead" }, "Every act, each bound to all before it. No patient is in it: salted commitments stand in their place."),
    verification(signal), form(load), list, end));
  await load();
  return null;
}

function times() {
  const edge = (date, days) => (date ? new Date(new Date(`${date}T00:00:00`).getTime() + days * 864e5).toISOString() : "");
  return { ...search, from: edge(search.from, 0), to: edge(search.to, 1) };
}

function form(load) {
  const pick = (name) => (event) => {
    search[name] = event.target.value.trim();
    load();
  };
  const text_ = (label, name) => field(label, h("input", {
    type: "text", value: search[name], autocomplete: "off", spellcheck: "false", id: `log-${name}`, maxlength: 64, onchange: pick(name),
  }));
  const date = (label, name) => field(label, h("input", { type: "date", value: search[name], id: `log-${name}`, onchange: pick(name) }));
  const kinds = choice([["", "Any"], ...KINDS.map((kind) => [kind, plain(kind)])], search.kind, { id: "log-kind", onchange: pick("kind") });
  const submit = (event) => {
    event.preventDefault();
    load();
  };
  return h("form", { class: "filters", role: "search", "aria-label": "Search the log", onsubmit: submit },
    field("Kind", kinds), text_("Actor", "actor"), text_("Operation", "operation"), date("From", "from"), date("to", "to"),
    h("button", { type: "submit" }, "Search"));
}

/** Two checks of the whole log: by the program, and by this browser. */
function verification(signal) {
  const place = h("div", { "aria-live": "polite", id: "verified" });
  const run = async (control, act) => {
    control.disabled = true;
    show(place, states.loading("Verifying"));
    try {
      show(place, await act());
      announce(place.querySelector("strong")?.textContent || "Done");
    } catch (problem) {
      show(place, states.error(problem));
    } finally {
      control.disabled = false;
    }
  };
  const byProgram = button("Verify now", () => run(byProgram, verifyThere), { class: "primary", id: "verify-now" });
  const byBrowser = button("Compute the tree in this browser", () => run(byBrowser, () => verifyHere(signal)), { id: "verify-here", disabled: !available() });
  return section("Verification", "verification",
    h("div", { class: "actions" }, may("verify") ? byProgram : null, byBrowser,
      h("span", { class: "hint" }, "The program checks every entry, rule, tile and signature. The browser hashes the public tiles and checks the signature itself.")), place);
}

async function verifyThere() {
  const found = await post("/log/verify");
  return h("div", { class: `verdict is-${found.ok ? "good" : "bad"}`, role: found.ok ? null : "alert" },
    h("strong", {}, found.ok ? `✓ The log verifies: ${count(found.entries, "entry", "entries")}` : "✕ The log does not verify"),
    found.fault ? h("p", {}, found.fault) : null,
    facts([["Root", digest(found.root, 64)], ["Took", `${found.took_ms} ms`]]));
}

async function verifyHere(signal) {
  const held = await keys();
  const result = await checkTree(held.pinned, (path) => text(`/log/${path}`, { signal }), (path) => bytes(`/log/${path}`, { signal }));
  return stepsOf(result, `The tree of ${count(result.size || 0, "entry", "entries")} was computed in this browser and is the one that was signed`);
}

function table(entries) {
  return h("table", { class: "entries" },
    h("thead", {}, h("tr", {}, ["No.", "When", "Kind", "What", "Who"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, entries.map(row)));
}

function row(entry) {
  return h("tr", { class: `kind-${entry.kind}` },
    h("td", { class: "number" }, h("a", { href: `#/log/${entry.index}`, "aria-label": `Entry ${entry.index}` }, String(entry.index))),
    h("td", {}, h("time", { datetime: exact(entry.t_ms) }, moment(entry.t_ms))),
    h("td", {}, plain(entry.kind)),
    h("td", {}, summary(entry)),
    h("td", {}, h("span", { class: "actor" }, entry.actor.role), " ", entry.actor.id === entry.actor.role ? null : h("code", {}, shortActor(entry.actor.id))));
}

const shortActor = (id) => (id.length > 14 ? `${id.slice(0, 12)}…` : id);

/** What an entry says, in a line. */
function summary({ kind, body }) {
  if (kind === "access") {
    const denied = body.result === "denied";
    return [h("code", {}, body.operation), ` ${body.action} ${plain(body.what)}`, denied ? h("b", { class: "denied" }, ` denied: ${plain(body.why)}`) : null];
  }
  const words = {
    read_outcome: () => `status ${plain(body.status)}${body.error ? `, ${plain(body.error)}` : ""}`,
    read_refused: () => plain(body.reason),
    read_intent: () => `${body.modality || ""} ${body.body_part || ""}, ${count(body.n_images || 0, "image")}`,
    finding_released: () => `${plain(body.channel)} to ${plain(body.recipient)}`,
    boot: () => body.version,
    rollout: () => `${body.from} → ${body.to}`,
    release_decision: () => body.decision,
    evaluation: () => body.verdict,
    incident: () => `${plain(body.code)}: ${body.text}`,
    model_registered: () => `${body.model} ${body.version}`,
    sign_off: () => plain(body.meaning),
    override: () => plain(body.reason_code),
    dataset_locked: () => `${body.dataset} ${body.version}`,
  };
  return words[kind]?.() ?? "";
}

async function openEntry(main, index, signal) {
  const entry = await get(`/log/entries/${index}`, { signal });
  const check = h("div", { "aria-live": "polite", id: "receipt-check" });
  const number = Number(index);
  show(main, h("section", { class: "page" },
    h("nav", { class: "steps-nav", "aria-label": "Entries" }, h("a", { href: "#/log" }, "← Log"),
      number > 0 ? h("a", { href: `#/log/${number - 1}` }, "older") : null, h("a", { href: `#/log/${number + 1}` }, "newer")),
    h("div", { class: "page-head" }, h("h1", {}, `Entry ${entry.index}: ${plain(entry.kind)}`)),
    h("div", { class: "two" },
      h("div", { class: "column" },
        section("What it says", "entry", facts([
          ["When", h("time", { datetime: exact(entry.t_ms) }, `${moment(entry.t_ms)} (${exact(entry.t_ms)})`)],
          ["Who", [entry.actor.role, " ", h("code", {}, entry.actor.id)]],
          ["Entry", h("code", { class: "digest" }, entry.entry_id)],
          ["Leaf", h("code", { class: "digest" }, entry.leaf)],
        ]), h("pre", { class: "body", tabindex: 0, "aria-label": "Body" }, JSON.stringify(entry.body, null, 2))),
        section("Bound to", "refs", entry.refs.length
          ? h("ul", { class: "sentences" }, entry.refs.map((ref) => h("li", {}, `${plain(ref.rel)}: `, h("a", { href: `#/log/${ref.index}` }, `entry ${ref.index}`), " ", digest(ref.leaf))))
          : h("p", { class: "hint" }, "It names no other entry."))),
      h("div", { class: "column" },
        section("Its place in the log", "inclusion", h("p", {}, "Checked by this browser: the entry above, its leaf, its path to the signed root."), check)))));
  checkInto(check, `/receipts/${entry.entry_id}`, { entryId: entry.entry_id, entry: entry.entry ? base64(entry.entry) : undefined });
}
