/** What keys do. Single keys can be switched off, for those whose voice or hand types by accident. */

import { Preference } from './preferences.js';

export class Keyboard {
  #keys;
  #preference = new Preference('keys', { isOnAtFirst: true });

  /** `keys` says what each does, by `KeyboardEvent.key`; a digit is given to `keys.digit(number)`. */
  constructor(keys) {
    this.#keys = keys;
    document.addEventListener('keydown', (event) => this.#press(event));
  }

  get isOn() {
    return this.#preference.isOn;
  }

  set isOn(isOn) {
    this.#preference.set(isOn);
  }

  #press(event) {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (isTyping(event.target) || document.querySelector('dialog[open]')) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Escape is no character that is typed by accident.
    if (key !== 'Escape' && !this.isOn) return;
    const act = /^[1-9]$/.test(key) ? () => this.#keys.digit(Number(key)) : this.#keys[key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }
}

function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.matches('textarea, select, input:not([type=checkbox])') || target.isContentEditable;
}
