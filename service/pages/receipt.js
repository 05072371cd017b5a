// Checks receipts (C2SP tlog-proof) and trees (RFC 6962) with the browser's own hash and signature functions.
// Nothing here trusts the program that served it beyond this file itself: the key is the one this browser pinned.
// In: text of the proof, the log's key as text. Out: the list of steps, each with its result. Errors become steps that
// failed; nothing throws but a browser without WebCrypto (`available()` says so beforehand).
// Source: c2sp.org/signed-note, tlog-checkpoint, tlog-proof, tlog-tiles; RFC 6962 2.1, RFC 8785, RFC 8032.

const HEAD = "c2sp.org/tlog-proof@v1";
const ED25519 = 1;
const HASH_BYTES = 32;
const TILE = 256;
const utf8 = new TextEncoder();

/** Whether this page may use WebCrypto: only on https or on this machine. */
export const available = () => Boolean(globalThis.crypto?.subtle);

/** SHA-256 of bytes. */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Lower hex. */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** SHA-256 of text or bytes, as hex. */
export const sha256Hex = async (data) => hex(await sha256(typeof data === "string" ? utf8.encode(data) : new Uint8Array(data)));

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Standard base64, strictly: one spelling a value. */
export function base64(text) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    throw new Error("not base64");
  }
  if (btoa(String.fromCharCode(...bytes)) !== text) throw new Error("base64 with loose bits or spaces");
  return bytes;
}

function same(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/** The hash of a leaf. */
export const leafHash = (entry) => sha256(join([0], entry));
const nodeHash = (left, right) => sha256(join([1], left, right));

/** A log's key: `name+keyid+base64(0x01 || key)`. */
export async function parseKey(text) {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text.trim());
  if (!match) throw new Error("a log's key is one line: name+id+key");
  const [, name, id, coded] = match;
  const bytes = base64(coded);
  if (bytes[0] !== ED25519 || bytes.length !== HASH_BYTES + 1) throw new Error("the key is no Ed25519 key");
  const expected = (await sha256(join(utf8.encode(`${name}\n`), bytes))).slice(0, 4);
  if (hex(expected) !== id) throw new Error("the key's id does not fit the key");
  return { name, id: expected, raw: bytes.slice(1), text: text.trim() };
}

/** Verifies an Ed25519 signature by WebCrypto. */
export async function verifyEd25519(raw, signature, message) {
  const key = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, message);
}

function parseNote(text) {
  const end = text.indexOf("\n\n");
  if (end < 0 || !text.endsWith("\n")) throw new Error("a checkpoint is text, an empty line and signatures");
  const body = text.slice(0, end + 1);
  const [origin, size, root, ...more] = body.slice(0, -1).split("\n");
  if (more.length || !/^(0|[1-9]\d{0,15})$/.test(size)) throw new Error("a checkpoint is origin, size and root");
  const signatures = text.slice(end + 2, -1).split("\n").map((line) => {
    const match = /^— (\S+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (!match) throw new Error("a signature line is not of its form");
    return { name: match[1], bytes: base64(match[2]) };
  });
  const hash = base64(root);
  if (hash.length !== HASH_BYTES) throw new Error("the root is no SHA-256");
  return { body, origin, size: Number(size), root: hash, signatures };
}

function parseProof(text) {
  const [head, extra, place, ...rest] = text.split("\n");
  if (head !== HEAD) throw new Error(`the first line is not ${HEAD}`);
  const entry = /^extra (\S+)$/.exec(extra || "");
  const index = /^index (0|[1-9]\d{0,15})$/.exec(place || "");
  if (!entry || !index) throw new Error("entry or index is missing");
  const gap = rest.indexOf("");
  if (gap < 0) throw new Error("the checkpoint is missing");
  const path = rest.slice(0, gap).map(base64);
  if (path.some((hash) => hash.length !== HASH_BYTES)) throw new Error("a hash of the path has the wrong length");
  return { entry: base64(entry[1]), index: Number(index[1]), path, note: parseNote(rest.slice(gap + 1).join("\n")) };
}

/** The root that an inclusion path leads to (RFC 9162 2.1.3.2). */
async function rootOf(leaf, index, size, path) {
  if (index >= size) throw new Error(`index ${index} is not in a tree of ${size}`);
  let [at, last, hash] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (last === 0) throw new Error("the path is too long");
    if (at % 2 === 1 || at === last) {
      hash = await nodeHash(sibling, hash);
      while (at % 2 === 0 && at !== 0) {
        at = Math.floor(at / 2);
        last = Math.floor(last / 2);
      }
    } else {
      hash = await nodeHash(hash, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new Error("the path is too short");
  return hash;
}

function parseEntry(bytes) {
  try {
    const words = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return [words, JSON.parse(words)];
  } catch {
    throw new Error("the entry's bytes are not the text of an entry");
  }
}

/** JSON in the one form that an entry may have: sorted keys, no spaces. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

async function noteSigned(note, key) {
  for (const { name, bytes } of note.signatures) {
    if (name !== key.name || !same(bytes.slice(0, 4), key.id)) continue;
    if (await verifyEd25519(key.raw, bytes.slice(4), utf8.encode(note.body))) return true;
    throw new Error("the signature does not verify under the pinned key");
  }
  throw new Error("no signature line is of the pinned key");
}

/** Steps in a row, each with what it said; what stands behind a failed one is not reached. */
export class Steps {
  constructor() {
    this.steps = [];
    this.ok = true;
  }

  async take(name, act) {
    if (!this.ok) {
      this.steps.push({ name, ok: null, said: "not reached" });
      return null;
    }
    try {
      const { said, value } = await act();
      this.steps.push({ name, ok: true, said });
      return value;
    } catch (error) {
      this.ok = false;
      this.steps.push({ name, ok: false, said: error.message });
      return null;
    }
  }
}

function demand(condition, message) {
  if (!condition) throw new Error(message);
}

/** Checks a receipt. `expected`: `{ entryId?, entry? }` of what it is said to be the receipt of. */
export async function checkReceipt(text, keyText, expected = {}) {
  const run = new Steps();
  const key = await run.take("Key", async () => {
    const value = await parseKey(keyText);
    return { said: `Ed25519 key ${hex(value.id)} of ${value.name}, as this browser pinned it`, value };
  });
  const proof = await run.take("Form", async () => {
    const value = parseProof(text);
    return { said: `a C2SP tlog-proof: entry of ${value.entry.length} bytes, ${value.path.length} hashes, a checkpoint`, value };
  });
  const entry = await run.take("Entry", async () => {
    const [words, value] = parseEntry(proof.entry);
    demand(canonical(value) === words, "the entry is not in its one canonical form");
    demand(!expected.entryId || value.entry_id === expected.entryId, `the entry is ${value.entry_id}, not the one asked for`);
    demand(!expected.entry || same(expected.entry, proof.entry), "the entry is not the one shown");
    demand(value.log === proof.note.origin, "the entry names another log than the checkpoint");
    return { said: `${value.kind} ${value.entry_id}, canonical, written for ${value.log}`, value };
  });
  const leaf = await run.take("Leaf", async () => {
    const value = await leafHash(proof.entry);
    return { said: `SHA-256(0x00 ‖ entry) = ${hex(value)}`, value };
  });
  await run.take("Inclusion", async () => {
    const root = await rootOf(leaf, proof.index, proof.note.size, proof.path);
    demand(same(root, proof.note.root), "the path leads to another root than the checkpoint has");
    return { said: `leaf ${proof.index} of ${proof.note.size} leads by ${proof.path.length} hashes to the root ${hex(root)}` };
  });
  await run.take("Signature", async () => {
    demand(key.name === proof.note.origin, "the checkpoint is of another log than the key");
    await noteSigned(proof.note, key);
    return { said: "Ed25519 over the checkpoint verifies under the pinned key" };
  });
  return { ok: run.ok, steps: run.steps, entry, leaf: leaf && hex(leaf), index: proof?.index, size: proof?.note.size };
}

/** The Merkle tree hash over leaf hashes. */
async function treeHash(leaves) {
  if (leaves.length === 1) return leaves[0];
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(await treeHash(leaves.slice(0, split)), await treeHash(leaves.slice(split)));
}

function tilePath(number, width) {
  const groups = String(number).padStart(Math.ceil(String(number).length / 3) * 3, "0").match(/\d{3}/g);
  const path = groups.map((group, at) => (at + 1 < groups.length ? `x${group}` : group)).join("/");
  return `tile/0/${path}${width < TILE ? `.p/${width}` : ""}`;
}

/** Computes the root of the whole log from its public hash tiles, and checks the checkpoint's signature over it.
 *  `fetchText` and `fetchBytes` get a path below /log. */
export async function checkTree(keyText, fetchText, fetchBytes) {
  const run = new Steps();
  const key = await run.take("Key", async () => {
    const value = await parseKey(keyText);
    return { said: `Ed25519 key ${hex(value.id)} of ${value.name}, as this browser pinned it`, value };
  });
  const note = await run.take("Signature", async () => {
    const value = parseNote(await fetchText("checkpoint"));
    demand(key.name === value.origin, "the checkpoint is of another log than the key");
    await noteSigned(value, key);
    return { said: `the checkpoint of ${value.size} entries is signed by the pinned key`, value };
  });
  await run.take("Tree", async () => {
    const leaves = [];
    for (let tile = 0; tile * TILE < note.size; tile += 1) {
      const width = Math.min(TILE, note.size - tile * TILE);
      const bytes = new Uint8Array(await fetchBytes(tilePath(tile, width)));
      demand(bytes.length === width * HASH_BYTES, `tile ${tile} has the wrong length`);
      for (let at = 0; at < width; at += 1) leaves.push(bytes.slice(at * HASH_BYTES, (at + 1) * HASH_BYTES));
    }
    const root = await treeHash(leaves);
    demand(same(root, note.root), "the tiles lead to another root than the checkpoint has");
    return { said: `${leaves.length} leaves, hashed here, lead to the root ${hex(root)}` };
  });
  return { ok: run.ok, steps: run.steps, size: note?.size };
}
