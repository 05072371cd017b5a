// The chain of evidence of a release, checked by the browser: protocol and verdict by their digests, the makers' evaluation
// by its receipt, the release by its signatures. Each link names the one before; one changed byte breaks it.
// In: the evidence, and a function that fetches a file's text. Out: steps like those of a receipt.

import { h, show, states } from "./dom.js";
import { Steps, available, checkReceipt, hex, sha256, sha256Hex, verifyEd25519 } from "./receipt.js";
import { stepsOf } from "./trust.js";

const utf8 = new TextEncoder();
const fromUrl = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const toUrl = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function demand(condition, message) {
  if (!condition) throw new Error(message);
}

/** The manifest is a text inside of the signature. */
export function manifestOf(signature) {
  try {
    return typeof signature.manifest === "string" ? JSON.parse(signature.manifest) : signature.manifest || {};
  } catch {
    return {};
  }
}

/** A detached JWS (RFC 7515 appendix F) over the manifest by an Ed25519 key whose id is the key's SHA-256. */
async function checkSignature(signature, expected) {
  const [head, gap, sealed] = signature.jws.split(".");
  demand(gap === "", `${signature.role}: the signature is not detached`);
  const header = JSON.parse(new TextDecoder().decode(fromUrl(head)));
  const key = fromUrl(signature.public_key);
  demand(header.alg === "EdDSA" && header.kid === hex(await sha256(key)), `${signature.role}: the key is not the one the signature names`);
  const signed = utf8.encode(`${head}.${toUrl(utf8.encode(signature.manifest))}`);
  demand(await verifyEd25519(key, fromUrl(sealed), signed), `${signature.role}: the signature does not verify`);
  const said = manifestOf(signature);
  demand(said.report === expected.release, `${signature.role}: another release was signed`);
  demand(said.outcome_leaf === expected.leaf, `${signature.role}: another evaluation was signed`);
}

async function links(evidence, file) {
  const run = new Steps();
  await run.take("Protocol", async () => {
    const digest = await sha256Hex(await file("evidence/protocol.toml"));
    demand(digest === evidence.verdict.protocol.digest, "the protocol's bytes are not those that the verdict names");
    return { said: `its bytes hash to ${digest.slice(0, 16)}…, which the verdict names` };
  });
  const verdict = await run.take("Verdict", async () => {
    const digest = await sha256Hex(await file("evidence/verdict.json"));
    demand((evidence.release?.verdict || []).some((held) => held.digest === digest), "the release names another verdict");
    return { said: `its bytes hash to ${digest.slice(0, 16)}…, which the release names`, value: digest };
  });
  const leaf = await run.take("Evaluation", async () => {
    const [proof, key] = await Promise.all([file("evidence/evaluation.tlog-proof"), file("evidence/makers.vkey")]);
    const result = await checkReceipt(proof, key.trim());
    const failed = result.steps.find((step) => step.ok === false);
    demand(result.ok, `the makers' receipt: ${failed?.name}: ${failed?.said}`);
    demand(result.entry.body.results === `sha256:${verdict}`, "the makers' evaluation is of another verdict");
    return { said: `entry ${result.index} of the makers' log, signed and included, is of this verdict`, value: result.leaf };
  });
  const release = await run.take("Release", async () => {
    const digest = await sha256Hex(await file("evidence/release.toml"));
    demand(evidence.release.package_root === evidence.root, "the release is of another package");
    return { said: `release.toml hashes to ${digest.slice(0, 16)}… and names this package`, value: digest };
  });
  await run.take("Signatures", async () => {
    const roles = new Set(evidence.signatures.map((signature) => signature.role));
    demand(roles.size >= 2, "two persons must sign");
    for (const signature of evidence.signatures) await checkSignature(signature, { release, leaf });
    return { said: `${[...roles].join(" and ")} signed this release and this evaluation (Ed25519)` };
  });
  return run;
}

/** Checks the chain into `place`. */
export async function chainPart(place, evidence, file) {
  if (!available() || !evidence.verdict || !evidence.release) {
    show(place, states.empty(available() ? "There is no chain: verdict or release is missing." : "Not checked: this page is neither on https nor on this machine."));
    return;
  }
  show(place, states.loading("Checking"));
  try {
    show(place, stepsOf(await links(evidence, file), "Every link holds"),
      h("p", { class: "hint" }, "The makers' key and the signers' keys are those that lie in the package; who they are is for the site to know."));
  } catch (problem) {
    show(place, states.error(problem));
  }
}
