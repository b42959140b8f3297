/** The viewer's WebSocket, across reconnects: connect, hello, converse, retry. */

import { Backoff } from './backoff.js';
import { decode, encode, MalformedMessage } from './messages.js';
import { deferred, unlessAborted } from './waiting.js';

export const LinkState = Object.freeze({
  /** Nobody asked for a connection. */
  STOPPED: 'stopped',
  /** A WebSocket opens, or its hello_ack is awaited. */
  CONNECTING: 'connecting',
  /** The hello_ack came: messages may go both ways. */
  ACTIVE: 'active',
  /** The last attempt failed; the next one comes at `retryAtMs`. */
  WAITING: 'waiting',
  /** The server does not accept the token. Final. */
  REFUSED: 'refused',
});

/** The connection went away before the reply came. */
export class LinkLost extends Error {}

/** The server replied with an `error`; the message is the server's. */
export class RequestRefused extends Error {}

const HEARTBEAT_MS = 30_000;
const ACK_DEADLINE_MS = 10_000;
const CONNECT_DEADLINE_MS = 10_000;
/** How soon a connection has to answer that may have gone with its network. */
const PROBE_DEADLINE_MS = 2000;
/** A connection that lasted this long was a good one: the next attempt may come soon. */
const PROVEN_AFTER_MS = 10_000;
const NORMAL_CLOSURE = 1000;
const POLICY_VIOLATION = 1008;
/** What the server says before it closes so for the token's sake, if it says anything. */
const REFUSALS = new Set(['Invalid token', 'Unauthorized']);

/** Say where the viewers' WebSocket of this page's server is. */
export function linkUrl(location) {
  return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws/viewer`;
}

export class Link {
  #url;
  #token;
  #onChange;
  #state = LinkState.STOPPED;
  #socket = null;
  #backoff = new Backoff({ firstMs: 1000, longestMs: 30_000 });
  #listeners = new Set();
  #requests = new Map();
  #requestCount = 0;
  #timers = {};
  /** The last error that came instead of the hello_ack; null if none did. */
  #complaint = null;

  /** When the next attempt comes, by `Date.now()`; only while WAITING. */
  retryAtMs = null;
  /** How many attempts in a row have failed. */
  failures = 0;
  /** Which connection this is or was: it counts those that the server accepted. */
  number = 0;

  /** `onChange` is called after every change of `state`. */
  constructor({ url, token, onChange }) {
    this.#url = url;
    this.#token = token;
    this.#onChange = onChange;
  }

  get state() {
    return this.#state;
  }

  get isActive() {
    return this.#state === LinkState.ACTIVE;
  }

  /** How many listen: what the server says without naming a request may be meant for any of them. */
  get listenerCount() {
    return this.#listeners.size;
  }

  /** Connect, and stay connected. */
  start() {
    if (this.#state === LinkState.STOPPED) this.#connect();
  }

  /** Close for good; `start` begins anew. */
  stop() {
    this.#abandon(NORMAL_CLOSURE);
    this.#enter(LinkState.STOPPED);
  }

  /** Connect now instead of later; on a connection that stands, make sure that it does. */
  hurry() {
    if (this.#state === LinkState.WAITING) this.#connect();
    else if (this.isActive) this.#beat();
  }

  /** Trust the connection only if it answers soon: what it went over may be gone. */
  probe() {
    if (!this.isActive) return;
    this.#write(encode('heartbeat', {}));
    this.#clearTimer('ack');
    this.#timers.ack = setTimeout(() => this.#lost(LinkState.WAITING, 0), PROBE_DEADLINE_MS);
  }

  /** Make sure of a connection over the network that there is now. */
  renew() {
    if (this.isActive) this.probe();
    else if (this.#state === LinkState.WAITING || this.#state === LinkState.CONNECTING) {
      this.#abandon();
      this.#connect();
    }
  }

  /** Send a request; the promise gives its reply or throws RequestRefused or LinkLost. */
  request(type, payload) {
    const reply = deferred();
    if (!this.isActive) {
      reply.reject(new LinkLost());
      return reply.promise;
    }
    this.#requests.set(this.send(type, payload), reply);
    return reply.promise;
  }

  /** Send a message and give its request_id; without a connection it is dropped. */
  send(type, payload) {
    this.#requestCount += 1;
    const requestId = `req-${String(this.#requestCount).padStart(3, '0')}`;
    if (this.isActive) this.#write(encode(type, payload, requestId));
    return requestId;
  }

  /** Call `hear(message)` for what is no reply, `lost()` when the connection goes; give the undo. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolve as soon as messages may be sent; throw once `signal` aborts. */
  async untilActive(signal) {
    if (this.isActive) return;
    const active = deferred();
    const unlisten = this.listen({ hear() {}, lost() {}, active: active.resolve });
    try {
      await unlessAborted(signal, active.promise);
    } finally {
      unlisten();
    }
  }

  #connect() {
    this.#clearTimers();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#complaint = null;
    socket.onopen = () => socket.send(encode('hello', { token: this.#token }));
    socket.onmessage = (event) => this.#hear(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.#timers.connect = setTimeout(() => this.#lost(), CONNECT_DEADLINE_MS);
    this.#enter(LinkState.CONNECTING);
  }

  #hear(text) {
    let message;
    try {
      message = decode(text);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      console.warn('A message of the server was dropped:', error.message);
      return;
    }
    this.#dispatch(message);
  }

  #dispatch(message) {
    if (message.type === 'hello_ack') {
      if (!this.isActive) this.#accepted();
    } else if (message.type === 'heartbeat_ack') {
      this.#clearTimer('ack');
    } else if (!this.isActive && message.type === 'error') {
      this.#complaint = message.payload.message;
    } else if (!this.#settle(message)) {
      this.#tell((listener) => listener.hear(message));
    }
  }

  /** Match a reply to its request; false if it is none. */
  #settle(message) {
    const request = this.#requests.get(message.requestId);
    if (request === undefined) return false;
    this.#requests.delete(message.requestId);
    if (message.type === 'error') request.reject(new RequestRefused(message.payload.message));
    else request.resolve(message);
    return true;
  }

  #accepted() {
    this.#clearTimer('connect');
    this.failures = 0;
    this.number += 1;
    this.#timers.heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#timers.proven = setTimeout(() => this.#backoff.reset(), PROVEN_AFTER_MS);
    this.#enter(LinkState.ACTIVE);
    this.#tell((listener) => listener.active?.());
  }

  #beat() {
    this.#write(encode('heartbeat', {}));
    this.#timers.ack ??= setTimeout(() => this.#lost(), ACK_DEADLINE_MS);
  }

  #write(text) {
    // A socket that the server is closing takes no more; its close event is about to come.
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  #closed(code) {
    // The same code is for a hello that came too late: then the token is as good as before.
    const isOfTheToken = this.#complaint === null || REFUSALS.has(this.#complaint);
    const isRefused = code === POLICY_VIOLATION && !this.isActive && isOfTheToken;
    this.#lost(isRefused ? LinkState.REFUSED : LinkState.WAITING);
  }

  /** The connection is gone, or so silent that it might as well be. */
  #lost(next = LinkState.WAITING, soonMs = null) {
    this.#abandon();
    this.failures += 1;
    if (next === LinkState.WAITING) {
      const delayMs = soonMs ?? this.#backoff.next();
      this.retryAtMs = Date.now() + delayMs;
      this.#timers.retry = setTimeout(() => this.#connect(), delayMs);
    }
    this.#enter(next);
    this.#tell((listener) => listener.lost());
  }

  /** Let go of the socket without waiting for it: on a dead network its close takes minutes. */
  #abandon(code) {
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
    for (const request of this.#requests.values()) request.reject(new LinkLost());
    this.#requests.clear();
  }

  #tell(what) {
    for (const listener of [...this.#listeners]) what(listener);
  }

  #enter(state) {
    if (state !== LinkState.WAITING) this.retryAtMs = null;
    this.#state = state;
    this.#onChange();
  }

  #clearTimer(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }

  #clearTimers() {
    for (const name of Object.keys(this.#timers)) this.#clearTimer(name);
  }
}
