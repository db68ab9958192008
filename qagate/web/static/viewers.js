// Every viewer of a page: who gets the keys, and how they scroll together.

import { Viewer } from "./viewer.js";

/** Every viewer of the page; the keys go to the one that has the focus, else to the first. */
export function viewers() {
  const made = [...document.querySelectorAll("section.viewer")].map((root) => new Viewer(root));
  document.addEventListener("keydown", (event) => {
    const active = made.find((one) => one.root.contains(document.activeElement)) ?? made[0];
    if (active?.input.key(event)) event.preventDefault();
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
