/**
 * How long after its capture a picture is displayed: measured, without a mark in it. Pure.
 *
 * The answer tells how RTP timestamps follow from the clock of the device's sender reports
 * (`a=mediaclk`, RFC 7273), so that a picture's timestamp says when it was captured, by that clock.
 * How far that clock is from this page's is learnt from when the reports arrive:
 *
 *     arrival − time of the report = offset of the clocks + the way here
 *
 * The shortest of many is the one that waited in no queue, and the way here is taken for half of the
 * shortest round trip. If the way here and the way there differ, the result is wrong by half of their
 * difference, and so never by more than half of that round trip. What the device's clock shows is of
 * no matter: it may be wrong by years.
 */

const TICKS_PER_MS = 90;
const WRAP_TICKS = 2 ** 32;
const NTP_EPOCH_MS = 2_208_988_800_000;
/** Clocks drift apart, by some milliseconds in a minute. */
const MEMORY_MS = 30_000;
const MOST_ROUNDS = 32;
const MOST_FRAMES = 120;
/** Round trips that are so little longer than the shortest say as much of the same way. */
const ABOUT_SHARE = 0.1;
const ABOUT_MS = 2;

/** Read from an answer at which RTP timestamp the clock of the sender reports is zero; null if unsaid. */
export function readMediaClock(sdp) {
  const [, offset] = /^a=mediaclk:direct=(\d{1,10})\s*$/m.exec(sdp) ?? [];
  return offset === undefined ? null : Number(offset) % WRAP_TICKS;
}

/** How far the device's clock is from this page's. All times are in milliseconds. */
export class ClockOffset {
  /** Of each round trip that was measured: when, how long it took, and the shortest arrival before it. */
  #rounds = [];
  #shortestMs = Infinity;
  #newestSentAtMs = null;
  #roundTrips = 0;

  /** Take a sender report: when it was sent by the device's clock, and came by ours. */
  takeReport({ sentAtMs, arrivedAtMs }) {
    if (sentAtMs === this.#newestSentAtMs) return;
    this.#newestSentAtMs = sentAtMs;
    this.#shortestMs = Math.min(this.#shortestMs, arrivedAtMs - sentAtMs);
  }

  /** Take the newest of so many round trips, if it is new. */
  takeRoundTrip({ roundTripMs, count }, nowMs) {
    if (count === this.#roundTrips || this.#shortestMs === Infinity) return;
    this.#roundTrips = count;
    this.#rounds.push({ atMs: nowMs, roundTripMs, shortestMs: this.#shortestMs });
    this.#shortestMs = Infinity;
    const isOld = ({ atMs }) => atMs < nowMs - MEMORY_MS;
    while (this.#rounds.length > MOST_ROUNDS || isOld(this.#rounds[0])) this.#rounds.shift();
  }

  /** Give `{offsetMs, doubtMs}`: ours minus the device's, and by how much that may be wrong; or null. */
  get estimate() {
    if (this.#rounds.length === 0) return null;
    const shortestMs = Math.min(...this.#rounds.map(({ roundTripMs }) => roundTripMs));
    const aboutMs = shortestMs + Math.max(ABOUT_MS, ABOUT_SHARE * shortestMs);
    // What came by a longer way says nothing of this one.
    const near = this.#rounds.filter(({ roundTripMs }) => roundTripMs <= aboutMs);
    const arrivalMs = Math.min(...near.map((round) => round.shortestMs));
    return { offsetMs: arrivalMs - shortestMs / 2, doubtMs: shortestMs / 2 };
  }
}

/** The latency of one session's pictures. */
export class Latency {
  #mediaClock;
  #clock = new ClockOffset();
  #frames = [];

  /** `mediaClock` is what `readMediaClock` gave; without one nothing is ever known. */
  constructor(mediaClock) {
    this.#mediaClock = mediaClock;
  }

  get clock() {
    return this.#clock;
  }

  /** Take a picture by its RTP timestamp, and when it is displayed. */
  takeFrame(rtpTimestamp, displayedAtMs) {
    if (!Number.isFinite(rtpTimestamp) || !Number.isFinite(displayedAtMs)) return;
    this.#frames.push({ rtpTimestamp, displayedAtMs });
    if (this.#frames.length > MOST_FRAMES) this.#frames.shift();
  }

  /** Give `{latencyMs, doubtMs}`, the median of the pictures since this was asked last; or null. */
  read() {
    const frames = this.#frames;
    const estimate = this.#clock.estimate;
    this.#frames = [];
    if (this.#mediaClock === null || estimate === null || frames.length === 0) return null;
    const latenciesMs = frames.map(({ rtpTimestamp, displayedAtMs }) => {
      const nowTicks = this.#ticksAt(displayedAtMs - estimate.offsetMs);
      return signed(nowTicks - rtpTimestamp) / TICKS_PER_MS;
    });
    return { latencyMs: median(latenciesMs), doubtMs: estimate.doubtMs };
  }

  /** Give the RTP timestamp of a picture captured then, by the device's clock in Unix time. */
  #ticksAt(deviceMs) {
    return this.#mediaClock + (deviceMs + NTP_EPOCH_MS) * TICKS_PER_MS;
  }
}

/** Bring a difference of timestamps, which wrap, to the smaller of its two meanings. */
function signed(ticks) {
  const wrapped = ((ticks % WRAP_TICKS) + WRAP_TICKS) % WRAP_TICKS;
  return wrapped < WRAP_TICKS / 2 ? wrapped : wrapped - WRAP_TICKS;
}

function median(values) {
  const sorted = values.sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
