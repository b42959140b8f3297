/**
 * Peer connections and their offers, one of them made ahead.
 *
 * A browser takes some ten milliseconds for one, and several times that for a page's first. While
 * somebody looks at the list of cameras, that time is there.
 */

const CONFIGURATION = Object.freeze({ bundlePolicy: 'max-bundle' });
/** Browsers let a connection's certificate expire after a month. */
const KEEPS_FOR_MS = 24 * 60 * 60_000;

export class Connections {
  #next = null;
  #isDue = false;

  /** Make one as soon as the page has nothing else to do, unless one is there. */
  makeAhead() {
    if (this.#isDue || this.#next !== null || whatBrowserLacks() !== null) return;
    this.#isDue = true;
    whenIdle(() => {
      this.#isDue = false;
      this.#next ??= make();
    });
  }

  /** Give a new connection, its receiver, and its offer, which is a promise. */
  take() {
    const waiting = this.#next;
    this.#next = null;
    if (waiting === null) return make();
    if (performance.now() - waiting.madeAtMs < KEEPS_FOR_MS) return waiting;
    waiting.connection.close();
    return make();
  }
}

/** Say what a connection that `take` gave is to be told, to use these servers. */
export const configured = (iceServers) => ({ ...CONFIGURATION, iceServers });

/** Say what this browser lacks for watching, as a failure's code; null if nothing. */
export function whatBrowserLacks() {
  if (typeof RTCPeerConnection !== 'function') return 'no_webrtc';
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.('video')?.codecs;
  return codecs && !codecs.some(isH264) ? 'no_h264' : null;
}

function make() {
  const connection = new RTCPeerConnection(CONFIGURATION);
  const { receiver } = connection.addTransceiver('video', { direction: 'recvonly' });
  preferH264(connection);
  preferFreshness(receiver);
  const offer = connection.createOffer();
  // Who waits for it hears of it, and nobody may.
  offer.catch(() => {});
  return { connection, receiver, offer, madeAtMs: performance.now() };
}

/** Safari knows no idle time. */
function whenIdle(work) {
  if ('requestIdleCallback' in globalThis) requestIdleCallback(work);
  else setTimeout(work);
}

/** Offer H.264 and its retransmissions only: devices encode once, and serve nothing else. */
function preferH264(connection) {
  const codecs = RTCRtpReceiver.getCapabilities?.('video')?.codecs;
  const [transceiver] = connection.getTransceivers();
  if (!codecs || !transceiver.setCodecPreferences) return;
  const h264 = codecs.filter(isH264);
  h264.sort((one, other) => fitness(other) - fitness(one));
  const rtx = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === 'video/rtx');
  transceiver.setCodecPreferences([...h264, ...rtx]);
}

/** Rank constrained baseline in packetization mode 1 first: it is what devices send. */
function fitness({ sdpFmtpLine = '' }) {
  const isMode1 = sdpFmtpLine.includes('packetization-mode=1');
  const isConstrainedBaseline = /profile-level-id=42e0/i.test(sdpFmtpLine);
  return 2 * isMode1 + isConstrainedBaseline;
}

/** Show every picture as soon as it can be shown; a late picture is worth less than a jerk. */
function preferFreshness(receiver) {
  if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = 0;
  if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = 0;
}

const isH264 = ({ mimeType }) => mimeType.toLowerCase() === 'video/h264';
