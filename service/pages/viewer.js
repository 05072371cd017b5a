// The film on a canvas: stored 16-bit values through window and level, zoomed and moved, with the explanation above.
// Units: window and level in the modality's unit (slope * stored + intercept), the scale bar in millimetres by the file's
// spacing, places in the film's pixels. The window is the linear function of DICOM PS3.3 C.11.2.1.2.1.

import { mapPicture } from "./colours.js";

const ZOOM_MAX = 32;
const ZOOM_MIN = 0.05;
const ZOOM_STEP = 1.15;
/** A map is drawn on at most this many pixels a side: the geometry is in shares, so that nothing moves. */
const MAP_SIDE_MAX = 1024;
/** A drag over this many pixels doubles the window. */
const DRAG_DOUBLES = 260;

/** Grey by stored value, as 32-bit pixels. */
export function greyTable({ slope, intercept }, { center, width, invert }) {
  const greys = new Uint32Array(65536);
  const span = Math.max(width - 1, 1e-6);
  for (let stored = 0; stored < greys.length; stored += 1) {
    const share = (slope * stored + intercept - (center - 0.5)) / span + 0.5;
    const clamped = Math.round(255 * Math.min(1, Math.max(0, share)));
    const grey = invert ? 255 - clamped : clamped;
    greys[stored] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return greys;
}

/** Shows one film. Events: "view" after each drawing, "probe" with what is under the pointer. */
export class Viewer extends EventTarget {
  constructor(canvas, signal) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.film = document.createElement("canvas");
    this.map = null;
    this.view = { zoom: 1, x: 0, y: 0, center: 128, width: 256, invert: false };
    this.overlay = { on: false, opacity: 0.6, colours: "flame", outline: true, strength: 1 };
    this.pointers = new Map();
    this.panning = false;
    const on = (name, act, options = {}) => canvas.addEventListener(name, act, { signal, ...options });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) on(name, (event) => this.up(event));
    on("pointerleave", () => this.dispatchEvent(new CustomEvent("probe", { detail: null })));
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("contextmenu", (event) => event.preventDefault());
    this.resizing = new ResizeObserver(() => this.resized());
    this.resizing.observe(canvas.parentElement);
    signal.addEventListener("abort", () => this.resizing.disconnect());
  }

  /** Takes a film: its facts and its stored values. */
  load(facts, pixels) {
    this.facts = facts;
    this.pixels = pixels;
    this.film.width = facts.columns;
    this.film.height = facts.rows;
    this.picture = new ImageData(facts.columns, facts.rows);
    this.words = new Uint32Array(this.picture.data.buffer);
    this.stale = true;
    this.size();
    this.reset();
  }

  /** Takes the explanation of this film, or null. */
  explain(map) {
    this.grid = map;
    this.map = null;
    this.redraw();
  }

  /** The window that the file proposes, else the full range. */
  presets() {
    const { windows = [], slope, intercept, min, max } = this.facts;
    const ends = [slope * min + intercept, slope * max + intercept];
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const own = windows.map(({ center, width, explanation }, at) => ({ center, width, name: explanation || `File's window ${at + 1}` }));
    return [...own, { center: (low + high + 1) / 2, width: Math.max(high - low + 1, 1), name: "Full range" }];
  }

  /** Back to the file's first window, fitted, not inverted but as the file says. */
  reset() {
    const [first] = this.presets();
    Object.assign(this.view, { center: first.center, width: first.width, invert: Boolean(this.facts.invert) });
    this.stale = true;
    this.fit();
  }

  /** Fits the film into the frame. */
  fit() {
    const { columns, rows } = this.facts;
    this.zoomTo(Math.min(this.wide / columns, this.high / rows), null);
    Object.assign(this.view, { x: columns / 2, y: rows / 2, fitted: true });
    this.redraw();
  }

  /** One pixel of the film on one pixel of the screen. */
  actual() {
    this.zoomTo(1 / this.ratio, null);
  }

  /** Sets window and level. */
  window(center, width) {
    Object.assign(this.view, { center, width: Math.max(width, 1) });
    this.stale = true;
    this.redraw();
  }

  /** Changes window and level by steps of a fiftieth of the window. */
  nudge(width, level) {
    const step = Math.max(this.view.width / 50, 0.5);
    this.window(this.view.center + level * step, this.view.width + width * step);
  }

  /** Inverts black and white. */
  invert() {
    this.view.invert = !this.view.invert;
    this.stale = true;
    this.redraw();
  }

  /** Moves the film by pixels of the screen. */
  pan(x, y) {
    this.view.x = Math.min(this.facts.columns, Math.max(0, this.view.x - x / this.view.zoom));
    this.view.y = Math.min(this.facts.rows, Math.max(0, this.view.y - y / this.view.zoom));
    this.view.fitted = false;
    this.redraw();
  }

  /** Zooms by a factor; `at` is the place of the screen that stays, null for the middle. */
  zoom(factor, at = null) {
    this.zoomTo(this.view.zoom * factor, at);
  }

  zoomTo(zoom, at) {
    const before = at && this.place(at.x, at.y);
    this.view.zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, zoom));
    this.view.fitted = false;
    if (before) {
      const after = this.place(at.x, at.y);
      this.view.x += before.x - after.x;
      this.view.y += before.y - after.y;
    }
    this.redraw();
  }

  /** Changes what is drawn of the explanation. */
  setOverlay(changes) {
    Object.assign(this.overlay, changes);
    if ("colours" in changes || "outline" in changes) this.map = null;
    this.redraw();
  }

  size() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    this.ratio = globalThis.devicePixelRatio || 1;
    [this.wide, this.high] = [Math.max(1, clientWidth), Math.max(1, clientHeight)];
    this.canvas.width = Math.round(this.wide * this.ratio);
    this.canvas.height = Math.round(this.high * this.ratio);
  }

  resized() {
    if (!this.facts) return;
    this.size();
    if (this.view.fitted) this.fit();
    this.redraw();
  }

  /** The film's place under a place of the frame. */
  place(x, y) {
    return { x: this.view.x + (x - this.wide / 2) / this.view.zoom, y: this.view.y + (y - this.high / 2) / this.view.zoom };
  }

  redraw() {
    if (this.due || !this.facts) return;
    this.due = requestAnimationFrame(() => {
      this.due = null;
      this.draw();
    });
  }

  draw() {
    const { columns, rows } = this.facts;
    if (this.stale) {
      const greys = greyTable(this.facts, this.view);
      for (let at = 0; at < this.pixels.length; at += 1) this.words[at] = greys[this.pixels[at]];
      this.film.getContext("2d").putImageData(this.picture, 0, 0);
      this.stale = false;
    }
    const { context, view } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const scale = view.zoom * this.ratio;
    context.setTransform(scale, 0, 0, scale, this.canvas.width / 2 - view.x * scale, this.canvas.height / 2 - view.y * scale);
    context.imageSmoothingEnabled = view.zoom < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.film, 0, 0);
    if (this.overlay.on && this.grid) {
      context.globalAlpha = this.overlay.opacity * this.overlay.strength;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.mapCanvas(), 0, 0, columns, rows);
      context.globalAlpha = 1;
    }
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    this.scaleBar();
    this.dispatchEvent(new CustomEvent("view", { detail: view }));
  }

  mapCanvas() {
    if (!this.map) {
      const { columns, rows } = this.facts;
      const share = Math.min(1, MAP_SIDE_MAX / Math.max(columns, rows));
      this.map = document.createElement("canvas");
      this.map.width = Math.max(1, Math.round(columns * share));
      this.map.height = Math.max(1, Math.round(rows * share));
      const picture = mapPicture(this.grid, this.map.height, this.map.width, this.overlay.colours, this.overlay.outline);
      this.map.getContext("2d").putImageData(picture, 0, 0);
    }
    return this.map;
  }

  /** A bar of a round length in millimetres, where the file says how large a pixel is. */
  scaleBar() {
    const spacing = this.facts.spacing_mm;
    if (!spacing) return;
    const perMm = this.view.zoom / spacing[1];
    const length = [200, 100, 50, 20, 10, 5, 2, 1, 0.5].find((mm) => mm * perMm <= this.wide * 0.28) || 0.2;
    const { context } = this;
    const [right, y] = [this.wide - 16, this.high - 18];
    const left = right - length * perMm;
    for (const [colour, width] of [["#000", 5], ["#fff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      for (const x of [left, right]) {
        context.moveTo(x, y - 5);
        context.lineTo(x, y + 5);
      }
      context.moveTo(left, y);
      context.lineTo(right, y);
      context.stroke();
    }
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "right";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    context.strokeText(`${length} mm`, right, y - 9);
    context.fillText(`${length} mm`, right, y - 9);
  }

  /** What lies under a place of the frame: row, column, value in the modality's unit; null outside of the film. */
  probe(x, y) {
    const at = this.place(x, y);
    const [column, row] = [Math.floor(at.x), Math.floor(at.y)];
    const { columns, rows, slope, intercept } = this.facts;
    if (column < 0 || row < 0 || column >= columns || row >= rows) return null;
    return { row, column, value: slope * this.pixels[row * columns + column] + intercept };
  }

  down(event) {
    if (!this.facts) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.drag = event.button === 1 || event.button === 2 || event.shiftKey || this.panning ? "pan" : "window";
    if (event.button === 1) event.preventDefault();
  }

  move(event) {
    if (!this.facts) return;
    const now = { x: event.offsetX, y: event.offsetY };
    const before = this.pointers.get(event.pointerId);
    this.dispatchEvent(new CustomEvent("probe", { detail: this.probe(now.x, now.y) }));
    if (!before) return;
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
    else if (this.drag === "pan") this.pan(now.x - before.x, now.y - before.y);
    else {
      const factor = 2 ** ((now.x - before.x) / DRAG_DOUBLES);
      const level = ((now.y - before.y) * this.view.width) / DRAG_DOUBLES;
      this.window(this.view.center + level, this.view.width * factor);
    }
    this.pointers.set(event.pointerId, now);
  }

  pinch(id, before, now) {
    const [other] = [...this.pointers].filter(([known]) => known !== id).map(([, place]) => place);
    const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
    this.zoom(apart(now) / apart(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    this.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
  }

  wheel(event) {
    event.preventDefault();
    if (this.facts) this.zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, { x: event.offsetX, y: event.offsetY });
  }
}
