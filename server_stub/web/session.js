/** One viewer watching one device, from watch_request to the end. */

import { configured } from './connections.js';
import { WatchFailure } from './failure.js';
import { LinkLost, RequestRefused } from './link.js';
import { deferred, within } from './waiting.js';

/** The watch session lifecycle of the protocol, as the viewer lives it. It only moves forward. */
export const WatchState = Object.freeze({
  /** The watch_request is sent. */
  REQUESTED: 'requested',
  /** The watch_ready is here: the session has an id. */
  READY: 'ready',
  /** The peer connection is being made. */
  CONNECTING: 'connecting',
  /** Our offer is on its way to the device. */
  OFFER_SENT: 'offer_sent',
  /** The device's answer is here. */
  ANSWER_RECEIVED: 'answer_received',
  /** Candidates go both ways; ICE and DTLS are at work. */
  ICE_GATHERING: 'ice_gathering',
  /** Media may flow; no picture has been seen. */
  CONNECTED: 'connected',
  /** Pictures come. */
  STREAMING: 'streaming',
  /** It is over; the server is being told. */
  ENDING: 'ending',
  /** Everything is released. Final. */
  ENDED: 'ended',
});

const ORDER = Object.values(WatchState);
const STAGE_DEADLINE_MS = 15_000;
/** The camera gives up after 15 s too, and knows more about why: let it speak first. */
const PATH_DEADLINE_MS = 17_000;
/** How long a path may be silent, which heals now and then; then only a new one helps. */
const INTERRUPTION_MS = 3000;
const CONNECTING_STATES = new Set([WatchState.ANSWER_RECEIVED, WatchState.ICE_GATHERING]);
/** For which the camera ends what it could not connect. */
const CAMERAS_REASONS = new Set(['error', 'timeout']);
/** Errors of the server that say that this session cannot go on, whatever they answer to. */
const FATAL_ERRORS = new Set(['Session not found', 'Device is offline', 'Unauthorized']);

export class Session {
  #link;
  #endings;
  #deviceId;
  #ceilingKbps;
  #onState;
  #state = null;
  #id = null;
  #connection = null;
  #madeOffer = null;
  #connected = deferred();
  #interruption = null;
  #unlisten = () => {};
  #offerRequestId = null;
  #requestIds = new Set();
  #answer = deferred();
  #isAnswered = false;
  #over = deferred();
  #closed = deferred();
  #failure = null;
  #isDetached = false;
  #givesWay = false;
  #earlyCandidates = { ours: [], theirs: [] };
  #candidateTypes = { ours: new Set(), theirs: new Set() };
  #hasTurn = false;

  /** The device's answer, once it is here. */
  answer = null;
  /** What the device last told about what it sends: `{rung, reason, bitrateBps}`; null if nothing. */
  report = null;
  /** When each state, and `ice` and `dtls` between them, was reached, by `performance.now()`. */
  reachedAtMs = {};

  /**
   * `ceilingKbps()` is the most that is wanted of the camera, null for all that it has; `endings`
   * are told of the end; `onState` is called after every move, and interruption.
   */
  constructor({ deviceId, ceilingKbps = () => null, link, endings, onState }) {
    this.#deviceId = deviceId;
    this.#ceilingKbps = ceilingKbps;
    this.#link = link;
    this.#endings = endings;
    this.#onState = onState;
    // Whoever ends a session before anybody waits for it has done nothing wrong.
    this.#over.promise.catch(() => {});
    this.#answer.promise.catch(() => {});
  }

  get state() {
    return this.#state;
  }

  /**
   * Throws the WatchFailure for which this session cannot go on.
   *
   * The peer connection is closed by then, with one exception: pictures do not pass through the
   * server, so when only the server or the device's way to it is gone, they may go on. Then the
   * caller closes, by `end` or `fail`.
   */
  get over() {
    return this.#over.promise;
  }

  /** True while nothing comes over the path, which may yet come back. */
  get isInterrupted() {
    return this.#interruption !== null;
  }

  /** True from the watch_request until the first picture. */
  get isConnecting() {
    return this.#state !== null && !this.#isOver && this.#state !== WatchState.STREAMING;
  }

  /** True while pictures may go on although the server can no longer speak for them. */
  get isDetached() {
    return this.#isDetached;
  }

  /** True once another session is to take this one's place. */
  get givesWay() {
    return this.#givesWay;
  }

  /** Resolves when the peer connection is closed. */
  get closed() {
    return this.#closed.promise;
  }

  /** The peer connection; null before `prepare`. */
  get connection() {
    return this.#connection;
  }

  /** The peer connection's figures. */
  getStats() {
    return this.#connection.getStats();
  }

  /**
   * Use a new peer connection that Connections gave; gives the stream in which pictures will come.
   *
   * Its offer takes a browser a while, in which the server can be reached and asked.
   */
  prepare({ connection, receiver, offer }) {
    this.#connection = connection;
    this.#madeOffer = offer;
    connection.onicecandidate = (event) => this.#say(event.candidate);
    connection.onconnectionstatechange = () => this.#hearConnection(connection.connectionState);
    connection.oniceconnectionstatechange = () => this.#hearIce(connection.iceConnectionState);
    return new MediaStream([receiver.track]);
  }

  /**
   * Ask for the device and agree with it; from then on pictures may come.
   *
   * `offered` is called while the device thinks about the offer. Throws the WatchFailure that ended
   * the session.
   */
  async open(offered) {
    this.#unlisten = this.#link.listen({
      hear: (message) => this.#hear(message),
      lost: () => this.#detach(new WatchFailure('link_lost')),
    });
    try {
      const ready = await this.#request();
      this.#configure(ready.iceServers);
      await this.#offer();
      offered();
      await this.#accept(await this.#inTime('no_answer', this.#answer.promise));
    } catch (problem) {
      this.#finish(problem instanceof WatchFailure ? problem : this.#failure ?? unexpected(problem));
      // What ended the session first is the reason; a step that was under way may trip over it.
      throw this.#failure;
    }
  }

  /** Connect, and wait for the first picture, which `picture` promises; gives what it gives. */
  async stream(picture) {
    try {
      await this.#inTime('no_path', this.#connected.promise, PATH_DEADLINE_MS);
      this.#enter(WatchState.CONNECTED);
      const value = await this.#inTime('no_picture', picture);
      this.#enter(WatchState.STREAMING);
      return value;
    } catch (failure) {
      this.#finish(failure);
      throw this.#failure;
    }
  }

  /** End the session because the viewer wishes it. */
  end() {
    this.#finish(new WatchFailure('ended_here'));
  }

  /** End the session because of something that only its caller can see. */
  fail(code) {
    this.#finish(new WatchFailure(code));
  }

  /**
   * Let another session take this one's place; `over` says so at once.
   *
   * Pictures go on until the caller ends this session.
   */
  giveWay() {
    if (this.#state !== WatchState.STREAMING) {
      this.fail('resized');
      return;
    }
    // Another session comes anyway, and nobody knows when: until then this picture is all there is.
    if (this.#isDetached) return;
    this.#givesWay = true;
    this.#over.reject(new WatchFailure('resized'));
  }

  async #request() {
    this.#enter(WatchState.REQUESTED);
    // First of all: a session of ours that the server still has may hold the only place.
    const settle = this.#endings.catchUp();
    const reply = this.#link.request('watch_request', { device_id: this.#deviceId });
    reply.then((late) => this.#disown(late), () => {});
    reply.then(settle, (problem) => problem instanceof RequestRefused && settle());
    try {
      const ready = await this.#inTime('no_reply', reply);
      if (ready.type !== 'watch_ready') throw new WatchFailure('refused', ready.type);
      this.#id = ready.payload.sessionId;
      this.#enter(WatchState.READY);
      return ready.payload;
    } catch (problem) {
      if (problem instanceof RequestRefused) throw WatchFailure.fromError(problem.message);
      if (problem instanceof LinkLost) throw new WatchFailure('link_lost');
      throw problem;
    }
  }

  /** A watch_ready that comes after we gave up opened a session that nobody wants. */
  #disown(reply) {
    if (this.#isOver && reply.type === 'watch_ready') {
      this.#endings.tell(reply.payload.sessionId);
    }
  }

  /** Let the peer connection use these servers; it has not begun to look for candidates. */
  #configure(iceServers) {
    this.#checkItGoesOn();
    this.#enter(WatchState.CONNECTING);
    this.#hasTurn = iceServers.some(({ urls }) => urls.some((url) => /^turns?:/i.test(url)));
    try {
      this.#connection.setConfiguration(configured(iceServers));
    } catch (error) {
      throw new WatchFailure('bad_ice_servers', error.message);
    }
  }

  async #offer() {
    const offer = await this.#unlessOver(this.#madeOffer);
    await this.#unlessOver(this.#connection.setLocalDescription(offer));
    const { type, sdp: whole } = this.#connection.localDescription;
    const sdp = withCeiling(whole, this.#ceilingKbps());
    this.#offerRequestId = this.#send('signal_offer', { sdp: { type, sdp } });
    this.#enter(WatchState.OFFER_SENT);
    const waiting = this.#earlyCandidates.ours;
    this.#earlyCandidates.ours = null;
    waiting.forEach((candidate) => this.#say(candidate));
  }

  async #accept(answer) {
    try {
      await this.#unlessOver(this.#connection.setRemoteDescription(answer));
    } catch (error) {
      throw error instanceof WatchFailure ? error : new WatchFailure('bad_answer', error.message);
    }
    this.#enter(WatchState.ANSWER_RECEIVED);
    for (const [line] of answer.sdp.matchAll(/^a=candidate:.*$/gm)) {
      this.#candidateTypes.theirs.add(candidateType({ candidate: line }));
    }
    const waiting = this.#earlyCandidates.theirs;
    this.#earlyCandidates.theirs = null;
    waiting.forEach((candidate) => this.#take(candidate));
    this.#enter(WatchState.ICE_GATHERING);
  }

  #hear(message) {
    if (message.type === 'error') this.#hearError(message);
    else if (this.#id === null || message.payload.sessionId !== this.#id) return;
    else if (message.type === 'signal_answer') this.#hearTheAnswer(message.payload.answer);
    else if (message.type === 'signal_ice') this.#take(message.payload.candidate);
    else if (message.type === 'session_report') this.report = message.payload;
    else if (message.type === 'watch_ended') this.#hearTheEnd(message.payload);
  }

  #hearError({ requestId, payload }) {
    const isOurs = this.#requestIds.has(requestId);
    const isForAnother = !isOurs && (requestId !== undefined || this.#link.listenerCount > 1);
    if (isForAnother) return;
    const isFatal = this.#id !== null && !this.#isDetached && FATAL_ERRORS.has(payload.message);
    const isOfTheOffer = isOurs && requestId === this.#offerRequestId;
    if (isOfTheOffer || isFatal) this.#finish(WatchFailure.fromError(payload.message));
    else console.warn('The server reports an error:', payload.message);
  }

  #hearTheAnswer(answer) {
    this.#isAnswered = true;
    this.answer = answer.sdp;
    this.#answer.resolve(answer);
  }

  #hearTheEnd({ reason, message }) {
    // The end may come right behind the answer, before that has been taken.
    const isAnswered = this.#isAnswered && this.#state === WatchState.OFFER_SENT;
    const isOnItsWay = isAnswered || CONNECTING_STATES.has(this.#state);
    const isConnecting = isOnItsWay && CAMERAS_REASONS.has(reason);
    const failure = new WatchFailure(isConnecting ? 'not_connected' : reason, message);
    if (reason === 'device_disconnected') this.#detach(failure);
    else this.#finish(failure);
  }

  /** Send one of our candidates, or null when there are no more; not before the offer. */
  #say(candidate) {
    if (this.#earlyCandidates.ours !== null) {
      this.#earlyCandidates.ours.push(candidate);
      return;
    }
    if (candidate?.candidate) this.#candidateTypes.ours.add(candidateType(candidate));
    const isLast = candidate === null || candidate.candidate === '';
    this.#send('signal_ice', { candidate: isLast ? null : candidate.toJSON() });
  }

  /** Take one of the device's candidates, or null when there are no more; not before the answer. */
  #take(candidate) {
    if (this.#earlyCandidates.theirs !== null) {
      this.#earlyCandidates.theirs.push(candidate);
      return;
    }
    if (candidate !== null) this.#candidateTypes.theirs.add(candidateType(candidate));
    if (this.#isOver) return;
    this.#connection.addIceCandidate(candidate ?? undefined).catch((error) => {
      if (!this.#isOver) console.warn('A candidate of the device was ignored:', error.message);
    });
  }

  #send(type, payload) {
    const requestId = this.#link.send(type, { session_id: this.#id, ...payload });
    this.#requestIds.add(requestId);
    return requestId;
  }

  /** Wait for `promise`, but no longer than a stage may take, and not beyond the session's end. */
  #inTime(code, promise, deadlineMs = STAGE_DEADLINE_MS) {
    return within(deadlineMs, Promise.race([promise, this.#over.promise]), () =>
      code === 'no_path' ? this.#noPath() : new WatchFailure(code),
    );
  }

  /** Wait for `promise` of the peer connection, which a closed one may leave pending for ever. */
  #unlessOver(promise) {
    return Promise.race([promise, this.#over.promise]).then((value) => {
      this.#checkItGoesOn();
      return value;
    });
  }

  #hearConnection(state) {
    clearTimeout(this.#interruption);
    const isInterrupted = state === 'disconnected' && this.#state === WatchState.STREAMING;
    const end = () => this.fail('path_lost');
    this.#interruption = isInterrupted ? setTimeout(end, INTERRUPTION_MS) : null;
    if (state === 'connected') {
      this.#note('dtls');
      this.#connected.resolve();
    }
    if (state === 'failed') this.#connectionFailed();
    else this.#onState();
  }

  #hearIce(state) {
    if (state === 'connected' || state === 'completed') this.#note('ice');
  }

  #connectionFailed() {
    const wasUp = ORDER.indexOf(this.#state) >= ORDER.indexOf(WatchState.CONNECTED);
    this.#finish(wasUp ? new WatchFailure('path_lost') : this.#noPath());
  }

  /** Say why ICE found nothing, by the kinds of candidates that each side had. */
  #noPath() {
    const { ours, theirs } = this.#candidateTypes;
    const kinds = (types) => [...types].sort().join(', ') || 'none';
    const detail = `Candidates here: ${kinds(ours)}; at the camera: ${kinds(theirs)}.`;
    if (!this.#hasTurn) return new WatchFailure('no_path_no_turn', detail);
    return new WatchFailure(ours.has('relay') ? 'no_path' : 'no_path_turn_silent', detail);
  }

  get #isOver() {
    return this.#state === WatchState.ENDING || this.#state === WatchState.ENDED;
  }

  #checkItGoesOn() {
    if (this.#isOver) throw this.#failure;
  }

  /** The server can no longer speak for this session. Pictures that come go on. */
  #detach(failure) {
    if (this.#state !== WatchState.STREAMING) {
      this.#finish(failure);
      return;
    }
    this.#isDetached = true;
    if (!failure.isKnownToServer) this.#endings.tell(this.#id);
    this.#over.reject(failure);
  }

  #finish(failure) {
    if (this.#isOver) return;
    this.#failure = failure;
    clearTimeout(this.#interruption);
    this.#interruption = null;
    this.#enter(WatchState.ENDING);
    const isServersBusiness = this.#id !== null && !this.#isDetached;
    if (isServersBusiness && !failure.isKnownToServer) this.#endings.tell(this.#id);
    this.#unlisten();
    if (this.#connection !== null) close(this.#connection);
    this.#enter(WatchState.ENDED);
    this.#over.reject(failure);
    this.#closed.resolve();
  }

  #enter(state) {
    if (ORDER.indexOf(state) <= ORDER.indexOf(this.#state)) {
      throw new Error(`a session does not move from ${this.#state} to ${state}`);
    }
    this.#state = state;
    this.#note(state);
    this.#onState();
  }

  #note(stage) {
    this.reachedAtMs[stage] ??= performance.now();
  }
}

/** Say in an offer how much is wanted at most, in kilobits per second (RFC 8866, section 5.8). */
function withCeiling(sdp, kbps) {
  if (kbps === null) return sdp;
  return sdp.replace(/^m=video .*\r\n(?:[ic]=.*\r\n)*/m, `$&b=AS:${kbps}\r\n`);
}

function close(connection) {
  connection.onicecandidate = null;
  connection.onconnectionstatechange = null;
  connection.oniceconnectionstatechange = null;
  connection.close();
}

function unexpected(problem) {
  console.error(problem);
  return new WatchFailure('unexpected', problem.message);
}

const candidateType = ({ candidate }) => / typ (\w+)/.exec(candidate)?.[1] ?? 'unknown';
