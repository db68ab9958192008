// What every page does: keeps "12 s ago" true, follows the keys, sends forms' proof, says when a login ended.

const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto", style: "short" });
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];

// Clocks of scanner consoles go wrong by minutes; only the gate's own counts.
const skew = Date.parse(document.body.dataset.now) - Date.now();

/** How long since a time, in the page's language: "12 sec. ago". */
export function ago(time, now = Date.now() + skew) {
  const seconds = Math.max(0, (now - time.getTime()) / 1000);
  const [, unit, size] = STEPS.find(([below]) => seconds < below);
  return relative.format(-Math.floor(seconds / size), unit);
}

/** Write the age into every <time class="ago"> below `root`. */
export function refreshAges(root = document) {
  for (const element of root.querySelectorAll("time.ago")) {
    const text = ago(new Date(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

const banner = document.getElementById("banner");

/** Tell the visitor something that stays until `hush`; `kind`: lost, ended or failed. */
export function tell(kind, detail = "") {
  banner.replaceChildren(detail || banner.dataset[kind]);
  banner.dataset.kind = kind;
  if (kind === "ended") {
    const link = document.createElement("a");
    link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = banner.dataset.login;
    banner.append(" ", link);
  }
  banner.hidden = false;
}

/** Take back what `tell` said, if it was of this kind. */
export function hush(kind) {
  if (banner.dataset.kind === kind) banner.hidden = true;
}

/** fetch with the proof that our own page asks; says so on the page when the login ended or the gate is away.
 *  `background`: the visitor did not ask for it, so it does not keep the login alive. */
export async function ask(url, { background = false, ...options } = {}) {
  const headers = new Headers(options.headers);
  headers.set("Accept", "application/json");
  if (background) headers.set("X-Background", "1");
  if (options.method && options.method !== "GET") headers.set("X-CSRF-Token", document.body.dataset.csrf ?? "");
  let response;
  try {
    response = await fetch(url, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    tell("lost");
    throw error;
  }
  hush("lost");
  if (response.status === 401) tell("ended");
  else if (!response.ok && !background) tell("failed", (await response.clone().json().catch(() => ({}))).detail);
  return response;
}

/** Whether a key press belongs to a field the visitor types in. */
export function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey ||
    event.target.closest?.("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");
}

let waitsForPlace = 0;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const open of document.querySelectorAll("details.user[open]")) open.open = false;
  }
  if (typing(event)) return;
  if (event.key === "?") location.href = "/help";
  else if (event.key === "g") waitsForPlace = Date.now();
  else if (Date.now() - waitsForPlace < 1500) {
    waitsForPlace = 0;
    const link = document.querySelector(`nav.main a[data-key="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      link.click();
    }
  }
});

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.user[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

// A second click on a slow button would send the form twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => delete form.dataset.sent, 3000);
});

refreshAges();
setInterval(refreshAges, 1000);
