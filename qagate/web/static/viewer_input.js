// Pointer, wheel, touch and keys of one viewer.

import { typing } from "./base.js";

export class Input {
  constructor(viewer) {
    this.viewer = viewer;
    this.pointers = new Map();
    this.tool = "window";
    this.scrolled = 0;
    this.onCanvas(viewer.canvas);
    if (viewer.strip) this.onStrip(viewer.strip);
    this.onControls(viewer.root);
  }

  onCanvas(canvas) {
    const { viewer } = this;
    new ResizeObserver(() => viewer.draw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) viewer.zoom(Math.exp(-event.deltaY / 300));
      else viewer.show(viewer.number + Math.sign(event.deltaY));
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => viewer.fit());
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
  }

  onStrip(strip) {
    const { viewer } = this;
    strip.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) viewer.show(Number(button.dataset.number));
    });
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      viewer.show(viewer.number + step);
      strip.children[viewer.number - 1].focus();
    });
  }

  onControls(root) {
    const { viewer } = this;
    for (const input of root.querySelectorAll('input[data-tool]')) {
      input.addEventListener("change", () => { this.tool = input.dataset.tool; });
    }
    // A finger has no wheel to scroll with.
    if (matchMedia("(pointer: coarse)").matches) root.querySelector('input[data-tool="scroll"]').click();
    root.querySelector(".map-only input")?.addEventListener("input", (event) => viewer.setMap(event.target.value / 100));
    root.querySelector("select")?.addEventListener("change", (event) => viewer.preset(event.target.value));
    for (const button of root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => viewer.act(button.dataset.do));
    }
  }

  drag(event) {
    const { viewer } = this;
    viewer.point(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (x, y) => Math.hypot(x - other[0], y - other[1]) || 1;
      viewer.zoom(apart(event.clientX, event.clientY) / apart(...before));
    } else this.dragWith(event.shiftKey || event.buttons & 6 ? "pan" : this.tool, dx, dy);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  dragWith(tool, dx, dy) {
    const { viewer } = this;
    if (tool === "window" && viewer.window) {
      const step = Math.max(viewer.window.width, 10 * Math.abs(viewer.current?.slope ?? 1)) / 300;
      viewer.setWindow(viewer.window.centre + dy * step, viewer.window.width + dx * step);
    } else if (tool === "pan") {
      const ratio = window.devicePixelRatio || 1;
      viewer.pan(dx * ratio, dy * ratio);
    } else if (tool === "zoom") viewer.zoom(Math.exp(-dy / 150));
    else if (tool === "scroll") {
      this.scrolled += dy;
      const steps = Math.trunc(this.scrolled / 8);
      this.scrolled -= steps * 8;
      if (steps) viewer.show(viewer.number + steps);
    }
  }

  keyOnCanvas(event) {
    const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -1e6, End: 1e6 }[event.key];
    if (step && !event.shiftKey) {
      event.preventDefault();
      this.viewer.show(this.viewer.number + step);
    }
  }

  /** Keys of the page; true when the key was the viewer's. */
  key(event) {
    if (typing(event) || event.target.closest?.('input[type="range"], input[type="radio"]')) return false;
    const { viewer } = this;
    const { centre, width } = viewer.window ?? {};
    const step = (width ?? 0) / 20;
    if (event.shiftKey && width) {
      const shifts = {
        ArrowUp: [step, 0], ArrowDown: [-step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step],
      }[event.key];
      if (shifts) {
        viewer.setWindow(centre + shifts[0], width + shifts[1]);
        return true;
      }
    }
    const name = {
      ArrowLeft: "previous", ArrowRight: "next", "+": "in", "-": "out", f: "fit", i: "invert", m: "map",
    }[event.key];
    if (!name || (name === "map" && !viewer.scores.size)) return false;
    viewer.act(name);
    return true;
  }
}
