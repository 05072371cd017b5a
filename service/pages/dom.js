// Elements without markup: every text becomes a text node, so that nothing a sender wrote is ever read as HTML.
// Used by all pages. Errors: an attribute that could run code, and an address outside this site, are refused.

const SVG = "http://www.w3.org/2000/svg";
/** Set as properties, because their attributes say only where they start. */
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate", "open"]);
/** Addresses inside this program. */
const ADDRESS = /^(#|\/(?!\/)|blob:)/;

function put(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (PROPERTIES.has(name) && value === false) element[name] = false;
    return;
  }
  if (typeof value === "function") {
    element.addEventListener(name.replace(/^on/, ""), value);
  } else if (name.startsWith("on") || name === "style" || name === "srcdoc") {
    throw new Error(`${name}: attributes run no code here`);
  } else if ((name === "href" || name === "src") && !ADDRESS.test(value)) {
    throw new Error(`${name}: the pages lead nowhere but into this program`);
  } else if (name === "css") {
    for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
  } else if (name === "data") {
    Object.assign(element.dataset, value);
  } else if (PROPERTIES.has(name) && name in element) {
    element[name] = value;
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** An HTML element: `h("a", { class: "x", href: "#/log", onclick: f }, "text", other)`. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  const late = [];
  for (const [name, value] of Object.entries(attributes)) {
    // A choice can be made only among options that are there.
    if (name === "value" && tag === "select") late.push(value);
    else put(element, name, value);
  }
  fill(element, children);
  for (const value of late) element.value = value;
  return element;
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) put(element, name, value);
  return fill(element, children);
}

/** Replaces what an element holds. */
export function show(element, ...children) {
  element.replaceChildren();
  return fill(element, children);
}

/** A label over its control; the control gets an id where it has none. */
let labels = 0;
export function field(label, control, hint) {
  labels += 1;
  control.id ||= `field-${labels}`;
  const help = hint ? h("small", { id: `${control.id}-hint`, class: "hint" }, hint) : null;
  if (help) control.setAttribute("aria-describedby", help.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, help);
}

/** A choice among `[value, text]`. */
export function choice(options, chosen, attributes = {}) {
  const items = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("select", attributes, items);
}

/** Terms and what they are: `[[term, value], ...]`; a pair without a value is left out. */
export function facts(pairs, name = "facts") {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: name }, rows.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

/** A digest: short to the eye, whole for copying and for a screen reader's owner. */
export function digest(text, keep = 16) {
  if (!text) return null;
  const cut = text.length > keep + 2;
  return h("code", { class: "digest", title: text }, cut ? `${text.slice(0, keep)}…` : text);
}

/** A button. */
export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** Says something to those who do not see it happen. */
export function announce(text) {
  const place = document.getElementById("announcer");
  place.textContent = "";
  // A changed text is read out; the same text twice needs a moment between.
  requestAnimationFrame(() => { place.textContent = text; });
}

/** A dialog on top of the page, closed by Escape or `close`; focus returns to where it was. */
export function dialog(title, build, attributes = {}) {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-title" }, title);
  const box = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title", ...attributes });
  const close = (value) => {
    if (box.open) box.close();
    box.remove();
    if (before instanceof HTMLElement && before.isConnected) before.focus();
    box.dispatchEvent(new CustomEvent("done", { detail: value }));
  };
  box.addEventListener("cancel", (event) => { event.preventDefault(); close(null); });
  fill(box, [h("div", { class: "dialog-head" }, heading,
    button("×", () => close(null), { class: "quiet close", "aria-label": "Close" })), build(close)]);
  document.getElementById("dialogs").append(box);
  box.showModal();
  return new Promise((resolve) => box.addEventListener("done", (event) => resolve(event.detail), { once: true }));
}

/** Three states that every list and page has beside its content. */
export const states = {
  loading: (text = "Loading") => h("p", { class: "state loading", role: "status" }, h("span", { class: "dot" }), text, "…"),
  empty: (title, ...text) => h("div", { class: "state empty" }, h("strong", {}, title), h("p", {}, text)),
  error: (problem, again) => h("div", { class: "state error", role: "alert" },
    h("strong", {}, problem.title || "That did not work"),
    h("p", {}, problem.detail || problem.message || String(problem)),
    problem.requestId ? h("p", { class: "hint" }, "Request ", h("code", {}, problem.requestId)) : null,
    again ? button("Try again", again) : null),
};
