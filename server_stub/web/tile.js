/** One watched device in the document: its picture, and what there is to say about it. */

import { mountFigures } from './figures.js';
import { Stage } from './stage.js';
import {
  describeAloud,
  describeCountdown,
  describeFigures,
  describeNotice,
  describeWatch,
} from './words.js';

export class Tile {
  #parts;
  #figures;
  #focusLost;
  #retryAtMs = null;
  #isTryingAgain = false;

  /**
   * `actions` is what the viewer may do: tryAgain, enlarge, close, toggleFullscreen; `focusLost` is called
   * when what had the focus is not seen any more.
   */
  constructor(deviceId, actions, focusLost) {
    this.deviceId = deviceId;
    this.#focusLost = focusLost;
    const template = document.getElementById('tile-template');
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.setAttribute('aria-label', deviceId);
    this.element.dataset.deviceId = deviceId;
    this.#parts = new Map(
      [...this.element.querySelectorAll('[data-part]')].map((one) => [one.dataset.part, one]),
    );
    this.stage = new Stage([...this.element.querySelectorAll('video')], this.#part('last-picture'));
    this.#figures = mountFigures(this.#part('figures-panel'));
    say(this.#part('name'), deviceId);
    this.#part('try-again').addEventListener('click', actions.tryAgain);
    this.#part('enlarge').addEventListener('click', actions.enlarge);
    this.#part('close').addEventListener('click', actions.close);
    this.#part('close').setAttribute('aria-label', `Close ${deviceId}`);
    this.#part('stage').addEventListener('dblclick', actions.toggleFullscreen);
  }

  /** What a screen is filled with. */
  get frame() {
    return this.#part('frame');
  }

  get isSmall() {
    return this.element.dataset.size === 'small';
  }

  /** Take the room of a `large` picture, or of a `small` one beside others. */
  set size(size) {
    this.element.dataset.size = size;
    const isLarge = size === 'large';
    say(this.#part('enlarge'), isLarge ? 'Side by side' : 'Enlarge');
    const action = isLarge ? `${this.deviceId}: side by side` : `Enlarge ${this.deviceId}`;
    this.#part('enlarge').setAttribute('aria-label', action);
  }

  /** Say how it goes; `isAlone` if no other picture is seen. */
  render({ link, watch, device, isOnline, isAlone }) {
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.element.dataset.picture = watch.picture;
    this.#part('caption').hidden = isAlone;
    const notice = describeNotice(link, watch);
    const status = describeWatch(link, watch, { isOnline, device, nowMs: Date.now() });
    say(this.#part('notice'), notice);
    say(this.#part('figures'), describeFigures(watch));
    this.#figures.show(watch.figures);
    const spoken = describeAloud(status, notice);
    say(this.#part('aloud'), isAlone ? spoken : `${this.deviceId}: ${spoken}`);
    this.#renderStatus(status);
    if (focused?.getClientRects().length === 0) this.#focusLost();
  }

  /** Leave the document. */
  remove() {
    const hadFocus = this.element.contains(document.activeElement);
    this.element.remove();
    if (hadFocus) this.#focusLost();
  }

  /** Go on counting until the next attempt. */
  count() {
    const text = this.#retryAtMs === null ? '' : describeCountdown(this.#retryAtMs, Date.now());
    say(this.#part('countdown'), this.#isTryingAgain ? 'Trying again…' : text);
  }

  #renderStatus(status) {
    this.#part('overlay').hidden = status === null;
    say(this.#part('status-title'), status?.title ?? '');
    const advice = status === null ? [] : [status.seen, status.advice];
    say(this.#part('status-advice'), advice.filter(Boolean).join(' '));
    this.#part('details').hidden = !status?.details;
    say(this.#part('details-text'), status?.details ?? '');
    this.#part('spinner').hidden = !status?.isBusy;
    this.#part('try-again').hidden = !status?.mayTryAgain;
    this.#retryAtMs = status?.retryAtMs ?? null;
    this.#isTryingAgain = Boolean(status?.isBusy && status.mayTryAgain);
    this.count();
  }

  #part(name) {
    return this.#parts.get(name);
  }
}

/** Change a text only if it is another one: what is live is read out at every change. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
