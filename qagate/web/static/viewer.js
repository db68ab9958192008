// The slice viewer: 16-bit pixels from the gate, window and zoom here. One instance a <section class="viewer">.

import { ask } from "./base.js";
import { Input } from "./viewer_input.js";
import { Pixels } from "./viewer_pixels.js";

const AHEAD = 3; // slices fetched on either side
const HEAT = [230, 60, 20]; // as in qagate/web/imaging.py
const ZOOM_MOST = 16;
const { lang } = document.documentElement;
const hundredths = new Intl.NumberFormat(lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const shorter = new Intl.NumberFormat(lang, { maximumSignificantDigits: 3 });

/** Fill %(name)s in a text of the page. */
const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (_, name) => values[name] ?? "");

export class Viewer extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.texts = root.dataset;
    this.canvas = root.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.strip = root.querySelector(".strip");
    this.said = root.querySelector(".said");
    this.whole = document.createElement("canvas");
    this.heat = document.createElement("canvas");
    this.lut = new Uint32Array(65536);
    this.slices = [];
    this.scores = new Map();
    this.pixels = new Pixels((rest) => this.address(rest), this.texts.failed);
    this.number = 0;
    this.opacity = 0;
    this.inverted = false;
    this.window = null;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.input = new Input(this);
    this.ready = this.load();
  }

  address(rest) {
    const revision = this.root.dataset.revision;
    return `/api/v1/series/${this.root.dataset.uid}/${rest}${revision ? `?revision=${revision}` : ""}`;
  }

  async load() {
    const response = await ask(this.address("slices"), { background: true }).catch(() => null);
    if (!response?.ok) {
      this.say((await response?.json().catch(() => null))?.detail ?? this.texts.failed);
      return;
    }
    const found = await response.json();
    this.slices = found.slices;
    if (!this.slices.length) {
      this.say(this.texts.empty);
      return;
    }
    if (!this.root.hasAttribute("data-blind")) await this.loadScores();
    this.fillStrip();
    const wanted = Number(this.root.dataset.first) || Math.ceil((found.scored_stack || this.slices.length) / 2);
    const named = this.slices.find((one) => one.sop_instance_uid === this.root.dataset.sop);
    if (this.root.dataset.sop && !named) this.say(this.texts.gone);
    else await this.show((this.only = named?.number) ?? wanted);
  }

  async loadScores() {
    const response = await ask(this.address("scores"), { background: true }).catch(() => null);
    if (!response?.ok) return;
    const found = await response.json();
    this.ends = [found.map_low, found.map_high];
    this.weights = found.weights_sha256;
    for (const one of found.slices) if (one.number) this.scores.set(one.number, one);
    const has = found.slices.some((one) => one.quality_map);
    for (const element of this.root.querySelectorAll(".map-only")) element.hidden = !has;
  }

  say(text) {
    this.said.textContent = text;
    this.said.hidden = !text;
  }

  fillStrip() {
    if (!this.strip) return;
    const made = this.slices.map((one) => {
      const button = document.createElement("button");
      const score = this.scores.get(one.number);
      button.type = "button";
      button.tabIndex = -1;
      button.dataset.number = one.number;
      const image = document.createElement("img");
      image.loading = "lazy";
      image.width = image.height = 72;
      image.alt = "";
      image.src = this.address(`slices/${one.number}/thumbnail`);
      const words = document.createElement("span");
      words.textContent = score ? `${one.number} · ${hundredths.format(score.quality)}` : one.number;
      button.append(image, words);
      button.title = this.told(one.number);
      button.setAttribute("aria-label", button.title);
      if (score) button.classList.add("scored", this.grade(score.quality));
      return button;
    });
    this.strip.replaceChildren(...made);
  }

  /** "Slice 3 of 24", with its quality where it has one. */
  told(number) {
    const score = this.scores.get(number);
    return fill(score ? this.texts.sliceScored : this.texts.slice,
      { n: number, count: this.slices.length, q: score && hundredths.format(score.quality) });
  }

  grade(quality) {
    const { reviewBelow, repeatBelow } = this.root.dataset;
    if (repeatBelow && quality < Number(repeatBelow)) return "bad";
    return reviewBelow && quality < Number(reviewBelow) ? "warn" : "good";
  }

  /** Show a slice, 1 to the last; what lies beyond is the nearest. */
  async show(number) {
    if (!this.slices.length) return;
    number = this.only ?? Math.min(Math.max(number, 1), this.slices.length);
    const changed = number !== this.number;
    this.number = number;
    if (changed) this.mark();
    const pixels = await this.pixels.of(number, this.number);
    if (number !== this.number) return; // scrolled on meanwhile
    this.current = pixels;
    if (pixels.problem) {
      this.say(pixels.problem);
      this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    } else {
      this.say("");
      this.window ??= { centre: pixels.centre, width: pixels.width };
      this.paint();
    }
    if (changed) this.dispatchEvent(new CustomEvent("slice", { detail: this.slices[number - 1] }));
    for (let step = 1; step <= (this.only ? 0 : AHEAD); step++) {
      for (const other of [number + step, number - step]) {
        if (other >= 1 && other <= this.slices.length && number === this.number) await this.pixels.of(other, this.number);
      }
    }
  }

  mark() {
    const before = this.strip?.querySelector("[aria-current]");
    before?.removeAttribute("aria-current");
    if (before) before.tabIndex = -1;
    const now = this.strip?.children[this.number - 1];
    if (now) {
      now.setAttribute("aria-current", "true");
      now.tabIndex = 0;
      const { offsetLeft, offsetWidth } = now;
      const middle = offsetLeft - this.strip.offsetLeft - (this.strip.clientWidth - offsetWidth) / 2;
      this.strip.scrollTo({ left: middle });
    }
    const words = this.told(this.number);
    this.root.querySelector(".where").textContent = words;
    this.canvas.setAttribute("aria-label", words);
  }

  /** Grey levels by the window; the linear function of PS3.3 C.11.2.1.2. */
  paint() {
    const of = this.current;
    if (!of || of.problem) return;
    const { centre, width } = this.window;
    const span = Math.max(width - 1, 1e-6);
    for (let stored = 0; stored < 65536; stored++) {
      const share = (stored * of.slope + of.intercept - (centre - 0.5)) / span + 0.5;
      let grey = share <= 0 ? 0 : share >= 1 ? 255 : Math.round(share * 255);
      if (this.inverted) grey = 255 - grey;
      this.lut[stored] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    this.whole.width = of.columns;
    this.whole.height = of.rows;
    const image = this.whole.getContext("2d").createImageData(of.columns, of.rows);
    const out = new Uint32Array(image.data.buffer);
    for (let place = 0; place < out.length; place++) out[place] = this.lut[of.stored[place]];
    this.whole.getContext("2d").putImageData(image, 0, 0);
    this.paintHeat();
    this.draw();
  }

  paintHeat() {
    const map = this.scores.get(this.number)?.quality_map;
    this.hasHeat = Boolean(map) && this.ends[1] > this.ends[0];
    if (!this.hasHeat) return;
    const cells = Uint8Array.from(atob(map.cells), (one) => one.charCodeAt(0));
    this.heat.width = map.columns;
    this.heat.height = map.rows;
    const image = new ImageData(map.columns, map.rows);
    const [low, high] = this.ends;
    cells.forEach((cell, place) => {
      const score = map.low + (cell / 255) * (map.high - map.low);
      const bad = Math.min(Math.max((high - score) / (high - low), 0), 1);
      image.data.set([...HEAT, Math.round(255 * bad)], 4 * place);
    });
    this.heat.getContext("2d").putImageData(image, 0, 0);
  }

  /** The rectangle of the slice on the canvas, in canvas pixels; pixels that are not square stay so. */
  place() {
    const { columns, rows } = this.current;
    const [between, within] = this.slices[this.number - 1].spacing_mm ?? [1, 1];
    const tall = rows * (between / within);
    const fit = Math.min(this.canvas.width / columns, this.canvas.height / tall) * this.view.zoom;
    const width = columns * fit;
    const height = tall * fit;
    return {
      x: (this.canvas.width - width) / 2 + this.view.x, y: (this.canvas.height - height) / 2 + this.view.y,
      width, height,
    };
  }

  draw() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, width, height);
    if (!this.current || this.current.problem) return;
    const at = this.place();
    this.context.imageSmoothingEnabled = this.view.zoom < 4;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(this.whole, at.x, at.y, at.width, at.height);
    if (this.hasHeat && this.opacity > 0) {
      this.context.imageSmoothingEnabled = true;
      this.context.globalAlpha = this.opacity;
      this.context.drawImage(this.heat, at.x, at.y, at.width, at.height);
      this.context.globalAlpha = 1;
    }
    const { centre, width: span } = this.window;
    this.root.querySelector(".levels").textContent =
      fill(this.texts.levels, { c: shortly(centre), w: shortly(span) });
  }

  setWindow(centre, width) {
    this.window = { centre, width: Math.max(width, Math.abs(this.current?.slope ?? 1)) };
    this.paint();
  }

  pan(dx, dy) {
    this.view.x += dx;
    this.view.y += dy;
    this.draw();
  }

  fit() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.draw();
  }

  zoom(factor) {
    const zoom = Math.min(Math.max(this.view.zoom * factor, 0.5), ZOOM_MOST);
    const by = zoom / this.view.zoom;
    this.view = { zoom, x: this.view.x * by, y: this.view.y * by };
    this.draw();
  }

  invert() {
    this.inverted = !this.inverted;
    this.root.querySelector('[data-do="invert"]')?.setAttribute("aria-pressed", this.inverted);
    this.paint();
  }

  setMap(opacity) {
    this.opacity = opacity;
    const slider = this.root.querySelector(".map-only input");
    if (slider) slider.value = Math.round(100 * opacity);
    const legend = this.root.querySelector(".legend");
    if (legend) legend.hidden = !opacity;
    this.draw();
  }

  preset(name) {
    const { centre, width } = this.current ?? {};
    const found = { soft: [40, 400], lung: [-600, 1500], bone: [500, 2000], brain: [40, 80] }[name];
    if (found) this.setWindow(...found);
    else if (width) this.setWindow(centre, width);
  }

  /** Value under the pointer, in the slice's units. */
  point(event) {
    const out = this.root.querySelector(".value");
    if (!this.current || this.current.problem || !out) return;
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const at = this.place();
    const { columns, rows, stored, slope, intercept } = this.current;
    const column = Math.floor((((event.clientX - box.left) * ratio - at.x) / at.width) * columns);
    const row = Math.floor((((event.clientY - box.top) * ratio - at.y) / at.height) * rows);
    const inside = column >= 0 && row >= 0 && column < columns && row < rows;
    out.textContent = inside
      ? `${column}, ${row}: ${shortly(stored[row * columns + column] * slope + intercept)}${this.texts.unit}` : "";
  }

  act(name) {
    if (name === "invert") this.invert();
    else if (name === "fit") this.fit();
    else if (name === "in") this.zoom(1.25);
    else if (name === "out") this.zoom(0.8);
    else if (name === "previous") this.show(this.number - 1);
    else if (name === "next") this.show(this.number + 1);
    else if (name === "map") this.setMap(this.opacity > 0 ? 0 : 0.6);
  }
}

function shortly(value) {
  return Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : shorter.format(value);
}
