// The frame of the pages: header, the router over the fragment, sign-in and the shortcuts that hold everywhere.
// An address holds a page's name and opaque ids only. Each page is a module with `open(main, id, signal)`; the signal
// ends when the page is left.

import { onSignedOut } from "./api.js";
import { announce, button, choice, h, show, states } from "./dom.js";
import { openHelp } from "./help.js";
import * as session from "./session.js";
import { applyTheme, setTheme, singleKeys, theme } from "./theme.js";

/** Pages: name, title in the header, what the session must be able to do, module, letter after `g`. */
const PAGES = [
  ["worklist", "Worklist", "readings", () => import("./worklist.js"), "w"],
  ["upload", "Upload", "upload", () => import("./upload.js"), "u"],
  ["log", "Log", "log", () => import("./log.js"), "l"],
  ["models", "Models", "models", () => import("./models.js"), "m"],
  ["study", null, "readings", () => import("./study.js"), null],
];
const TITLE = "Vidimus";

const top_ = document.getElementById("top");
const main = document.getElementById("main");
let leaving = null;
let reason = null;

function allowed() {
  return PAGES.filter(([, title, need]) => title && session.may(need));
}

function home() {
  return allowed()[0]?.[0] ?? null;
}

/** `#/study/0123` -> ["study", "0123"]. */
function place() {
  const [, name = "", id = null] = /^#\/([a-z]*)(?:\/([0-9a-f]+))?$/.exec(location.hash) || [];
  return [name || home(), id];
}

function header(current) {
  const link = ([name, title]) =>
    h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title);
  const themes = choice([["auto", "Theme: system"], ["dark", "Theme: dark"], ["light", "Theme: light"]], theme(), {
    "aria-label": "Theme", class: "quiet", onchange: (event) => setTheme(event.target.value),
  });
  const { who } = session;
  const person = who.signed_in
    ? h("span", { class: "who" }, h("strong", {}, who.name || who.actor), h("span", {}, session.roleName(who.role)))
    : h("span", { class: "who" }, h("span", {}, "Nobody is signed in"));
  const out = who.signed_in ? button("Sign out", leave, { class: "quiet", id: "sign-out" }) : null;
  show(top_,
    h("a", { class: "mark", href: "#/", "aria-label": "Vidimus, start" },
      h("img", { src: "/static/icon.svg", alt: "", width: 26, height: 26 }), "Vidimus"),
    who.signed_in ? h("nav", { "aria-label": "Pages" }, allowed().map(link)) : h("span"),
    h("div", { class: "top-end" }, person, themes,
      button("?", () => openHelp(), { class: "quiet", "aria-label": "Keys and help", title: "Keys and help (?)" }), out));
}

async function leave() {
  await session.signOut();
  reason = "You are signed out.";
  location.hash = "";
  route();
}

/** Shows the page that the address names. */
async function route() {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (!session.who.signed_in) {
    header(null);
    document.title = `Sign in · ${TITLE}`;
    session.signInPage(main, reason, () => { reason = null; route(); });
    return;
  }
  const [name, id] = place();
  const page = PAGES.find(([known, , need]) => known === name && session.may(need));
  header(name === "study" ? "worklist" : name);
  if (!page) {
    nothing(name);
    return;
  }
  document.title = `${page[1] || "Study"} · ${TITLE}`;
  show(main, states.loading());
  try {
    const module = await page[3]();
    if (signal.aborted) return;
    await module.open(main, id, signal);
    if (!signal.aborted) arrive();
  } catch (problem) {
    if (signal.aborted || problem.name === "AbortError") return;
    if (problem.status !== 401) fault(problem);
  }
}

/** After a change of page the reader is at its head. */
function arrive() {
  const heading = main.querySelector("h1");
  if (!heading) return;
  document.title = `${heading.dataset.title || heading.textContent} · ${TITLE}`;
  if (document.activeElement === document.body || document.activeElement === main) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  scrollTo(0, 0);
}

/** A page that could not be opened. What is not there will not be there at the next try. */
function fault(problem) {
  const back = home() ? h("p", {}, h("a", { href: `#/${home()}` }, "Go to the start")) : null;
  show(main, h("section", { class: "page" }, h("h1", {}, problem.status === 404 ? "Not here" : "This page could not be shown"),
    states.error(problem, problem.status === 404 ? null : route), back));
  arrive();
}

function nothing(name) {
  const known = PAGES.some(([page]) => page === name);
  const text = known
    ? `The role of ${session.roleName(session.who.role)} does not see this page.`
    : "There is no page of this address.";
  show(main, h("section", { class: "page" }, h("h1", {}, "Not here"),
    states.empty(text, home() ? h("a", { href: `#/${home()}` }, "Go to the start") : "This role has no pages.")));
}

let waitingForPlace = false;

/** `?` for help, `g` and a letter for a page; never while something is written. */
function keys(event) {
  const writing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || !singleKeys()) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "?") {
    event.preventDefault();
    openHelp();
  } else if (waitingForPlace) {
    waitingForPlace = false;
    const page = allowed().find(([, , , , letter]) => letter === event.key);
    if (page) location.hash = `#/${page[0]}`;
  } else if (event.key === "g" && session.who.signed_in) {
    waitingForPlace = true;
    setTimeout(() => { waitingForPlace = false; }, 1500);
  }
}

async function start() {
  applyTheme();
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  addEventListener("hashchange", enter);
  document.addEventListener("keydown", keys);
  onSignedOut((problem) => {
    if (!session.who.signed_in) return;
    session.who.signed_in = false;
    reason = `${problem.title || "Signed out"}: ${problem.detail || "the session has ended."} Sign in again to go on.`;
    announce(reason);
    route();
  });
  show(main, states.loading());
  await enter();
}

/** On arrival and on each change of the address: a one-time code first, then the page. */
async function enter() {
  const code = session.takeCode();
  try {
    if (code) await session.signIn({ code });
    else if (!session.who.signed_in) await session.load();
  } catch (problem) {
    reason = code ? `The one-time code was not taken: ${problem.detail || problem.message}` : problem.message;
    if (!code && problem.status === 0) {
      show(main, states.error(problem, enter));
      return;
    }
  }
  route();
}

start();
