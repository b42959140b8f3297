/**
 * The last picture that this page had of each device, small, for the list of cameras.
 *
 * They live as long as the page does, and cost the devices nothing.
 */

import { copyOf } from './snapshot.js';

const WIDTH_PX = 480;
const QUALITY = 0.75;

export class Stills {
  #onChange;
  #kept = new Map();

  /** `onChange` is called when there is another one. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Give `{url, atMs}` of a device's last picture, or undefined. */
  of(deviceId) {
    return this.#kept.get(deviceId);
  }

  /** Keep `picture`, a video or a canvas, as it is now; null is none. */
  keep(deviceId, picture, atMs = Date.now()) {
    if (picture === null) return;
    const kept = this.#kept;
    const put = (blob) => {
      // It takes a while, in which somebody may have signed out.
      if (kept === this.#kept) this.#put(deviceId, blob, atMs);
    };
    copyOf(picture, WIDTH_PX).toBlob(put, 'image/jpeg', QUALITY);
  }

  /** Whoever signs out leaves no picture behind, not even one that is still being made. */
  forget() {
    for (const { url } of this.#kept.values()) URL.revokeObjectURL(url);
    this.#kept = new Map();
  }

  #put(deviceId, blob, atMs) {
    const older = this.#kept.get(deviceId);
    if (blob === null || older?.atMs > atMs) return;
    if (older !== undefined) URL.revokeObjectURL(older.url);
    this.#kept.set(deviceId, { url: URL.createObjectURL(blob), atMs });
    this.#onChange();
  }
}
