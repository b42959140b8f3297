/** The list of devices as cards: whether each is there, how it is, and what it saw last. */

import { describeAvailability, describeMoment, describePresence, describeWarnings } from './presence.js';
import { say } from './tile.js';

export class Cards {
  #list;
  #actions;
  #cards = new Map();

  /** `list` is the element; `actions` is what the viewer may do: watch, pick. */
  constructor(list, actions) {
    this.#list = list;
    this.#actions = actions;
  }

  /** Show these devices anew; what has not changed is not touched. */
  render(devices, { stills, picked, nowMs }) {
    const known = this.#cards;
    this.#cards = new Map(
      devices.map(({ deviceId }) => [deviceId, known.get(deviceId) ?? this.#make(deviceId)]),
    );
    for (const device of devices) {
      const card = this.#cards.get(device.deviceId);
      renderCard(card, device, nowMs);
      renderStill(card, stills.of(device.deviceId), nowMs);
      card.pick.hidden = devices.length < 2;
      card.box.checked = picked.has(device.deviceId);
    }
    // Moving a focused element takes its focus away: touch the list only when it has changed.
    const isSame = known.size === devices.length && devices.every((one) => known.has(one.deviceId));
    if (!isSame) this.#list.replaceChildren(...[...this.#cards.values()].map(({ item }) => item));
  }

  #make(deviceId) {
    const template = document.getElementById('card-template');
    const item = template.content.firstElementChild.cloneNode(true);
    const part = (name) => item.querySelector(`.${name}`);
    const button = part('device');
    button.dataset.deviceId = deviceId;
    button.addEventListener('click', () => this.#actions.watch(deviceId));
    const box = item.querySelector('input');
    box.addEventListener('change', () => this.#actions.pick(deviceId, box.checked));
    say(part('pick-label'), `Pick ${deviceId} to see it beside others`);
    say(part('name'), deviceId);
    return {
      item,
      button,
      box,
      pick: part('pick'),
      availability: part('online'),
      presence: part('presence'),
      warnings: part('warnings'),
      still: part('still'),
      image: item.querySelector('img'),
      moment: part('moment'),
    };
  }
}

function renderCard({ button, availability, presence, warnings }, device, nowMs) {
  button.dataset.online = device.isOnline;
  say(availability, describeAvailability(device, nowMs));
  say(presence, describePresence(device).join(' · '));
  const texts = describeWarnings(device);
  if (texts.join('\n') === [...warnings.children].map((one) => one.textContent).join('\n')) return;
  warnings.replaceChildren(
    ...texts.map((text) => {
      const line = document.createElement('span');
      line.textContent = text;
      return line;
    }),
  );
}

function renderStill({ still, image, moment }, kept, nowMs) {
  still.dataset.kept = kept !== undefined;
  image.hidden = kept === undefined;
  if (kept === undefined) return;
  if (image.src !== kept.url) image.src = kept.url;
  say(moment, `seen ${describeMoment(kept.atMs, nowMs)}`);
}
