// The dialog of keys: what can be done without a mouse, and the switch that turns single keys off.

import { dialog, h } from "./dom.js";
import { setSingleKeys, singleKeys } from "./theme.js";

const GROUPS = [
  ["Everywhere", [
    ["?", "This dialog"],
    ["g then w, u, l, m", "Worklist, upload, log, models"],
    ["Tab, Shift+Tab", "From control to control"],
    ["Escape", "Close a dialog"],
  ]],
  ["Worklist", [
    ["j / ↓, k / ↑", "Next and previous reading"],
    ["Enter", "Open it"],
    ["/", "To the filters"],
    [".", "Show what has come in"],
  ]],
  ["Study, with the film in focus", [
    ["← →", "Window narrower, wider"],
    ["↑ ↓", "Level up, down (the film darker, brighter)"],
    ["Shift + arrows", "Move the film"],
    ["+  −", "Zoom"],
    ["f   1", "Fit to the frame; one pixel to one"],
    ["i   r", "Invert; back to the file's window"],
    ["w", "Next preset of the window"],
    ["o   [  ]", "Explanation on and off; fainter, stronger"],
    [",  .", "Previous, next image"],
    ["Space", "Drag moves instead of windowing, while held"],
  ]],
  ["Study, anywhere", [
    ["v", "To the film"],
    ["n  b", "Next and previous reading of the worklist"],
    ["s", "To the signature"],
  ]],
];

/** Opens the dialog. */
export function openHelp() {
  const key = (text) => h("kbd", {}, text);
  const single = h("input", { type: "checkbox", checked: singleKeys(), onchange: (event) => setSingleKeys(event.target.checked) });
  return dialog("Keys", () => h("div", { class: "keys" },
    GROUPS.map(([title, rows]) => h("section", {}, h("h3", {}, title),
      h("dl", {}, rows.map(([keys, text]) => h("div", {}, h("dt", {}, key(keys)), h("dd", {}, text)))))),
    h("p", {}, h("label", { class: "check" }, single, " Single keys are commands (turn off where speech input types them)")),
    h("p", { class: "hint" }, "On the film: drag for window (across) and level (up and down), wheel or two fingers for zoom, ",
      "Shift or the middle button and drag to move.")), { class: "dialog wide" });
}
