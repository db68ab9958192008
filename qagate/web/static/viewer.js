// The slice viewer: 16-bit pixels from the gate, window and zoom here. One instance a <section class="viewer">.

import { ask, typing } from "./base.js";

const KEPT_BYTES = 256 << 20; // of decoded slices, per viewer
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
    this.kept = new Map();
    this.bytes = 0;
    this.number = 0;
    this.tool = "window";
    this.opacity = 0;
    this.inverted = false;
    this.window = null;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.pointers = new Map();
    this.ready = this.load();
    this.listen();
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
      button.title = fill(score ? this.texts.sliceScored : this.texts.slice,
        { n: one.number, count: this.slices.length, q: score && hundredths.format(score.quality) });
      button.setAttribute("aria-label", button.title);
      if (score) button.classList.add("scored", this.grade(score.quality));
      return button;
    });
    this.strip.replaceChildren(...made);
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
    const pixels = await this.pixels(number);
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
        if (other >= 1 && other <= this.slices.length && number === this.number) await this.pixels(other);
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
    const score = this.scores.get(this.number);
    const words = fill(score ? this.texts.sliceScored : this.texts.slice,
      { n: this.number, count: this.slices.length, q: score && hundredths.format(score.quality) });
    this.root.querySelector(".where").textContent = words;
    this.canvas.setAttribute("aria-label", words);
  }

  pixels(number) {
    let found = this.kept.get(number);
    if (found) {
      this.kept.delete(number);
      this.kept.set(number, found); // the newest last
      return found;
    }
    found = this.fetchPixels(number);
    this.kept.set(number, found);
    return found;
  }

  async fetchPixels(number) {
    const response = await ask(this.address(`slices/${number}/pixels`), { background: true }).catch(() => null);
    if (!response?.ok) {
      this.kept.delete(number);
      return { problem: (await response?.json().catch(() => null))?.detail ?? this.texts.failed };
    }
    const read = (name) => Number(response.headers.get(`X-${name}`));
    const stored = new Uint16Array(await response.arrayBuffer());
    this.bytes += stored.byteLength;
    for (const [old] of this.kept) {
      if (this.bytes <= KEPT_BYTES || old === this.number) break;
      this.bytes -= stored.byteLength;
      this.kept.delete(old);
    }
    return {
      stored, rows: read("Rows"), columns: read("Columns"), slope: read("Slope"),
      intercept: read("Intercept"), centre: read("Centre"), width: read("Width"),
    };
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

  listen() {
    const canvas = this.canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) this.zoom(Math.exp(-event.deltaY / 300));
      else this.show(this.number + Math.sign(event.deltaY));
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      this.scrolled = 0;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("keydown", (event) => this.keyOnCanvas(event));
    this.strip?.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.show(Number(button.dataset.number));
    });
    this.strip?.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      this.show(this.number + step);
      this.strip.children[this.number - 1].focus();
    });
    for (const input of this.root.querySelectorAll('input[data-tool]')) {
      input.addEventListener("change", () => { this.tool = input.dataset.tool; });
    }
    // A finger has no wheel to scroll with.
    if (matchMedia("(pointer: coarse)").matches) this.root.querySelector('input[data-tool="scroll"]').click();
    this.root.querySelector(".map-only input")?.addEventListener("input", (event) => this.setMap(event.target.value / 100));
    this.root.querySelector("select")?.addEventListener("change", (event) => this.preset(event.target.value));
    for (const button of this.root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
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

  drag(event) {
    this.point(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (x, y) => Math.hypot(x - other[0], y - other[1]) || 1;
      this.zoom(apart(event.clientX, event.clientY) / apart(...before));
    } else this.dragWith(event.shiftKey || event.buttons & 6 ? "pan" : this.tool, dx, dy);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  dragWith(tool, dx, dy) {
    if (tool === "window" && this.window) {
      const step = Math.max(this.window.width, 10 * Math.abs(this.current?.slope ?? 1)) / 300;
      this.setWindow(this.window.centre + dy * step, this.window.width + dx * step);
    } else if (tool === "pan") {
      const ratio = window.devicePixelRatio || 1;
      this.view.x += dx * ratio;
      this.view.y += dy * ratio;
      this.draw();
    } else if (tool === "zoom") this.zoom(Math.exp(-dy / 150));
    else if (tool === "scroll") {
      this.scrolled += dy;
      const steps = Math.trunc(this.scrolled / 8);
      this.scrolled -= steps * 8;
      if (steps) this.show(this.number + steps);
    }
  }

  keyOnCanvas(event) {
    const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e6, End: 1e6 }[event.key];
    if (step && !event.shiftKey) {
      event.preventDefault();
      this.show(this.number + step);
    }
  }

  /** Keys of the page; true when the key was the viewer's. */
  key(event) {
    if (typing(event) || event.target.closest?.('input[type="range"], input[type="radio"]')) return false;
    const { centre, width } = this.window ?? {};
    const step = (width ?? 0) / 20;
    if (event.shiftKey && width) {
      const shifts = {
        ArrowUp: [step, 0], ArrowDown: [-step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step],
      }[event.key];
      if (shifts) {
        this.setWindow(centre + shifts[0], width + shifts[1]);
        return true;
      }
    }
    const name = {
      ArrowLeft: "previous", ArrowRight: "next", "+": "in", "-": "out", f: "fit", i: "invert", m: "map",
    }[event.key];
    if (!name || (name === "map" && !this.scores.size)) return false;
    this.act(name);
    return true;
  }
}

function shortly(value) {
  return Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : shorter.format(value);
}

/** Every viewer of the page; the keys go to the one that has the focus, else to the first. */
export function viewers() {
  const made = [...document.querySelectorAll("section.viewer")].map((root) => new Viewer(root));
  document.addEventListener("keydown", (event) => {
    const active = made.find((one) => one.root.contains(document.activeElement)) ?? made[0];
    if (active?.key(event)) event.preventDefault();
  });
  Promise.all(made.map((one) => one.ready)).then(() => together(made));
  return made;
}

/** From now on all scroll together, the first leading, and their maps have the scale of the worst. */
function together(made) {
  const [first] = made;
  const mapped = made.filter((one) => one.ends && one.weights === first.weights);
  const worst = mapped.reduce((low, one) => (one.ends[1] < low.ends[1] ? one : low), first);
  for (const one of mapped) {
    one.ends = worst.ends;
    one.paint();
  }
  for (const one of made) {
    one.addEventListener("slice", ({ detail }) => {
      for (const other of made) if (other !== one) follow(other, detail);
    });
    if (one !== first && first.slices.length) follow(one, first.slices[first.number - 1]);
  }
}

/** Show the slice that lies nearest; by number where positions are not known. */
function follow(viewer, slice) {
  const there = viewer.slices.filter((one) => one.position_mm !== null);
  let number = slice.number;
  if (slice.position_mm !== null && there.length) {
    const far = (one) => Math.abs(one.position_mm - slice.position_mm);
    number = there.reduce((best, one) => (far(one) < far(best) ? one : best)).number;
  }
  if (viewer.number !== number) viewer.show(number);
}
