/** Reads a session's figures once a second, and notices a picture that stands still. */

import { Latency, readMediaClock } from './latency.js';

const INTERVAL_MS = 1000;
/** A report's clock that is further from ours was set since the page was loaded. */
const CLOCK_STEP_MS = 500;

export class Statistics {
  #session;
  #video;
  #startedAtMs;
  #firstFrameAtMs;
  #history;
  #patienceMs;
  #onFigures;
  #onFrozen;
  #timer;
  #previous = null;
  #progressAtMs = performance.now();
  #latency;
  #frameCallback = null;

  /**
   * Follow `session`, whose picture `video` shows: it was asked for at `startedAtMs` and came at
   * `firstFrameAtMs`, by `performance.now()`. `history` is the watched device's, of all sessions.
   *
   * `onFigures(figures)` is called once a second, with null for what is not known; `onFrozen()`
   * once, when no picture has come for `patienceMs()`.
   */
  constructor({
    session,
    video,
    startedAtMs,
    firstFrameAtMs,
    history,
    patienceMs,
    onFigures,
    onFrozen,
  }) {
    this.#session = session;
    this.#video = video;
    this.#startedAtMs = startedAtMs;
    this.#firstFrameAtMs = firstFrameAtMs;
    this.#history = history;
    this.#patienceMs = patienceMs;
    this.#onFigures = onFigures;
    this.#onFrozen = onFrozen;
    this.#latency = new Latency(readMediaClock(session.answer ?? ''));
    this.#followFrames();
    this.#timer = setInterval(() => this.#measure(), INTERVAL_MS);
    this.#measure();
  }

  stop() {
    if (this.#timer === null) return;
    if (this.#previous !== null) this.#history.keepFreezes(this.#previous);
    clearInterval(this.#timer);
    this.#timer = null;
    if (this.#frameCallback !== null) this.#video.cancelVideoFrameCallback(this.#frameCallback);
    this.#frameCallback = null;
  }

  #followFrames() {
    if (!('requestVideoFrameCallback' in this.#video)) return;
    this.#frameCallback = this.#video.requestVideoFrameCallback((_nowMs, picture) => {
      this.#latency.takeFrame(picture.rtpTimestamp, picture.expectedDisplayTime);
      this.#followFrames();
    });
  }

  async #measure() {
    // Some browsers refuse once the connection is closed; then this is stopped anyway.
    const report = await this.#session.getStats().catch(() => null);
    if (this.#timer === null || report === null) return;
    const nowMs = performance.now();
    const reading = read(report);
    this.#watchForProgress(reading, nowMs);
    if (this.#timer === null) return;
    this.#compareClocks(reading, nowMs);
    this.#onFigures(this.#figures(reading, nowMs));
    this.#previous = reading;
  }

  #watchForProgress({ frames, bytes }, nowMs) {
    const previous = this.#previous;
    // A page in the background may be given no pictures to decode, though they arrive.
    const hasMoved = frames > (previous?.frames ?? 0);
    const hasArrived = document.hidden && bytes > (previous?.bytes ?? 0);
    if (hasMoved || hasArrived) this.#progressAtMs = nowMs;
    if (nowMs - this.#progressAtMs < this.#patienceMs()) return;
    this.stop();
    this.#onFrozen();
  }

  #compareClocks({ atMs, senderReport, roundTrip }, nowMs) {
    if (senderReport !== null) {
      const aheadMs = atMs - (performance.timeOrigin + nowMs);
      const stepMs = Math.abs(aheadMs) > CLOCK_STEP_MS ? aheadMs : 0;
      const arrivedAtMs = senderReport.arrivedAtMs - stepMs - performance.timeOrigin;
      this.#latency.clock.takeReport({ sentAtMs: senderReport.sentAtMs, arrivedAtMs });
    }
    if (roundTrip !== null) this.#latency.clock.takeRoundTrip(roundTrip, nowMs);
  }

  #figures(reading, nowMs) {
    const { latencyMs = null, doubtMs = null } = this.#latency.read() ?? {};
    const changes = difference(reading, this.#previous);
    this.#history.take({ ...changes, latencyMs }, nowMs);
    return {
      widthPx: reading.widthPx,
      heightPx: reading.heightPx,
      fps: reading.fps,
      ...changes,
      roundTripMs: reading.roundTrip?.roundTripMs ?? null,
      ...this.#history.withPast(reading),
      path: reading.path?.kind ?? null,
      pathDetail: reading.path?.detail ?? null,
      latencyMs,
      doubtMs,
      told: this.#session.report,
      stages: this.#stages(),
      history: this.#history.lines,
    };
  }

  /** Say when each stage on the way to the first picture was reached, in milliseconds since the wish. */
  #stages() {
    const reached = { ...this.#session.reachedAtMs, first_frame: this.#firstFrameAtMs };
    const sinceStart = Object.entries(reached).map(([stage, atMs]) => {
      return [stage, atMs - this.#startedAtMs];
    });
    return Object.fromEntries(sinceStart);
  }
}

/** Pick from a report (W3C webrtc-stats) what is used; null, or zero of a count, for what is not there. */
function read(report) {
  const entries = [...report.values()];
  const video = entries.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video') ?? {};
  const sender = entries.find(({ type, kind }) => type === 'remote-outbound-rtp' && kind === 'video');
  const pair = selectedPair(report, entries);
  return {
    atMs: video.timestamp,
    frames: video.framesDecoded ?? 0,
    bytes: video.bytesReceived ?? 0,
    packets: video.packetsReceived ?? 0,
    packetsLost: video.packetsLost ?? 0,
    fps: video.framesPerSecond ?? null,
    widthPx: video.frameWidth ?? null,
    heightPx: video.frameHeight ?? null,
    bufferedMs: 1000 * (video.jitterBufferDelay ?? 0),
    buffered: video.jitterBufferEmittedCount ?? 0,
    freezes: video.freezeCount ?? null,
    frozenMs: video.totalFreezesDuration === undefined ? null : 1000 * video.totalFreezesDuration,
    senderReport: readSenderReport(sender),
    roundTrip: readRoundTrip(pair),
    path: readPath(report, pair),
  };
}

function readSenderReport(sender) {
  if (sender?.remoteTimestamp === undefined) return null;
  return { sentAtMs: sender.remoteTimestamp, arrivedAtMs: sender.timestamp };
}

function readRoundTrip(pair) {
  if (pair?.currentRoundTripTime === undefined) return null;
  return { roundTripMs: 1000 * pair.currentRoundTripTime, count: pair.responsesReceived };
}

function selectedPair(report, entries) {
  const transport = entries.find(({ type }) => type === 'transport');
  return (
    report.get(transport?.selectedCandidatePairId) ??
    entries.find(({ type, nominated, state }) => {
      return type === 'candidate-pair' && nominated && state === 'succeeded';
    })
  );
}

/** `direct`, or `relayed` if either end of the pair is a TURN server's, and what its ends are. */
function readPath(report, pair) {
  if (pair === undefined) return null;
  const ends = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
  const types = ends.map((end) => end?.candidateType ?? 'unknown');
  const protocol = ends[0]?.relayProtocol ?? ends[0]?.protocol ?? '';
  return {
    kind: types.includes('relay') ? 'relayed' : 'direct',
    detail: `${types.join(' – ')}${protocol && `, ${protocol}`}`,
  };
}

function difference(reading, previous) {
  const elapsedS = previous === null ? 0 : (reading.atMs - previous.atMs) / 1000;
  const more = (name) => reading[name] - (previous?.[name] ?? 0);
  const [packets, lost] = [more('packets'), Math.max(0, more('packetsLost'))];
  return {
    bitrateBps: elapsedS > 0 ? (8 * more('bytes')) / elapsedS : null,
    lossShare: elapsedS > 0 && packets + lost > 0 ? lost / (packets + lost) : null,
    jitterBufferMs: more('buffered') > 0 ? more('bufferedMs') / more('buffered') : null,
  };
}
