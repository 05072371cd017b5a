// The signature: agree and sign, or disagree with a coded reason. Only a clinician can; only once; with a fresh
// authentication, which is asked for where it is too old.

import { announce, choice, facts, field, h, show, states } from "./dom.js";
import { badge, section } from "./parts.js";
import { may, signedPost, who } from "./session.js";
import { exact, moment, plain } from "./words.js";

const COMMENT_MAX = 2000;
const MEANINGS = [
  ["review", "I have reviewed the film and this reading"],
  ["approval", "I approve this reading"],
  ["responsibility", "I take responsibility for this reading"],
  ["authorship", "I am the author of this reading"],
];

/** The panel in the state that the reading is in. `refresh()` is called after a signature. */
export function signPanel(reading, refresh) {
  const held = reading.sign_off || (reading.signed && { ...reading.signed });
  if (held) return section("Signature", "signature", signed(held));
  if (reading.status !== "evaluated") {
    return section("Signature", "signature", h("p", {}, "There is no finding to sign: this study has to be read by a person, and reported elsewhere."));
  }
  if (!may("sign")) {
    return section("Signature", "signature", h("p", {}, "Not signed. Only a clinician signs."));
  }
  return section("Signature", "signature", form(reading, refresh));
}

function signed(held) {
  return [h("p", { class: "headline" }, badge("signed", held.agrees ? "Signed: agrees" : "Signed: overridden")),
    facts([
      ["By", held.by],
      ["At", h("time", { datetime: exact(held.at) }, moment(held.at))],
      ["Meaning", plain(held.meaning)],
      ["The clinician says", held.decision ? plain(held.decision) : null],
      ["Reason", typeof held.reason === "object" ? held.reason?.display || held.reason?.code : plain(held.reason) || null],
      ["Comment", held.comment ? h("span", { class: "comment" }, held.comment) : null],
      ["Entry", h("code", { class: "digest" }, held.sign_off)],
    ])];
}

function form(reading, refresh) {
  const place = h("div", { "aria-live": "assertive" });
  const agree = h("input", { type: "radio", name: "verdict", value: "agree", checked: true, id: "verdict-agree" });
  const differ = h("input", { type: "radio", name: "verdict", value: "differ", id: "verdict-differ" });
  const meaning = choice(MEANINGS, "review", { id: "sign-meaning" });
  const decision = choice(opposite(reading), null, { id: "sign-decision" });
  const reasons = choice([["", "choose"], ...(reading.override_reasons || []).map(({ code, display }) => [code, display])], "", { id: "sign-reason" });
  const comment = h("textarea", { rows: 2, maxlength: COMMENT_MAX, id: "sign-comment" });
  const submit = h("button", { type: "submit", class: "primary", id: "sign" }, "Agree and sign");
  const agreeing = h("div", {}, field("Meaning of the signature", meaning));
  const differing = h("div", { hidden: true, class: "stack" }, field("What the film shows", decision), field("Reason", reasons));
  const turn = () => {
    agreeing.hidden = differ.checked;
    differing.hidden = agree.checked;
    reasons.required = differ.checked;
    submit.textContent = agree.checked ? "Agree and sign" : "Override and sign";
  };
  for (const radio of [agree, differ]) radio.addEventListener("change", turn);
  const send = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    show(place, states.loading("Signing"));
    const said = comment.value.trim() ? { comment: comment.value.trim() } : {};
    const [act, body] = agree.checked
      ? ["sign-off", { meaning: meaning.value, ...said }]
      : ["override", { decision: decision.value, reason_code: reasons.value, ...said }];
    try {
      const done = await signedPost(`/readings/${reading.id}/${act}`, body);
      if (done) {
        announce("Signed");
        await refresh();
        document.querySelector("#signature h2")?.scrollIntoView({ block: "nearest" });
      } else {
        show(place, h("p", { class: "notice" }, "Not signed."));
      }
    } catch (problem) {
      show(place, states.error(problem));
      if (problem.status === 409) await refresh();
    } finally {
      submit.disabled = false;
    }
  };
  const words = reading.findings.map((found) => `${found.code.display} ${found.decision}`).join(", ");
  return h("form", { onsubmit: send, class: "stack" },
    h("fieldset", {}, h("legend", {}, "The reading says: ", h("b", {}, words)),
      h("label", { class: "check" }, agree, " I agree"), h("label", { class: "check" }, differ, " I disagree")),
    agreeing, differing, field("Comment", comment, "Part of the record; in words, for those who read it later."),
    place, h("div", { class: "actions" }, submit, h("span", { class: "hint" }, `as ${who.name || who.actor}; once, and for ever`)));
}

/** What else the film may show, the opposite first. */
function opposite(reading) {
  const said = reading.findings[0]?.decision;
  const all = [["present", "Present"], ["absent", "Absent"], ["undetermined", "Undetermined"]];
  return all.filter(([code]) => code !== said);
}
