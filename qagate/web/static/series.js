// The series page: viewers, and a click on the curve shows its slice without loading the page again.

import { viewers } from "./viewer.js";

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
