// The series page: viewers; a click on the curve shows its slice; a new verdict is told, or shown where there was none.

import { follow } from "./events.js";
import { viewers } from "./viewers.js";

const made = viewers();

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-href], .values a");
  const address = link?.dataset.href ?? link?.getAttribute("href");
  if (!address?.startsWith("?revision=")) return;
  event.preventDefault();
  event.stopPropagation();
  made[0]?.show(Number(new URLSearchParams(address).get("slice")));
  made[0]?.root.scrollIntoView({ block: "nearest" });
}, true);

const { uid, newest, waits } = document.getElementById("series").dataset;
follow({
  after: Number(newest),
  on(name, data) {
    if (name !== "decision" || data.series !== uid) return;
    if (waits !== undefined) location.replace(`/series/${uid}`);
    else document.getElementById("news").hidden = false;
  },
});
