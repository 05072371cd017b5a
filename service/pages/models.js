// Models: which are here, and of each its card, what it may read, and the evidence for its release.
// No patient is in any of it: a regulator sees this page whole.

import { get, text } from "./api.js";
import { digest, facts, h, show, states } from "./dom.js";
import { chainPart, manifestOf } from "./chain.js";
import { evidenceParts } from "./figures.js";
import { markdown } from "./markdown.js";
import { section, sentences } from "./parts.js";
import { exact, moment, plain } from "./words.js";

/** Opens the list, or one model. */
export async function open(main, root, signal) {
  if (root) {
    await openModel(main, root, signal);
    return;
  }
  const { models } = await get("/models", { signal });
  show(main, h("section", { class: "page" }, h("div", { class: "page-head" }, h("h1", {}, "Models")),
    h("p", { class: "lead" }, "A model reads here only while its logged release, its evidence and its files agree."),
    models.length ? h("ul", { class: "models" }, models.map((model) => h("li", {}, modelRow(model))))
      : states.empty("No model is registered at this site.", "Studies are kept, and not evaluated.")));
}

const MODES = {
  demonstration: "demonstration only", shadow: "in the shadow: reads, shows nothing", canary: "for a part of the studies", active: "active",
  fallback: "fallback", off: "off", recalled: "recalled",
};

function admission(model) {
  return model.admitted
    ? h("span", { class: "badge is-signed" }, h("span", { class: "shape", "aria-hidden": "true" }, "✓"), `admitted: ${MODES[model.mode] || model.mode}`)
    : h("span", { class: "badge is-failed" }, h("span", { class: "shape", "aria-hidden": "true" }, "✕"), "not admitted");
}

function modelRow(model) {
  return h("a", { class: "model", href: `#/models/${model.root}` },
    h("span", {}, h("strong", {}, model.name), ` ${model.version}`), admission(model),
    h("span", { class: "hint" }, model.why || plain(model.state)), digest(model.root));
}

async function openModel(main, root, signal) {
  const [model, evidence] = await Promise.all([get(`/models/${root}`, { signal }), get(`/models/${root}/evidence`, { signal })]);
  const { package: pack } = model;
  const chain = h("div", { "aria-live": "polite", id: "chain" });
  show(main, h("article", { class: "page model-page" },
    h("nav", { class: "steps-nav", "aria-label": "Models" }, h("a", { href: "#/models" }, "← Models")),
    h("div", { class: "page-head" }, h("h1", {}, pack?.title || model.name), h("span", { class: "waiting" }, `${model.name} ${model.version}`), admission(model)),
    model.why ? h("p", { class: "notice" }, model.why) : null,
    model.fault ? h("p", { class: "notice" }, `The package on disk cannot be read: ${model.fault}`) : null,
    contents(evidence),
    pack ? intendedUse(pack) : null,
    evidenceParts(evidence),
    h("div", { class: "two" },
      h("div", { class: "column" }, protocolPart(evidence), pack ? inputPart(pack) : null),
      h("div", { class: "column" }, section("Chain of evidence, checked in this browser", "chain-part", chain), releasePart(evidence), history(evidence), filesPart(model, evidence))),
    model.card ? section("Model card", "card", h("div", { class: "prose" }, markdown(model.card, 1))) : null));
  chainPart(chain, evidence, (file) => text(`/models/${root}/evidence/${file}`, { signal }));
}

function contents({ verdict }) {
  const parts = [["use", "Intended use"], verdict && ["endpoints", "Endpoints"], verdict && ["roc", "ROC"], verdict && ["reliability", "Reliability"],
    verdict && ["confusion", "Confusion"], verdict && ["subgroups", "Subgroups"], ["protocol", "Protocol"], ["chain-part", "Chain"], ["release", "Release"], ["card", "Card"]];
  const jump = (id) => (event) => {
    event.preventDefault();
    const part = document.getElementById(id);
    part?.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    const heading = part?.querySelector("h2");
    if (heading) {
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
  };
  return h("nav", { class: "contents", "aria-label": "On this page" },
    parts.filter(Boolean).map(([id, title]) => h("a", { href: location.hash, onclick: jump(id) }, title)));
}

function intendedUse(pack) {
  const { intended_use: use } = pack;
  return section("Intended use", "use", h("p", { class: "headline" }, use.text), h("p", { class: "hint" }, "Labelled ", h("code", {}, use.id)),
    h("h3", {}, "Limits"), sentences(use.limits || []));
}

function inputPart(pack) {
  const { input = {}, findings = [], preparation = {}, saliency = {} } = pack;
  const words = (list) => (Array.isArray(list) ? list.join(", ") : null);
  return section("What it may read", "input", facts([
    ["Modality", words(input.modalities)],
    ["Body part", words(input.body_parts)],
    ["View", words(input.views)],
    ["Photometric", words(input.photometric)],
    ["Age", input.age_years ? `${input.age_years.min} to under ${input.age_years.max} years` : null],
    ["Smallest side", input.side_min ? `${input.side_min} pixels` : null],
    ["Longest shape", input.aspect_max ? `${input.aspect_max} to 1` : null],
    ["Says", findings.map((found) => `${found.code.display}: at or over ${found.operating_point.threshold} (${found.operating_point.name}; fixed ${found.operating_point.fixed})`).join("; ")],
    ["Sees", preparation.side ? `${preparation.side} × ${preparation.side} pixels, less ${(preparation.cut_per_side * 100).toFixed(1)} % of each side` : null],
    ["Explains by", saliency.method ? `${saliency.method} ${saliency.version}` : null],
    ["Computes as", pack.precision],
  ]));
}

function protocolPart({ protocol, looks, verdict }) {
  return section("Protocol", "protocol",
    facts([
      ["Protocol", verdict?.protocol ? [verdict.protocol.id, " ", digest(verdict.protocol.digest)] : null],
      ["Looks at the locked set", looks?.budget ? `${looks.used ?? 0} of at most ${looks.budget}` : null],
      ["Level of this look", verdict?.look ? `one-sided alpha ${Number(verdict.look.alpha)}` : null],
    ]),
    protocol
      ? h("details", {}, h("summary", {}, "The registered protocol, word for word"), h("pre", { class: "body", tabindex: 0, "aria-label": "Protocol" }, protocol))
      : states.empty("No protocol lies beside this package."));
}

function releasePart({ release, signatures }) {
  if (!release) return section("Release", "release", states.empty("There is no release.", "The model cannot be admitted."));
  const signers = (signatures || []).map((signature) => {
    const said = manifestOf(signature);
    return h("li", {}, h("b", {}, said.printed_name || said.signer), `, ${signature.role}: ${plain(said.meaning)} on `,
      h("time", { datetime: exact(said.t_ms) }, moment(said.t_ms)));
  });
  return section("Release", "release", facts([
    ["Release", release.id], ["Mode", release.mode], ["Change", release.change],
    ["Sites", (release.sites || []).join(", ")], ["Contributors", (release.contributors || []).join(", ")],
  ]), h("h3", {}, "Signatures"), signers.length ? h("ul", { class: "sentences" }, signers) : h("p", { class: "hint" }, "None."),
  h("p", { class: "hint" }, "The signers of the shipped release are fictitious persons of the demonstration."));
}

function history({ registrations = [], evaluation, decisions = [], rollouts = [] }) {
  const entries = [...registrations, evaluation, ...decisions, ...rollouts].filter(Boolean).sort((a, b) => a.index - b.index);
  const said = ({ kind, body }) => ({
    model_registered: () => `${body.model} ${body.version} registered`,
    dataset_locked: () => `locked set ${body.dataset} ${body.version}, ${body.items} items`,
    protocol_registered: () => `protocol registered, ${body.looks} looks`,
    evaluation: () => `evaluation: ${body.verdict}${body.made_by ? `, made by ${body.made_by}` : ""}`,
    release_decision: () => `decision: ${body.decision}, ${body.reason}`,
    rollout: () => `rollout ${body.from} → ${body.to}, ${body.reason}`,
  })[kind]?.() ?? plain(kind);
  return section("In this site's log", "history", entries.length
    ? h("ol", { class: "history" }, entries.map((entry) => h("li", {},
      h("a", { href: `#/log/${entry.index}` }, `entry ${entry.index}`), h("time", { datetime: exact(entry.t_ms) }, moment(entry.t_ms)), h("span", {}, said(entry)))))
    : h("p", { class: "hint" }, "Nothing yet."));
}

function filesPart(model, { files = [] }) {
  const address = (name) => `/models/${model.root}/evidence/${name.split("/").map(encodeURIComponent).join("/")}`;
  return section("Files", "files", h("ul", { class: "files" }, files.map((name) =>
    h("li", {}, h("a", { href: address(name), download: name.split("/").pop() }, name)))),
  facts([["Package root", digest(model.root, 64)], ["Weights", digest(model.weights_sha256, 64)]]));
}
