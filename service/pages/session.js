// Who is signed in: sign-in by one-time code or token, sign-out, and fresh authentication for a signature.
// The session itself is an HttpOnly cookie that these pages cannot read; they only know what GET /session tells.

import { get, post, send } from "./api.js";
import { button, dialog, field, h, show, states } from "./dom.js";

const SIGN_IN = /^#sign-in=([A-Za-z0-9_-]+)$/;
/** A little less than the five minutes that the program allows: the signature is still on its way. */
const FRESH_S = 290;
const ROLES = {
  clinician: "clinician", quality: "quality officer", regulator: "regulator", admin: "administrator", modality: "modality",
};

/** What GET /session said last. */
export let who = { signed_in: false, can: [] };

/** The role in words. */
export const roleName = (role) => ROLES[role] || role || "";

/** Whether the session may do this. */
export const may = (act) => who.signed_in && (who.can || []).includes(act);

/** Asks the program who is signed in. */
export async function load() {
  who = { can: [], ...(await get("/session")) };
  return who;
}

/** Exchanges a code or a token for a session. */
export async function signIn(proof) {
  await send("POST", "/session", { json: proof, quiet: true });
  return load();
}

/** Ends the session. */
export async function signOut() {
  try {
    await send("DELETE", "/session", { quiet: true });
  } finally {
    who = { signed_in: false, can: [] };
  }
}

/** Takes a one-time code out of the address, and out of the history with it. */
export function takeCode() {
  const found = SIGN_IN.exec(location.hash);
  if (found) history.replaceState(null, "", location.pathname);
  return found?.[1] ?? null;
}

/** The sign-in page. `done()` is called when somebody is in. */
export function signInPage(main, reason, done) {
  const token = h("textarea", {
    rows: 4, required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off", class: "token",
  });
  const fault = h("div", { "aria-live": "assertive" });
  const enter = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      enter.disabled = true;
      show(fault, states.loading("Signing in"));
      try {
        await signIn({ token: token.value.trim() });
        token.value = "";
        done();
      } catch (problem) {
        show(fault, states.error(problem));
        token.focus();
      } finally {
        enter.disabled = false;
      }
    },
  }, field("Token", token, "It is kept by nobody: the program answers with a session for this browser."), enter, fault);
  const steps = [
    ["A demonstration", "Open the address that ", h("code", {}, "vidimus demo"), " prints: it carries a one-time code."],
    ["Everybody else", "Ask for a token on the machine where the program runs, and paste it here:",
      h("pre", {}, "vidimus token --role clinician")],
  ];
  show(main, h("section", { class: "gate" },
    h("h1", { tabindex: -1 }, "Vidimus"),
    h("p", { class: "lead" }, "A second read of radiographs whose every act can be checked."),
    reason ? h("p", { class: "notice", role: "alert" }, reason) : null,
    h("div", { class: "gate-columns" }, form,
      h("div", { class: "gate-help" }, steps.map(([title, ...text]) => h("div", {}, h("h2", {}, title), h("p", {}, text)))))));
  token.focus();
}

/** A name as a shell takes it. */
const quoted = (name) => `'${name.replaceAll("'", "'\\''")}'`;

/** Asks for a fresh token; answers whether the same person is in again. */
async function freshen() {
  const before = who;
  const fresh = await dialog("Sign in again to sign", (close) => {
    const token = h("textarea", { rows: 4, required: true, autocomplete: "off", spellcheck: "false", class: "token" });
    const fault = h("div", { "aria-live": "assertive" });
    const submit = async (event) => {
      event.preventDefault();
      try {
        const now = await signIn({ token: token.value.trim() });
        if (now.actor === before.actor) close(true);
        else show(form, otherPerson(before, now, () => close(false)));
      } catch (problem) {
        show(fault, states.error(problem));
        token.focus();
      }
    };
    const form = h("form", { onsubmit: submit, class: "stack" },
      h("p", {}, "A signature needs an authentication of the last five minutes. Paste a fresh token for ",
        h("strong", {}, before.name || before.actor), "; what you are about to sign is kept and goes on afterwards."),
      // Without the name the token would be another person's.
      h("pre", {}, `vidimus token --role ${before.role} --name ${quoted(before.name)}`),
      field("Fresh token", token), fault,
      h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Sign in and go on"),
        button("Do not sign", () => close(false))));
    return form;
  });
  // However the dialog was left: what is on the page was shown to somebody else.
  if (who.actor !== before.actor) {
    location.hash = "";
    location.reload();
  }
  return fresh;
}

/** The token was another person's, who is signed in now: nothing was signed, and that is said. */
function otherPerson(before, now, go) {
  return [
    h("p", { class: "notice", role: "alert", id: "other-person" }, "This token is of ", h("strong", {}, now.name), ", not of ",
      h("strong", {}, before.name), ". Nothing was signed, and ", h("strong", {}, now.name), " is signed in now."),
    h("div", { class: "actions" }, button(`Go on as ${now.name}`, go, { class: "primary" })),
  ];
}

/** Does an act that needs a fresh authentication, asking for one where it is too old. Answers null where it was left. */
export async function withFreshSession(act) {
  await load();
  if (who.signed_in && who.auth_age_s > FRESH_S && !(await freshen())) return null;
  try {
    return await act();
  } catch (problem) {
    if (!problem.stale) throw problem;
    return (await freshen()) ? act() : null;
  }
}

/** POST with fresh authentication. */
export const signedPost = (path, json) => withFreshSession(() => post(path, json));
