/** The devices that are watched at once: one session each over one link, side by side or one large. */

import { Endings } from './endings.js';
import { Tile } from './tile.js';
import { NOTHING, Watch } from './watch.js';

/** Up to this width the devices' smaller picture is sharp enough, in CSS pixels. */
const SMALL_PX = 720;
/** A window that is being drawn larger goes through many sizes. */
const SETTLED_AFTER_MS = 1000;

export class Wall {
  #element;
  #link;
  #connections;
  #endings;
  #stills;
  #onChange;
  #actions;
  #onFocusLost;
  #entries = new Map();
  #large = null;
  #lastView = NOTHING;
  #sizes = new ResizeObserver(() => this.#sizeChanged());
  #settling;

  /**
   * `element` takes the tiles; `connections` give peer connections; `stills` gets the last pictures; `onChange(isNews)` is called after
   * every change, `isNews` if a picture came or went; `onFocusLost()` when what had the focus has gone. `actions`
   * are enlarge, close, toggleFullscreen.
   */
  constructor({ element, link, connections, stills, onChange, onFocusLost, actions }) {
    this.#element = element;
    this.#link = link;
    this.#connections = connections;
    this.#endings = new Endings(link);
    this.#stills = stills;
    this.#onChange = onChange;
    this.#onFocusLost = onFocusLost;
    this.#actions = actions;
  }

  get deviceIds() {
    return [...this.#entries.keys()];
  }

  /** The device whose picture is the large one beside others; null if there is none. */
  get large() {
    return this.#large;
  }

  /** The `{watch, tile}` that keys and buttons are about: alone, large, or with the focus; or null. */
  get leading() {
    const entries = [...this.#entries.values()];
    if (this.#large !== null) return this.#entries.get(this.#large);
    return entries.find(({ tile }) => tile.element.contains(document.activeElement)) ?? entries[0] ?? null;
  }

  /** True while several pictures are seen, and none is the large one. */
  get isSideBySide() {
    return this.#entries.size > 1 && this.#large === null;
  }

  /** What the leading watch tells, as in NOTHING. */
  get view() {
    return this.leading?.watch.view ?? this.#lastView;
  }

  /** Watch these devices, and no others; those that are watched already go on. */
  show(deviceIds) {
    for (const deviceId of this.deviceIds) {
      if (!deviceIds.includes(deviceId)) this.#drop(deviceId);
    }
    const added = deviceIds.filter((deviceId) => !this.#entries.has(deviceId));
    for (const deviceId of added) this.#add(deviceId);
    if (!this.#entries.has(this.#large)) this.#large = null;
    if (this.#entries.size > 0) this.#sizes.observe(this.#element);
    else this.#sizes.disconnect();
    // Laid out first: how much a picture asks for depends on its size.
    this.#arrange();
    for (const deviceId of added) {
      const { watch, tile } = this.#entries.get(deviceId);
      watch.start(deviceId, { isSmall: this.#isSmall(tile) });
    }
    this.#onChange(true);
  }

  /** Watch nothing. The server is told before this returns. */
  end() {
    this.show([]);
  }

  /** Let one picture be large, or with null none. */
  enlarge(deviceId) {
    this.#large = this.#entries.size > 1 ? deviceId : null;
    this.#arrange();
    this.#onChange(true);
  }

  tryAgain(deviceId) {
    this.#entries.get(deviceId)?.watch.tryAgain();
  }

  hurry() {
    for (const { watch } of this.#entries.values()) watch.hurry();
  }

  networkChanged(code) {
    for (const { watch } of this.#entries.values()) watch.networkChanged(code);
  }

  /** A device that has come online is worth another attempt. */
  hear(devices) {
    for (const [deviceId, entry] of this.#entries) {
      const isOnline = devices.find((one) => one.deviceId === deviceId)?.isOnline === true;
      if (isOnline && !entry.wasOnline) entry.watch.hurry();
      entry.wasOnline = isOnline;
    }
  }

  render({ link, devices, isOnline }) {
    const isAlone = this.#entries.size === 1;
    for (const [deviceId, { watch, tile }] of this.#entries) {
      const device = devices?.find((one) => one.deviceId === deviceId);
      tile.render({ link, watch: watch.view, device, isOnline, isAlone });
    }
  }

  count() {
    for (const { tile } of this.#entries.values()) tile.count();
  }

  #add(deviceId) {
    const actions = {
      tryAgain: () => this.#actions.tryAgain(deviceId),
      enlarge: () => this.#actions.enlarge(this.#large === deviceId ? null : deviceId),
      close: () => this.#actions.close(deviceId),
      toggleFullscreen: () => this.#actions.toggleFullscreen(),
    };
    const tile = new Tile(deviceId, actions, this.#onFocusLost);
    const entry = { tile, watch: null, wasOnline: false, lastPicture: 'none' };
    entry.watch = new Watch({
      link: this.#link,
      connections: this.#connections,
      endings: this.#endings,
      stage: tile.stage,
      onChange: () => this.#changed(deviceId, entry),
    });
    this.#entries.set(deviceId, entry);
    this.#element.append(tile.element);
  }

  #drop(deviceId) {
    const { watch, tile } = this.#entries.get(deviceId);
    if (watch.view.picture === 'moving') this.#stills.keep(deviceId, tile.stage.picture);
    this.#entries.delete(deviceId);
    watch.end();
    this.#lastView = watch.view;
    tile.remove();
  }

  #changed(deviceId, entry) {
    if (this.#entries.get(deviceId) !== entry) return;
    const { picture } = entry.watch.view;
    const isNews = picture !== entry.lastPicture;
    entry.lastPicture = picture;
    if (isNews && picture === 'still') this.#stills.keep(deviceId, entry.tile.stage.picture);
    this.#onChange(isNews);
  }

  #arrange() {
    const isMany = this.#entries.size > 1;
    if (!isMany) this.#large = null;
    const isFocused = this.#large !== null;
    this.#element.dataset.layout = isFocused ? 'focus' : isMany ? 'grid' : 'single';
    this.#element.dataset.count = Math.min(this.#entries.size, 9);
    for (const [deviceId, { tile }] of this.#entries) {
      tile.size = !isMany || deviceId === this.#large ? 'large' : 'small';
    }
    this.#fit();
  }

  /** Ask for what the size of each picture is worth; one that stays what it was costs nothing. */
  #fit() {
    for (const { watch, tile } of this.#entries.values()) {
      watch.resize({ isSmall: this.#isSmall(tile) });
    }
  }

  #sizeChanged() {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#fit(), SETTLED_AFTER_MS);
  }

  #isSmall({ isSmall, element }) {
    return isSmall && element.clientWidth <= SMALL_PX;
  }
}
