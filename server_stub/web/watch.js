/** The wish to watch one device: one session after another, until the viewer has seen enough. */

import { Backoff } from './backoff.js';
import { whatBrowserLacks } from './connections.js';
import { WatchFailure } from './failure.js';
import { History } from './history.js';
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
/** How long it is told that the picture is back, and why it was away. */
const RETURN_IS_NEWS_MS = 12_000;
/** What a small picture asks for at most: the devices have a smaller one for that. */
const SMALL_KBPS = 500;
/** Of several failures in a row these explain the others. */
const EXPLAINING = new Set(['device_offline', 'link_lost', 'network_changed', 'slept']);

export const NOTHING = Object.freeze({
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
  /** True while the picture is exchanged for a larger or smaller one. */
  isResizing: false,
  /** Of a picture that is back, for a while: `{code, awayMs}`, the failure and how long it lasted. */
  comeback: null,
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
  #doubt = { untilMs: 0, code: null };
  #isSmall = false;
  /** What took the picture away, and since when it stands; null while nothing did. */
  #trouble = null;
  #stoodAtMs = null;
  #history = new History();
  /** For how long no picture had come before that was too long. */
  #frozenMs = 0;
  #newsTimer;

  /**
   * `connections` give peer connections; `endings` are shared by all that use `link`; `onChange` is
   * called after every change of `view`.
   */
  constructor({ link, connections, endings, stage, onChange }) {
    this.#link = link;
    this.#connections = connections;
    this.#endings = endings;
    this.#stage = stage;
    this.#onChange = onChange;
  }

  /** What there is to tell, as in NOTHING. */
  get view() {
    return this.#view;
  }

  /** The peer connection of the picture that is shown, or null. */
  get connection() {
    return this.#shown?.connection ?? null;
  }

  /** Watch `deviceId` instead of whatever was watched before; a small picture takes less. */
  start(deviceId, { isSmall = false } = {}) {
    this.end();
    this.#isSmall = isSmall;
    this.#history = new History();
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
    this.#trouble = null;
    clearTimeout(this.#newsTimer);
    this.#stage.clear();
    this.#view = NOTHING;
    this.#set({ watchState: this.#latest?.state ?? null });
  }

  /** Be small from now on, or large; the picture goes on until the other one is there. */
  resize({ isSmall }) {
    if (isSmall === this.#isSmall) return;
    this.#isSmall = isSmall;
    if (this.#latest?.isConnecting) this.#latest.fail('resized');
    else this.#shown?.giveWay();
  }

  /** Try again now: the viewer wishes it, by a click or a key. */
  tryAgain() {
    this.#stage.allow();
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
   * picture that goes on is left in peace. `code` says what happened, `slept` being another case.
   */
  networkChanged(code = 'network_changed') {
    this.#doubt = { untilMs: performance.now() + DOUBT_LASTS_MS, code };
    const isConnecting = this.#latest !== this.#shown && this.#latest?.isConnecting;
    if (isConnecting) this.#latest.fail(code);
    if (this.#shown?.isInterrupted) this.#shown.fail(code);
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
      // A viewer waits from the click on; later attempts are the page's, and may wait for a server.
      startedAtMs = null;
    }
  }

  /** Have one session from its request to its end, which is what it throws. */
  async #watchOnce(deviceId, signal, startedAtMs, backoff) {
    const lack = whatBrowserLacks();
    if (lack !== null) throw new WatchFailure(lack);
    const session = new Session({
      deviceId,
      ceilingKbps: () => (this.#isSmall ? SMALL_KBPS : null),
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
    startedAtMs ??= performance.now();
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
    if (this.#view.picture === 'still') {
      this.#history.addStandstill(Date.now() - this.#stoodAtMs);
    }
    show(firstFrameMs);
    previous?.end();
    const statistics = new Statistics({
      session,
      video: this.#stage.video,
      startedAtMs,
      firstFrameAtMs,
      history: this.#history,
      patienceMs: () => this.#patienceMs(session),
      onFigures: (figures) => this.#set({ figures }),
      onFrozen: () => this.#frozen(session),
    });
    session.closed.then(() => {
      statistics.stop();
      if (this.#shown === session) this.#stands();
    });
    const comeback = this.#comeBack();
    const news = { picture: 'moving', figures: null, firstFrameMs, comeback, isResizing: false };
    this.#set({ failure: null, ...news });
  }

  /** Say what was the trouble that is over now, for a while. */
  #comeBack() {
    const trouble = this.#trouble;
    this.#trouble = null;
    if (trouble === null) return null;
    clearTimeout(this.#newsTimer);
    this.#newsTimer = setTimeout(() => this.#set({ comeback: null }), RETURN_IS_NEWS_MS);
    const awayMs = trouble.stoodAtMs === null ? 0 : Date.now() - trouble.stoodAtMs;
    return { code: trouble.code, awayMs };
  }

  /** Remember what took the picture away, for when it is back. */
  #note(code) {
    if (this.#view.picture === 'none' || code === 'resized') return;
    this.#trouble ??= { code, stoodAtMs: null };
    if (EXPLAINING.has(code)) this.#trouble.code = code;
    if (this.#view.picture === 'still') this.#trouble.stoodAtMs ??= this.#stoodAtMs;
  }

  #frozen(session) {
    this.#frozenMs = this.#patienceMs(session);
    session.fail(this.#isInDoubt ? this.#doubt.code : 'frozen');
  }

  #patienceMs(session) {
    // One each two seconds is all there is of a device that sends stills.
    if (session.report?.rung === 'stills') return PATIENCE_MS;
    if (session.isDetached) return DETACHED_MS;
    return this.#isInDoubt ? DOUBTING_MS : PATIENCE_MS;
  }

  get #isInDoubt() {
    return performance.now() < this.#doubt.untilMs;
  }

  /** The picture that is shown has no session any more; its last frame stays to be seen. */
  #stands() {
    this.#shown = null;
    this.#stoodAtMs = Date.now() - this.#frozenMs;
    this.#frozenMs = 0;
    if (this.#trouble !== null) this.#trouble.stoodAtMs ??= this.#stoodAtMs;
    this.#stage.keepLastPicture();
    this.#set({ picture: 'still', figures: null, isInterrupted: false });
  }

  /** Wait until the next attempt makes sense. */
  async #rest(problem, backoff, signal) {
    const failure = asFailure(problem);
    this.#note(failure.code);
    if (failure.isSilent) {
      // Another attempt comes at once, or with the next link, however long that takes.
      this.#set({ failure: null, isResizing: failure.code === 'resized' });
      return;
    }
    if (this.#shown?.givesWay) {
      // Perhaps there is no place for two, even for a moment.
      this.#shown.end();
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
  return isSudden || failure.isAChange ? 0 : delayMs;
}

function asFailure(problem) {
  if (problem instanceof WatchFailure) return problem;
  console.error(problem);
  return new WatchFailure('unexpected', problem.message);
}
