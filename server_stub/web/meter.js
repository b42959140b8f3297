/** Reads a session's figures once a second, and notices when its picture stands still. */

const INTERVAL_MS = 1000;

export class Meter {
  #getStats;
  #patienceMs;
  #onFigures;
  #onFrozen;
  #timer;
  #previous = null;
  #progressAtMs = performance.now();

  /**
   * `onFigures({widthPx, heightPx, fps, bitrateBps, path})` is called once a second, with null for
   * what is not known; `onFrozen()` once, when no picture has come for `patienceMs()`.
   */
  constructor({ getStats, patienceMs, onFigures, onFrozen }) {
    this.#getStats = getStats;
    this.#patienceMs = patienceMs;
    this.#onFigures = onFigures;
    this.#onFrozen = onFrozen;
    this.#timer = setInterval(() => this.#measure(), INTERVAL_MS);
    this.#measure();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
  }

  async #measure() {
    // Some browsers refuse once the connection is closed; then this meter is stopped anyway.
    const report = await this.#getStats().catch(() => null);
    if (this.#timer === null || report === null) return;
    const reading = read(report);
    this.#watchForProgress(reading);
    if (this.#timer === null) return;
    this.#onFigures(figures(reading, this.#previous));
    this.#previous = reading;
  }

  #watchForProgress({ frames, bytes }) {
    const nowMs = performance.now();
    const previous = this.#previous;
    // A page in the background may be given no pictures to decode, though they arrive.
    const hasMoved = frames > (previous?.frames ?? 0);
    const hasArrived = document.hidden && bytes > (previous?.bytes ?? 0);
    if (hasMoved || hasArrived) this.#progressAtMs = nowMs;
    if (nowMs - this.#progressAtMs < this.#patienceMs()) return;
    this.stop();
    this.#onFrozen();
  }
}

function read(report) {
  const entries = [...report.values()];
  const video = entries.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video') ?? {};
  return {
    atMs: video.timestamp,
    frames: video.framesDecoded ?? 0,
    bytes: video.bytesReceived ?? 0,
    fps: video.framesPerSecond ?? null,
    widthPx: video.frameWidth ?? null,
    heightPx: video.frameHeight ?? null,
    path: readPath(report, entries),
  };
}

/** `direct`, or `relayed` if either end of the chosen pair is a TURN server's. */
function readPath(report, entries) {
  const transport = entries.find(({ type }) => type === 'transport');
  const pair =
    report.get(transport?.selectedCandidatePairId) ??
    entries.find(({ type, nominated, state }) => {
      return type === 'candidate-pair' && nominated && state === 'succeeded';
    });
  if (pair === undefined) return null;
  const ends = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
  return ends.some((end) => end?.candidateType === 'relay') ? 'relayed' : 'direct';
}

function figures(reading, previous) {
  const { widthPx, heightPx, fps, path } = reading;
  const elapsedS = previous === null ? 0 : (reading.atMs - previous.atMs) / 1000;
  const bits = 8 * (reading.bytes - (previous?.bytes ?? 0));
  return { widthPx, heightPx, fps, path, bitrateBps: elapsedS > 0 ? bits / elapsedS : null };
}
