// Slices as 16-bit numbers, fetched once and remembered for a while.

import { ask } from "./base.js";

const KEPT_BYTES = 256 << 20; // of decoded slices, per viewer

export class Pixels {
  /** address: of what lies below a series; failed: what to say when the gate gives no reason. */
  constructor(address, failed) {
    this.address = address;
    this.failed = failed;
    this.kept = new Map(); // number -> promise, the newest last
    this.sizes = new Map(); // number -> bytes of those that are there
    this.bytes = 0;
  }

  /** A slice, or { problem } with a sentence; the one that is shown is never forgotten. */
  of(number, shown) {
    const found = this.kept.get(number) ?? this.fetch(number, shown);
    this.kept.delete(number);
    this.kept.set(number, found);
    return found;
  }

  async fetch(number, shown) {
    const response = await ask(this.address(`slices/${number}/pixels`), { background: true }).catch(() => null);
    if (!response?.ok) {
      this.kept.delete(number);
      return { problem: (await response?.json().catch(() => null))?.detail ?? this.failed };
    }
    const read = (name) => Number(response.headers.get(`X-${name}`));
    const stored = new Uint16Array(await response.arrayBuffer());
    this.sizes.set(number, stored.byteLength);
    this.bytes += stored.byteLength;
    for (const old of this.kept.keys()) {
      if (this.bytes <= KEPT_BYTES) break;
      if (old !== number && old !== shown) this.forget(old);
    }
    return {
      stored, rows: read("Rows"), columns: read("Columns"), slope: read("Slope"),
      intercept: read("Intercept"), centre: read("Centre"), width: read("Width"),
    };
  }

  forget(number) {
    this.bytes -= this.sizes.get(number) ?? 0;
    this.sizes.delete(number);
    this.kept.delete(number);
  }
}
