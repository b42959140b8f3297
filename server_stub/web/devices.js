/** The devices that this viewer may watch, asked for again and again while somebody looks. */

import { Backoff } from './backoff.js';

const INTERVAL_MS = 5000;
/** As long as there is no answer, ask less and less often. */
const LONGEST_INTERVAL_MS = 60_000;
const DEADLINE_MS = 10_000;
const REFUSALS = new Set([401, 403]);

export class Devices {
  #token;
  #onChange;
  #onRefused;
  #backoff = new Backoff({ firstMs: INTERVAL_MS, longestMs: LONGEST_INTERVAL_MS, jitter: 0.2 });
  #isStarted = false;
  #timer = null;
  #asking = null;

  /** What the server listed last; null before the first answer. */
  list = null;
  /** True if the last question had no usable answer. */
  hasFailed = false;

  /** `onChange` is called after every answer, `onRefused` if the server does not accept the token. */
  constructor({ token, onChange, onRefused }) {
    this.#token = token;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
  }

  start() {
    this.stop();
    this.#isStarted = true;
    this.#backoff.reset();
    this.refresh();
  }

  stop() {
    this.#isStarted = false;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = null;
  }

  /** Ask now; an older question that has no answer yet is given up. */
  async refresh() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    const deadline = setTimeout(() => asking.abort(), DEADLINE_MS);
    const list = await this.#ask(asking.signal).catch(() => null);
    clearTimeout(deadline);
    if (this.#asking !== asking) return;
    this.#asking = null;
    this.hasFailed = list === null;
    if (list !== null) this.list = list;
    this.#askLater();
    this.#onChange();
  }

  /** Somebody who comes back to the page asks at once, so that nobody need ask meanwhile. */
  #askLater() {
    if (!this.#isStarted) return;
    if (!this.hasFailed) this.#backoff.reset();
    const delayMs = this.hasFailed ? this.#backoff.next() : INTERVAL_MS;
    this.#timer = setTimeout(() => (document.hidden ? this.#askLater() : this.refresh()), delayMs);
  }

  /** Give the list, or null if there is none to be had. */
  async #ask(signal) {
    const response = await fetch('/api/devices', {
      headers: { Authorization: `Bearer ${this.#token}` },
      cache: 'no-store',
      signal,
    });
    if (REFUSALS.has(response.status)) this.#onRefused();
    if (!response.ok) return null;
    const { devices } = await response.json();
    return devices.map(read).sort((one, other) => one.deviceId.localeCompare(other.deviceId));
  }
}

function read({ device_id: deviceId, is_online: isOnline, last_seen_at: lastSeenAt, presence }) {
  const lastSeenAtMs = Date.parse(lastSeenAt ?? '');
  return {
    deviceId,
    isOnline: isOnline === true,
    lastSeenAtMs: Number.isNaN(lastSeenAtMs) ? null : lastSeenAtMs,
    presence: presence ?? {},
  };
}
