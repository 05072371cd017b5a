// The program's own JSON API, as the pages call it: same origin, session cookie, problems (RFC 9457) as errors.
// Errors: `Problem` with status, title and detail as the program said them; status 0 where it could not be reached.

/** What the program answered when it did not do what was asked. */
export class Problem extends Error {
  constructor(status, facts = {}) {
    super(facts.detail || facts.title || `status ${status}`);
    this.status = status;
    this.title = facts.title;
    this.detail = facts.detail;
    this.code = facts.code;
    this.requestId = facts.requestId;
    this.retryAfter = facts.retryAfter;
    this.challenge = facts.challenge || "";
  }

  /** The session is there, but too old for a signature (RFC 9470). */
  get stale() {
    return this.status === 401 && this.challenge.includes("insufficient_user_authentication");
  }
}

const WAYS_OUT = new EventTarget();

/** Calls `listener(problem)` when the program no longer knows who is asking. */
export function onSignedOut(listener) {
  WAYS_OUT.addEventListener("signed-out", (event) => listener(event.detail));
}

/** Random hex, also where the page is not a secure context. */
export function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function problemOf(response) {
  let facts = {};
  try {
    facts = await response.json();
  } catch {
    facts = { title: response.statusText, detail: `The program answered with status ${response.status}.` };
  }
  facts.challenge = response.headers.get("www-authenticate") || "";
  facts.retryAfter = Number(response.headers.get("retry-after")) || facts.retryAfter;
  return new Problem(response.status, facts);
}

/** Sends a request; the answer is a `Response` with a good status. */
export async function send(method, path, options = {}) {
  const { query = {}, json, body, headers = {}, signal, quiet = false } = options;
  const asked = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const address = asked.length ? `${path}?${new URLSearchParams(asked)}` : path;
  const heads = { ...headers };
  if (json !== undefined) heads["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(address, {
      method, signal, headers: heads, credentials: "same-origin", redirect: "error", cache: "no-store",
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The program does not answer", detail: "It may have been stopped, or the network is down." });
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (problem.status === 401 && !problem.stale && !quiet) {
    WAYS_OUT.dispatchEvent(new CustomEvent("signed-out", { detail: problem }));
  }
  throw problem;
}

/** The JSON of an answer. */
export async function get(path, options) {
  return (await send("GET", path, options)).json();
}

/** The text of an answer. */
export async function text(path, options) {
  return (await send("GET", path, options)).text();
}

/** The bytes of an answer. */
export async function bytes(path, options) {
  return (await send("GET", path, options)).arrayBuffer();
}

/** Sends JSON, answers JSON. A key makes a repeated sending one act. */
export async function post(path, json, options = {}) {
  const headers = { ...options.headers, "idempotency-key": options.key || randomHex(16) };
  return (await send("POST", path, { ...options, json, headers })).json();
}
