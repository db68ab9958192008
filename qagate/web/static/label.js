// The label page by keyboard: a digit or two, a letter for each artefact, Enter.

import { ask, typing } from "./base.js";
import { viewers } from "./viewers.js";

const DIGITS_MS = 900; // digits typed within this time make one number
const [viewer] = viewers();
const form = document.getElementById("rate");

if (form) {
  const slide = document.getElementById("slide");
  const score = document.getElementById("score");
  slide?.addEventListener("input", () => { score.value = slide.value; });
  score?.addEventListener("input", () => { slide.value = score.value; });

  let typed = "";
  let typedAt = 0;
  const digit = (key) => {
    if (!score) {
      const radio = form.querySelector(`input[name="score"][value="${key}"]`);
      if (radio) radio.checked = true;
      return Boolean(radio);
    }
    typed = Date.now() - typedAt < DIGITS_MS ? typed + key : key;
    if (Number(typed) > 100) typed = key;
    typedAt = Date.now();
    score.value = slide.value = typed;
    return true;
  };

  let lastPlace = null;
  const artefact = (key) => {
    const box = form.querySelector(`[data-artefact-key="${key}"]`);
    if (!box) return false;
    box.checked = !box.checked;
    lastPlace = box.closest(".artefact").querySelector('[name="place"]');
    return true;
  };
  form.addEventListener("change", ({ target }) => {
    if (target.name === "artefact") lastPlace = target.closest(".artefact").querySelector('[name="place"]');
  });

  /** Write the slice in sight beside the artefact that was ticked last. */
  const here = () => {
    if (!lastPlace || !viewer.number) return false;
    const said = form.dataset.slice.replace("%(n)s", viewer.number);
    const there = lastPlace.value.split(",").map((one) => one.trim()).filter(Boolean);
    if (!there.includes(said)) lastPlace.value = [...there, said].join(", ");
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.target.closest("a, button, summary, select, textarea")) {
      event.preventDefault();
      form.requestSubmit();
      return;
    }
    if (event.defaultPrevented || typing(event)) return;
    const follow = { k: "skip", z: "undo" }[event.key];
    const done = /^\d$/.test(event.key) ? digit(event.key)
      : event.key === "l" ? here()
      : follow ? document.getElementById(follow)?.click() ?? true
      : artefact(event.key);
    if (done) event.preventDefault();
  });

  // The gate reads the next series' headers while this one is looked at.
  viewer.ready.then(() => {
    const { following, followingRevision } = form.dataset;
    if (following) ask(`/api/v1/series/${following}/slices?revision=${followingRevision}`, { background: true }).catch(() => {});
  });
}
