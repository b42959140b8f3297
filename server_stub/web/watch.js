/** The wish to watch one device: one session after another, until the viewer has seen enough. */

import { Backoff } from './backoff.js';
import { whatBrowserLacks } from './connections.js';
import { Endings } from './endings.js';
import { WatchFailure } from './failure.js';
import { Session } from './session.js';
import { Statistics } from './statistics.js';
import { deferred, pause } from './waiting.js';

const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 10_000;
/** A picture that lasted this long was a good one: after it, try again soon. */
const PROVEN_AFTER_MS = 10_000;
/** How long no picture may come before the session counts as dead … */
const PATIENCE_MS = 5000;
/** … when the network has just changed … */
const DOUBTING_MS = 2500;
/** … and when pictures go on without the server: longer nobody should be told that they do. */
const DETACHED_MS = 2000;
/** How long after a change of the network its sessions are in doubt. */
const DOUBT_LASTS_MS = 6000;

const NOTHING = Object.freeze({
  /** The device that is wanted, or null. */
  deviceId: null,
  /** Where the latest session stands, as a WatchState; null before the first. */
  watchState: null,
  /** Why the latest session failed, while that is of interest. */
  failure: null,
  /** When the next session starts by itself, by `Date.now()`. */
  retryAtMs: null,
  /** `none`, `moving`, or `still`: the last one that came. */
  picture: 'none',
  /** True while nothing comes over the path of the picture that is shown. */
  isInterrupted: false,
  /** What Statistics reads, while the picture moves. */
  figures: null,
  firstFrameMs: null,
});

export class Watch {
  #link;
  #connections;
  #endings;
  #stage;
  #onChange;
  #view = NOTHING;
  #wish = null;
  #wake = deferred();
  #latest = null;
  /** The session whose picture is shown; it may be an older one than the latest. */
  #shown = null;
  #doubtedUntilMs = 0;

  /** `connections` give peer connections; `onChange` is called after every change of `view`. */
  constructor({ link, connections, stage, onChange }) {
    this.#link = link;
    this.#connections = connections;
    this.#endings = new Endings(link);
    this.#stage = stage;
    this.#onChange = onChange;
  }

  /** What there is to tell, as in NOTHING. */
  get view() {
    return this.#view;
  }

  /** Watch `deviceId` instead of whatever was watched before. */
  start(deviceId) {
    this.end();
    this.#wish = new AbortController();
    this.#set({ deviceId });
    this.#keepWatching(deviceId, this.#wish.signal, performance.now());
  }

  /** Watch nothing. The server is told before this returns. */
  end() {
    this.#wish?.abort();
    this.#wish = null;
    this.#shown?.end();
    this.#shown = null;
    this.#stage.clear();
    this.#view = NOTHING;
    this.#set({ watchState: this.#latest?.state ?? null });
  }

  /** Try again now: the viewer wishes it. */
  tryAgain() {
    this.#set({ failure: null });
    this.#wake.resolve();
  }

  /** Try again now, if that can help: something has changed for the better. */
  hurry() {
    if (this.#view.failure?.healsByItself) this.#wake.resolve();
  }

  /**
   * The network is another, or back: what went over the old one is in doubt.
   *
   * Devices cannot restart ICE. A session whose path is silent gives way to a new one, at once; a
   * picture that goes on is left in peace.
   */
  networkChanged() {
    this.#doubtedUntilMs = performance.now() + DOUBT_LASTS_MS;
    const isConnecting = this.#latest !== this.#shown && this.#latest?.isConnecting;
    if (isConnecting) this.#latest.fail('network_changed');
    if (this.#shown?.isInterrupted) this.#shown.fail('network_changed');
    this.hurry();
  }

  async #keepWatching(deviceId, signal, startedAtMs) {
    const backoff = new Backoff({
      firstMs: FIRST_RETRY_MS,
      longestMs: LONGEST_RETRY_MS,
      jitter: 0.5,
    });
    while (!signal.aborted) {
      try {
        await this.#watchOnce(deviceId, signal, startedAtMs, backoff);
      } catch (problem) {
        if (signal.aborted) return;
        await this.#rest(problem, backoff, signal).catch(() => {});
      }
      startedAtMs = performance.now();
    }
  }

  /** Have one session from its request to its end, which is what it throws. */
  async #watchOnce(deviceId, signal, startedAtMs, backoff) {
    const lack = whatBrowserLacks();
    if (lack !== null) throw new WatchFailure(lack);
    const session = new Session({
      deviceId,
      link: this.#link,
      endings: this.#endings,
      onState: () => this.#sessionMoved(session),
    });
    this.#latest = session;
    const end = () => session.end();
    signal.addEventListener('abort', end);
    try {
      const picture = await this.#firstPicture(session, startedAtMs, signal);
      this.#show(session, picture);
      const proven = setTimeout(() => backoff.reset(), PROVEN_AFTER_MS);
      await session.over.finally(() => clearTimeout(proven));
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  #sessionMoved(session) {
    if (session === this.#shown) this.#set({ isInterrupted: session.isInterrupted });
    if (session === this.#latest) this.#set({ watchState: session.state });
  }

  async #firstPicture(session, startedAtMs, signal) {
    const stream = session.prepare(this.#connections.take());
    await this.#link.untilActive(signal);
    let incoming = null;
    const prepareStage = () => {
      incoming ??= this.#stage.prepare(stream);
    };
    try {
      // While the device thinks, there is time to put the video in its place. In a page that still
      // loads, that waits for the answer: a video without a picture would keep the page loading.
      await session.open(() => document.readyState === 'complete' && prepareStage());
      prepareStage();
      const firstFrameAtMs = await session.stream(incoming.firstPicture);
      return { show: incoming.show, startedAtMs, firstFrameAtMs };
    } catch (failure) {
      incoming?.discard();
      throw failure;
    }
  }

  /** Put the session's picture in the place of an older session's, which ends. */
  #show(session, { show, startedAtMs, firstFrameAtMs }) {
    const previous = this.#shown;
    const firstFrameMs = firstFrameAtMs - startedAtMs;
    this.#shown = session;
    show(firstFrameMs);
    previous?.end();
    const statistics = new Statistics({
      session,
      video: this.#stage.video,
      startedAtMs,
      firstFrameAtMs,
      patienceMs: () => this.#patienceMs(session),
      onFigures: (figures) => this.#set({ figures }),
      onFrozen: () => session.fail(this.#isInDoubt ? 'network_changed' : 'frozen'),
    });
    session.closed.then(() => {
      statistics.stop();
      if (this.#shown === session) this.#stands();
    });
    this.#set({ failure: null, picture: 'moving', figures: null, firstFrameMs });
  }

  #patienceMs(session) {
    if (session.isDetached) return DETACHED_MS;
    return this.#isInDoubt ? DOUBTING_MS : PATIENCE_MS;
  }

  get #isInDoubt() {
    return performance.now() < this.#doubtedUntilMs;
  }

  /** The picture that is shown has no session any more; its last frame stays to be seen. */
  #stands() {
    this.#shown = null;
    this.#stage.keepLastPicture();
    this.#set({ picture: 'still', figures: null, isInterrupted: false });
  }

  /** Wait until the next attempt makes sense. */
  async #rest(problem, backoff, signal) {
    const failure = asFailure(problem);
    if (failure.code === 'link_lost') {
      // Another attempt comes with the next link, however long that takes.
      this.#set({ failure: null });
      return;
    }
    if (failure.isOfTheNetwork) this.#link.probe();
    const delayMs = delayAfter(failure, backoff);
    this.#wake = deferred();
    this.#set({ failure, retryAtMs: delayMs === null ? null : Date.now() + delayMs });
    await pause(delayMs, this.#wake.promise, signal);
    this.#set({ retryAtMs: null });
  }

  #set(changes) {
    this.#view = { ...this.#view, ...changes };
    this.#onChange();
  }
}

/** Say how long to wait after a failure, in milliseconds; null: until somebody has done something. */
function delayAfter(failure, backoff) {
  if (!failure.healsByItself) return null;
  // A picture that went well until its network went finds another way at once, if there is one.
  const isSudden = failure.isOfTheNetwork && backoff.isFresh;
  const delayMs = backoff.next();
  return isSudden || failure.code === 'network_changed' ? 0 : delayMs;
}

function asFailure(problem) {
  if (problem instanceof WatchFailure) return problem;
  console.error(problem);
  return new WatchFailure('unexpected', problem.message);
}
