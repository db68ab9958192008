// The worklist: tells when something is new, ticks many at once, sends the filter when a choice is made.
import { typing } from "/static/base.js";
import { follow } from "/static/events.js";

const list = document.getElementById("list");
const news = document.getElementById("news");
const ticks = [...list.querySelectorAll("input[name=seen]")];

const all = document.getElementById("all");
const buttons = [...list.querySelectorAll("button[data-ticked]")];
function count() {
  const ticked = ticks.filter((tick) => tick.checked).length;
  for (const button of buttons) button.disabled = ticked === 0;
  if (all) {
    all.checked = ticked > 0 && ticked === ticks.length;
    all.indeterminate = ticked > 0 && ticked < ticks.length;
  }
}
if (all) {
  all.hidden = ticks.length === 0;
  all.addEventListener("change", () => {
    for (const tick of ticks) tick.checked = all.checked;
    count();
  });
}
let lastTick = null;
list.addEventListener("click", (event) => {
  if (!ticks.includes(event.target)) return;
  if (event.shiftKey && lastTick) {
    const [from, to] = [ticks.indexOf(lastTick), ticks.indexOf(event.target)].sort((a, b) => a - b);
    for (const tick of ticks.slice(from, to + 1)) tick.checked = event.target.checked;
  }
  lastTick = event.target;
  count();
});
list.addEventListener("change", count);
count();

// A changed choice filters at once; words and days wait for Enter.
const filter = document.getElementById("filter");
filter.addEventListener("change", (event) => {
  if (event.target.tagName === "SELECT") filter.requestSubmit();
});
filter.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
});

// On a phone the filter would hide the list.
if (matchMedia("(max-width: 46rem)").matches) document.getElementById("filters").open = false;

// A list that is being read does not move under the reader: it says that something is new.
let heard = 0;
follow({
  after: Number(list.dataset.newest),
  on(name) {
    if (name === "decision" || (name === "changed" && heard++ > 0)) news.hidden = false;
  },
});

document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    filter.querySelector("input[name=protocol]").focus();
  } else if (event.key === "j" || event.key === "k") {
    const links = [...list.querySelectorAll("td.p a")];
    const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    links[Math.max(0, Math.min(links.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
  } else if (event.key === "x") {
    const tick = document.activeElement.closest("tr")?.querySelector("input[name=seen]");
    if (tick) tick.click();
  }
});
