/** What one watched device has shown: a minute for the plots, and its freezes; sessions come and go meanwhile. Pure. */

/** How many readings the plots show, one a second: a minute. */
export const HISTORY_LENGTH = 60;
const INTERVAL_MS = 1000;

export class History {
  #lines = { bitrateBps: [], lossShare: [], latencyMs: [] };
  #readAtMs = null;
  /** What sessions that are over had counted, and the times between them without a moving picture. */
  #past = { freezes: 0, frozenMs: 0 };

  /** By name the values of the last minute, one a second, null where nothing was known. */
  get lines() {
    return this.#lines;
  }

  /** Take `values` by name, read at `atMs`; the seconds since the last ones stay unknown. */
  take(values, atMs) {
    const elapsedMs = this.#readAtMs === null ? 0 : atMs - this.#readAtMs;
    const missing = Math.max(0, Math.round(elapsedMs / INTERVAL_MS) - 1);
    const gap = Array(Math.min(missing, HISTORY_LENGTH)).fill(null);
    for (const [name, line] of Object.entries(this.#lines)) {
      line.push(...gap, values[name]);
      line.splice(0, line.length - HISTORY_LENGTH);
    }
    this.#readAtMs = atMs;
  }

  /** Add to what a session has counted what was before it; null stays, of a browser that does not count. */
  withPast({ freezes, frozenMs }) {
    if (freezes === null) return { freezes, frozenMs };
    return { freezes: this.#past.freezes + freezes, frozenMs: this.#past.frozenMs + frozenMs };
  }

  /** Take over what a session that is over had counted. */
  keepFreezes({ freezes, frozenMs }) {
    this.#past.freezes += freezes ?? 0;
    this.#past.frozenMs += frozenMs ?? 0;
  }

  /** The picture stood for so long, between two sessions. */
  addStandstill(durationMs) {
    this.keepFreezes({ freezes: 1, frozenMs: durationMs });
  }
}
