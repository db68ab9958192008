// The gate's events: reads the stream, comes back after every break, and tells when there is none.
import { hush, tell } from "/static/base.js";

const SILENCE_MS = 15000; // the gate says something every five seconds

/** Follow the events. `after`: number of the last decision the page knows of.
 *  `on(name, data, caughtUp)` hears every event; `state(connected)` whether there is a connection. */
export function follow({ after, on, state = () => {} }) {
  let last = after;
  let wait = 500;
  let stopped = false;
  let abort = new AbortController();

  async function once() {
    abort = new AbortController();
    let timer = setTimeout(() => abort.abort(), SILENCE_MS);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      const headers = { Accept: "text/event-stream, application/json", "X-Background": "1", "Last-Event-ID": String(last) };
      const response = await fetch("/events", { headers, signal: abort.signal, credentials: "same-origin", cache: "no-store" });
      if (response.status === 401) return end();
      if (!response.ok) throw new Error(String(response.status));
      await read(response.body.pipeThrough(new TextDecoderStream()).getReader(), heard);
    } finally {
      clearTimeout(timer);
    }
  }

  async function read(reader, heard) {
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) take(text.slice(0, end));
      if (stopped) return reader.cancel();
    }
  }

  function take(block) {
    const fields = Object.fromEntries(block.split("\n").map((line) => {
      const colon = line.indexOf(": ");
      return [line.slice(0, colon), line.slice(colon + 2)];
    }));
    if (fields.id) last = Number(fields.id);
    if (fields.event === "hello") {
      wait = 500;
      hush("lost");
      state(true);
    }
    if (fields.event === "ended") return end();
    on(fields.event, JSON.parse(fields.data ?? "null"));
  }

  function end() {
    stopped = true;
    state(false);
    tell("ended");
  }

  (async () => {
    while (!stopped) {
      try {
        await once();
      } catch {
        // Whatever broke it, the remedy is the same: tell, wait, come back.
      }
      if (stopped) return;
      state(false);
      tell("lost");
      await new Promise((resume) => setTimeout(resume, wait));
      wait = Math.min(wait * 2, 5000);
    }
  })();
  addEventListener("pagehide", () => { stopped = true; abort.abort(); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}
