// The console keeps itself true: fetches the tiles when something changed, announces REPEAT, sends answers.
import { ask, hush, refreshAges, tell, typing } from "/static/base.js";
import { follow } from "/static/events.js";

const shown = document.getElementById("shown");
const station = shown.dataset.station;
const query = station ? `?station=${encodeURIComponent(station)}` : "";
const PAUSE_MS = 250; // at least, between two fetches

let fetching = false;
let again = false;

/** Fetch the tiles and put in place what differs; answers half written stay. */
async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const response = await ask(`/console/tiles${query}`, { background: true, headers: { Accept: "text/html" } });
    if (response.ok) show(new DOMParser().parseFromString(await response.text(), "text/html"));
    else if (response.status >= 500) tell("failed", shown.dataset.away);
  } catch {
    // `ask` has told; the event stream comes back and asks for the tiles again.
  } finally {
    await new Promise((resume) => setTimeout(resume, PAUSE_MS));
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function show(page) {
  const fresh = page.getElementById("tiles");
  if (!fresh) return;
  const now = document.getElementById("tiles");
  for (const box of ["lead", "others"]) settle(now.querySelector(`.${box}`), [...fresh.querySelector(`.${box}`).children]);
  document.getElementById("urgent").replaceWith(page.getElementById("urgent"));
  refreshAges(shown);
}

/** Make `box` hold what `wanted` says; an element that says the same already stays where it is. */
function settle(box, wanted) {
  const elements = wanted.map((fresh) => {
    const old = fresh.id && document.getElementById(fresh.id);
    if (!old) return fresh;
    if (old.dataset.version === fresh.dataset.version) return old;
    keepWriting(old, fresh);
    old.replaceWith(fresh);
    return fresh;
  });
  elements.forEach((element, place) => {
    if (box.children[place] !== element) box.insertBefore(element, box.children[place] ?? null);
  });
  while (box.children.length > elements.length) box.lastElementChild.remove();
}

/** An open answer moves to the fresh tile; it still speaks of the revision that was judged when it was opened. */
function keepWriting(old, fresh) {
  for (const open of old.querySelectorAll("details[open]")) {
    const place = fresh.querySelector(`details.${open.classList[0]}`);
    if (!place) continue;
    place.open = true;
    const field = open.querySelector("input[name=reason]");
    if (open.classList.contains("disagree") && field?.value) place.replaceWith(open);
  }
}

// Sound and notification

const sound = document.getElementById("sound");
const KEY = "qagate-sound";
let audio = null;

function wanted() {
  return localStorage.getItem(KEY) === "on";
}

function label() {
  const blocked = wanted() && audio?.state !== "running";
  sound.setAttribute("aria-pressed", String(wanted()));
  sound.querySelector("span").textContent = sound.dataset[!wanted() ? "off" : blocked ? "blocked" : "on"];
}

async function wake() {
  audio ??= new AudioContext();
  await Promise.race([audio.resume(), new Promise((resume) => setTimeout(resume, 300))]);
  label();
}

function beep() {
  if (audio?.state !== "running") return;
  const start = audio.currentTime;
  for (const [after, pitch] of [[0, 880], [0.22, 660], [0.44, 880]]) {
    const tone = audio.createOscillator();
    const level = audio.createGain();
    tone.frequency.value = pitch;
    level.gain.setValueAtTime(0.0001, start + after);
    level.gain.exponentialRampToValueAtTime(0.35, start + after + 0.03);
    level.gain.exponentialRampToValueAtTime(0.0001, start + after + 0.2);
    tone.connect(level).connect(audio.destination);
    tone.start(start + after);
    tone.stop(start + after + 0.22);
  }
}

sound.hidden = false;
sound.addEventListener("click", async () => {
  const blocked = wanted() && audio?.state !== "running";
  localStorage.setItem(KEY, wanted() && !blocked ? "off" : "on");
  await wake();
  if (wanted()) {
    beep();
    if ("Notification" in window && Notification.permission === "default") Notification.requestPermission();
  }
});
if (wanted()) wake();
else label();

function announce(decision) {
  if (station && decision.station !== station) return;
  const word = shown.dataset[`word${decision.verdict.toLowerCase().replace(/(^|_)(.)/g, (_all, _mark, letter) => letter.toUpperCase())}`];
  const text = [word, decision.station].filter(Boolean).join(": ");
  document.getElementById("said-aloud").textContent = text;
  if (decision.verdict !== "REPEAT" || !wanted()) return;
  beep();
  if ("Notification" in window && Notification.permission === "granted") {
    const note = new Notification(text, { tag: decision.series, requireInteraction: true });
    note.addEventListener("click", () => { window.focus(); note.close(); });
  }
}

// Events

const live = document.getElementById("live");
live.textContent = live.dataset.lost;
follow({
  after: Number(shown.dataset.newest),
  state(connected) {
    live.textContent = connected ? live.dataset.live : live.dataset.lost;
    live.classList.toggle("on", connected);
  },
  on(name, data) {
    if (name === "away") tell("failed", shown.dataset.away);
    if (name === "decision") announce(data);
    if (name === "hello" && data.version !== shown.dataset.version) location.reload(); // upgraded meanwhile
    else if (name === "hello") refresh();
    if (name === "changed" && (!data || !station || data.includes(station))) {
      hush("failed");
      refresh();
    }
  },
});

// A picture that cannot be had (the images are purged) leaves its place to the words.
shown.addEventListener("error", (event) => event.target.closest?.(".picture")?.remove(), true);
for (const image of shown.querySelectorAll(".picture img")) if (image.complete && !image.naturalWidth) image.closest(".picture").remove();

// Answers

shown.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const body = new FormData(form, event.submitter);
  const response = await ask(form.action, { method: "POST", body }).catch(() => null);
  delete form.dataset.sent;
  if (!response?.ok) return;
  hush("failed");
  form.closest("details.disagree")?.removeAttribute("open");
  form.closest("details.later")?.removeAttribute("open");
  form.reset();
  document.getElementById("said-aloud").textContent = shown.dataset.recorded;
  refresh();
});

const chooser = document.getElementById("choose");
chooser.querySelector("button").hidden = true;
chooser.querySelector("select").addEventListener("change", () => chooser.requestSubmit());

const wide = document.getElementById("wide");
wide.hidden = !document.fullscreenEnabled;
wide.addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen()));

let place = 0;
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  if (event.key === "g") place = Date.now();
  if (Date.now() - place < 1500) return;
  const first = document.querySelector("#tiles article.main");
  const kind = { a: "agree", r: "repeating", n: "cannot_repeat" }[event.key];
  if (kind) first?.querySelector(`button[value=${kind}]`)?.click();
  else if (event.key === "d") {
    const panel = first?.querySelector("details.disagree");
    if (!panel) return;
    event.preventDefault();
    panel.open = true;
    panel.querySelector("button[value=better]").focus();
  } else if (event.key === "s") sound.click();
  else if (event.key === "f" && !wide.hidden) wide.click();
  else if (/^[1-9]$/.test(event.key)) document.querySelectorAll("#tiles article.tile h2 a")[event.key - 1]?.focus();
  else if (event.key === "Escape") for (const open of shown.querySelectorAll("details[open]")) open.open = false;
});
