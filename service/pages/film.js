// The film with its tools: the canvas, its keys, presets, images and frames, the explanation's switch and legend.

import { bytes } from "./api.js";
import { OUTLINE, TABLES, table } from "./colours.js";
import { announce, button, choice, h, show, states } from "./dom.js";
import { habit, keep } from "./theme.js";
import { Viewer } from "./viewer.js";
import { percent } from "./words.js";

const COLOURS = "vidimus-colours";
const PAN_STEP = 40;
const OPACITY_STEP = 0.1;

/** The left half of the study page. */
export class FilmPanel {
  constructor(reading, signal) {
    this.reading = reading;
    this.signal = signal;
    this.images = (reading.images || []).flatMap((image, at) =>
      Array.from({ length: image.frames || 1 }, (_, frame) => ({ image, at: image.instance ?? at, frame })));
    this.shown = 0;
    this.canvas = h("canvas", {
      tabindex: 0, role: "application", "aria-roledescription": "film",
      "aria-label": "Film. Arrow keys change window and level, plus and minus zoom, o switches the explanation, question mark shows all keys.",
    });
    this.probe = h("output", { class: "probe" });
    this.state = h("output", { class: "view-state" });
    this.cover = h("div", { class: "cover" }, states.loading("Loading the film"));
    this.tools = h("div", { class: "tools", role: "toolbar", "aria-label": "Film" });
    this.explained = h("div", { class: "explained" });
    this.element = h("section", { class: "film", "aria-label": "Film" }, this.tools,
      h("div", { class: "frame" }, this.canvas, this.cover, this.probe, this.state), this.explained);
    this.viewer = new Viewer(this.canvas, signal);
    this.viewer.addEventListener("view", (event) => this.showView(event.detail));
    this.viewer.addEventListener("probe", (event) => this.showProbe(event.detail));
    this.canvas.addEventListener("keydown", (event) => this.key(event), { signal });
    this.canvas.addEventListener("keyup", (event) => { if (event.key === " ") this.viewer.panning = false; }, { signal });
  }

  /** Fetches the values of the image shown and draws them. */
  async load() {
    const place = this.images[this.shown];
    if (!place) {
      show(this.cover, states.empty("No film is held for this reading.", "What the record says of it stands beside."));
      return;
    }
    try {
      this.cover.hidden = false;
      const query = { instance: place.at, frame: place.frame };
      const buffer = await bytes(`/readings/${this.reading.id}/pixels`, { query, signal: this.signal });
      const { rows, columns } = place.image;
      if (buffer.byteLength !== rows * columns * 2) throw new Error("The film's values are not of the size that the record says.");
      this.viewer.load({ slope: 1, intercept: 0, ...place.image }, valuesOf(buffer));
      this.cover.hidden = true;
      this.explain(place);
      this.drawTools();
    } catch (problem) {
      if (problem.name === "AbortError") return;
      show(this.cover, states.error(problem, () => this.load()));
      this.cover.hidden = false;
    }
  }

  /** The explanation belongs to one image. */
  explain(place) {
    const map = this.reading.explanation;
    const here = map && (map.image ?? 0) === place.at && place.frame === 0;
    const [finding] = this.reading.findings || [];
    // a map that failed its checks is not laid over the film, by no key either
    this.map = here && map.badge?.trust !== "unreliable" ? map : null;
    const strength = typeof finding?.probability === "number" ? finding.probability : 1;
    this.viewer.explain(this.map);
    this.viewer.setOverlay({
      on: Boolean(this.map) && finding?.decision === "present", opacity: 0.6, strength: Math.max(strength, 0.25),
      colours: habit(COLOURS) || "flame",
    });
    this.legend(Boolean(here), finding);
  }

  drawTools() {
    const { viewer } = this;
    const presets = viewer.presets();
    this.preset = 0;
    this.presets = choice(presets.map(({ name }, at) => [String(at), name]), "0", {
      "aria-label": "Window", onchange: (event) => this.usePreset(Number(event.target.value)),
    });
    const tool = (text, title, act, attributes = {}) => button(text, () => { act(); this.canvas.focus(); }, { title, "aria-label": title, ...attributes });
    this.inverted = tool("Invert", "Invert black and white (i)", () => viewer.invert());
    show(this.tools, this.presets,
      h("div", { class: "tool-group" }, tool("−", "Zoom out (−)", () => viewer.zoom(1 / 1.25)), tool("+", "Zoom in (+)", () => viewer.zoom(1.25)),
        tool("Fit", "Fit to the frame (f)", () => viewer.fit()), tool("1:1", "One pixel to one (1)", () => viewer.actual())),
      h("div", { class: "tool-group" }, this.inverted, tool("Reset", "Back to the file's window (r)", () => this.reset())),
      this.images.length > 1 ? this.pager() : null);
  }

  pager() {
    return h("div", { class: "tool-group" }, button("‹", () => this.turn(-1), { "aria-label": "Previous image (,)" }),
      h("span", { class: "pager" }, `${this.shown + 1} of ${this.images.length}`),
      button("›", () => this.turn(1), { "aria-label": "Next image (.)" }));
  }

  turn(by) {
    const next = this.shown + by;
    if (next < 0 || next >= this.images.length) return;
    this.shown = next;
    announce(`Image ${next + 1} of ${this.images.length}`);
    this.load();
  }

  reset() {
    this.viewer.reset();
    this.preset = 0;
    this.presets.value = "0";
  }

  usePreset(at) {
    const { center, width, name } = this.viewer.presets()[at];
    this.preset = at;
    this.presets.value = String(at);
    this.viewer.window(center, width);
    announce(`Window ${name}`);
  }

  showView(view) {
    const unit = this.viewer.facts.unit ? ` ${this.viewer.facts.unit}` : "";
    const scale = this.viewer.facts.spacing_mm ? null : "no pixel spacing in the file: no scale";
    this.state.textContent = [`W ${round(view.width)}  L ${round(view.center)}${unit}`, `${Math.round(view.zoom * 100)} %`, scale].filter(Boolean).join(" · ");
    this.inverted?.setAttribute("aria-pressed", String(view.invert));
  }

  showProbe(place) {
    const { unit } = this.viewer.facts || {};
    this.probe.textContent = place ? `row ${place.row}, column ${place.column}: ${round(place.value)} ${unit || "stored value"}` : "";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.viewer.facts) return;
    const act = this.keys(event.shiftKey)[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  keys(shift) {
    const { viewer } = this;
    const arrow = (x, y) => () => (shift ? viewer.pan(x * PAN_STEP, y * PAN_STEP) : viewer.nudge(-x, -y));
    return {
      ArrowLeft: arrow(1, 0), ArrowRight: arrow(-1, 0), ArrowUp: arrow(0, -1), ArrowDown: arrow(0, 1),
      "+": () => viewer.zoom(1.25), "=": () => viewer.zoom(1.25), "-": () => viewer.zoom(1 / 1.25),
      f: () => viewer.fit(), 1: () => viewer.actual(), i: () => viewer.invert(), r: () => this.reset(),
      w: () => this.usePreset((this.preset + 1) % viewer.presets().length),
      o: () => this.toggle(), "[": () => this.opacity(-OPACITY_STEP), "]": () => this.opacity(OPACITY_STEP),
      ",": () => this.turn(-1), ".": () => this.turn(1), " ": () => { viewer.panning = true; },
    };
  }

  toggle() {
    if (!this.map) {
      announce("There is no explanation for this image");
      return;
    }
    const on = !this.viewer.overlay.on;
    this.viewer.setOverlay({ on });
    this.onOff.setAttribute("aria-pressed", String(on));
    this.onOff.textContent = on ? "Explanation on" : "Explanation off";
    announce(on ? "Explanation on" : "Explanation off");
  }

  opacity(by) {
    const opacity = Math.min(1, Math.max(0.1, this.viewer.overlay.opacity + by));
    this.viewer.setOverlay({ opacity });
    this.slider.value = String(Math.round(opacity * 100));
  }

  /** Switch, strength, colours, and what the map is and is not. */
  legend(here, finding) {
    if (!here) {
      show(this.explained, h("p", { class: "hint" }, this.reading.explanation ? "The explanation belongs to another image of this study."
        : "There is no explanation: nothing was evaluated on this film."));
      return;
    }
    const { overlay } = this.viewer;
    const { badge } = this.reading.explanation;
    const reasons = badge?.reasons?.map((reason) => reason.text).join("; ");
    if (badge?.trust === "unreliable") {
      show(this.explained, h("p", { class: "hint", id: "map-trust" }, h("b", {}, "The explanation of this reading is unreliable and is not shown: "), reasons, "."));
      return;
    }
    this.onOff = button(overlay.on ? "Explanation on" : "Explanation off", () => this.toggle(), {
      id: "overlay", "aria-pressed": String(overlay.on), title: "Explanation (o)",
    });
    this.slider = h("input", {
      type: "range", min: 10, max: 100, step: 5, value: String(overlay.opacity * 100), "aria-label": "Strength of the explanation in percent", id: "overlay-strength",
      oninput: (event) => this.viewer.setOverlay({ opacity: Number(event.target.value) / 100 }),
    });
    const colours = choice(Object.entries(TABLES).map(([name, [, title]]) => [name, title]), overlay.colours, {
      "aria-label": "Colours of the explanation",
      onchange: (event) => { keep(COLOURS, event.target.value); this.viewer.setOverlay({ colours: event.target.value }); this.scale(event.target.value); },
    });
    const outline = h("input", { type: "checkbox", checked: overlay.outline, onchange: (event) => this.viewer.setOverlay({ outline: event.target.checked }) });
    this.ramp = h("canvas", { width: 256, height: 1, class: "ramp", "aria-hidden": "true" });
    this.scale(overlay.colours);
    const absent = finding && finding.decision !== "present";
    show(this.explained,
      h("div", { class: "explained-tools" }, this.onOff, this.slider, colours, h("label", { class: "check" }, outline, ` outline at ${OUTLINE * 100} %`)),
      h("div", { class: "ramp-line" }, h("span", {}, "little"), this.ramp, h("span", {}, "most of the evidence")),
      badge ? h("p", { class: "hint", id: "map-trust" }, h("b", {}, badge.trust === "reliable" ? "Checked: " : "With caution: "),
        badge.trust === "reliable" ? "without the marked places the answer changes more than without others, and the mirrored film is explained alike." : `${reasons}.`) : null,
      h("p", { class: "hint" }, h("b", {}, "What it is: "), `where on the film the model found what speaks for ${finding?.code.display.toLowerCase() || "the finding"} `,
        `(${this.reading.explanation.method}). `, h("b", {}, "What it is not: "), "an outline of a lesion, a proof of it, or a reason to look nowhere else. ",
        absent ? "Off at first, as the finding is absent: it shows the little that spoke for it. " : null,
        this.reading.explanation.cut ? `The outer ${percent(this.reading.explanation.cut)} of each side were not seen.` : null));
  }

  scale(name) {
    const context = this.ramp.getContext("2d");
    const line = new ImageData(256, 1);
    table(name).forEach((colour, at) => line.data.set([...colour, 255], at * 4));
    context.putImageData(line, 0, 0);
  }
}

/** u16, little endian, whatever the machine is. */
function valuesOf(buffer) {
  const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  if (little) return new Uint16Array(buffer);
  const view = new DataView(buffer);
  return Uint16Array.from({ length: buffer.byteLength / 2 }, (_, at) => view.getUint16(at * 2, true));
}

const round = (value) => (Math.abs(value) >= 100 ? Math.round(value) : Math.round(value * 10) / 10);
