// The log's key, pinned on first use in this browser: whoever changes the log's key later is seen.
// A pinned key is replaced only by a person, who pastes `log.vkey` or says that the site is a new one.

import { text } from "./api.js";
import { announce, button, dialog, digest, field, h, show, states } from "./dom.js";
import { habit, keep } from "./theme.js";
import { available, checkReceipt, parseKey } from "./receipt.js";

const PIN = "vidimus-log-key";

/** The pinned key and what the program offers: `{ pinned, offered, first, changed }`. */
export async function keys() {
  const offered = (await text("/.well-known/vidimus-log.vkey")).trim();
  let pinned = habit(PIN);
  const first = !pinned;
  if (first) {
    await parseKey(offered);
    pinned = offered;
    keep(PIN, offered);
  }
  return { pinned, offered, first, changed: pinned !== offered };
}

function pin(key) {
  keep(PIN, key);
  announce("The key is pinned. Checking again.");
}

/** Lets a person paste a key that they got on another way. */
function paste(again) {
  return dialog("Pin the log's key", (close) => {
    const input = h("textarea", { rows: 3, spellcheck: "false", class: "token", required: true });
    const fault = h("div", { "aria-live": "assertive" });
    return h("form", {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          pin((await parseKey(input.value)).text);
          close(true);
          again();
        } catch (error) {
          show(fault, states.error(error));
        }
      },
    },
      h("p", {}, "Paste the one line of the file ", h("code", {}, "log.vkey"),
        " that somebody you trust has given you: in the site's folder, in its papers, from an auditor."),
      field("Key", input), fault, h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Pin this key")));
  });
}

function keyLine(held, again) {
  return h("div", { class: "pinned" },
    h("span", {}, held.first ? "Key pinned now, on first use: " : "Pinned key: "), digest(held.pinned, 60),
    button("Pin another", () => paste(again), { class: "quiet small" }));
}

function alarm(held, again) {
  return h("div", { class: "verdict is-bad", role: "alert" },
    h("strong", {}, "The log's key is not the one this browser pinned."),
    h("p", {}, "Either this address serves another site than before (a new demonstration has a new log), or somebody has put ",
      "another log in its place. Compare the key with ", h("code", {}, "log.vkey"), " of the site's folder before you accept it."),
    h("dl", { class: "facts" }, h("div", {}, h("dt", {}, "Pinned"), h("dd", {}, digest(held.pinned, 90))),
      h("div", {}, h("dt", {}, "Offered now"), h("dd", {}, digest(held.offered, 90)))),
    h("div", { class: "actions" }, button("Paste a key", () => paste(again)),
      button("It is a new site: pin its key", async () => { pin(held.offered); again(); }, { id: "accept-key" })));
}

/** The steps of a check and what they come to. */
export function stepsOf(result, good) {
  const failed = result.steps.find((step) => step.ok === false);
  const verdict = result.ok
    ? h("div", { class: "verdict is-good" }, h("strong", {}, `✓ ${good}`))
    : h("div", { class: "verdict is-bad", role: "alert" }, h("strong", {}, `✕ Not verified: ${failed.name}`), h("p", {}, failed.said));
  return [verdict, h("ol", { class: "steps" }, result.steps.map(({ name, ok, said }) =>
    h("li", { class: ok ? "is-good" : ok === false ? "is-bad" : "is-open" },
      h("b", {}, `${ok ? "✓" : ok === false ? "✕" : "–"} ${name}`), " ", h("span", {}, said))))];
}

/** Checks a receipt into `place`. `path` is where the proof lies, `expected` as for `checkReceipt`. */
export async function checkInto(place, path, expected = {}) {
  const again = () => checkInto(place, path, expected);
  if (!available()) {
    show(place, h("div", { class: "verdict is-unknown" }, h("strong", {}, "Not checked here"),
      h("p", {}, "A browser lends its hash and signature functions only to pages over https or on this machine. Check it with ",
        h("code", {}, "vidimus-verify receipt FILE --key log.vkey"), ".")));
    return null;
  }
  show(place, states.loading("Checking the receipt in this browser"));
  try {
    const [proof, held] = await Promise.all([text(path), keys()]);
    const result = await checkReceipt(proof, held.pinned, expected);
    show(place, held.changed ? alarm(held, again) : null, stepsOf(result, "Receipt verified in this browser"), keyLine(held, again),
      h("div", { class: "actions" }, button("Check again", again, { class: "small" }),
        button("Save the receipt", () => save(`${expected.entryId || "entry"}.tlog-proof`, proof), { class: "small" })));
    result.ok &&= !held.changed;
    announce(result.ok ? "Receipt verified" : "The receipt does not verify");
    return result;
  } catch (problem) {
    show(place, states.error(problem, again));
    return null;
  }
}

/** Gives text to the browser as a file. */
export function save(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
