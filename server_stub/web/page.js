/** The document: puts what there is to tell into its elements. Knows no network. */

import { mountFigures } from './figures.js';
import {
  describeAloud,
  describeCountdown,
  describeFigures,
  describeList,
  describeNotice,
  describePresence,
  describeTitle,
  describeWatch,
  LINKS,
} from './words.js';

const COUNTDOWN_INTERVAL_MS = 250;

export const View = Object.freeze({ SIGN_IN: 'sign-in', DEVICES: 'devices', WATCH: 'watch' });

const element = (id) => document.getElementById(id);

export class Page {
  #view = null;
  #retryAtMs = null;
  #isTryingAgain = false;
  #figures = mountFigures(element('figures-panel'), element('show-figures'));

  /** `actions` is what the viewer may do: signIn, signOut, watch, end, tryAgain, toggleFullscreen. */
  constructor(actions) {
    this.actions = actions;
    element('sign-in-form').addEventListener('submit', (event) => {
      event.preventDefault();
      actions.signIn(element('token').value.trim());
    });
    element('sign-out').addEventListener('click', actions.signOut);
    element('try-again').addEventListener('click', actions.tryAgain);
    element('end').addEventListener('click', actions.end);
    element('fullscreen').addEventListener('click', actions.toggleFullscreen);
    element('stage').addEventListener('dblclick', actions.toggleFullscreen);
    element('home').addEventListener('click', (event) => {
      event.preventDefault();
      actions.end();
    });
    setInterval(() => this.#count(), COUNTDOWN_INTERVAL_MS);
  }

  get videos() {
    return [...document.querySelectorAll('video')];
  }

  get lastPicture() {
    return element('last-picture');
  }

  get stage() {
    return element('stage');
  }

  /** Offer the fullscreen button, and name what it does now. */
  renderFullscreen({ isPossible, isOn }) {
    element('fullscreen').hidden = !isPossible;
    say(element('fullscreen'), isOn ? 'Leave full screen' : 'Full screen');
  }

  /** Show everything anew; what has not changed is not touched. */
  render({ view, problem, link, watch, devices, isOnline }) {
    const { dataset } = document.body;
    dataset.state = stateOf(view, link, watch);
    dataset.link = link.state;
    dataset.watchState = watch.watchState ?? 'none';
    dataset.network = isOnline ? 'online' : 'offline';
    dataset.picture = watch.picture;
    dataset.failure = watch.failure?.code ?? '';
    document.title = describeTitle(watch);
    this.#renderLink(view, link);
    if (view === View.SIGN_IN) renderSignIn(problem);
    if (view === View.DEVICES) this.#renderDevices(link, devices);
    if (view === View.WATCH) this.#renderWatch(link, watch, devices, isOnline);
    if (view !== View.WATCH) say(element('aloud'), '');
    this.#turnTo(view);
  }

  #renderLink(view, link) {
    element('link').hidden = view === View.SIGN_IN;
    element('sign-out').hidden = view === View.SIGN_IN;
    say(element('link-text'), LINKS[link.state]);
  }

  #renderDevices(link, { list, hasFailed }) {
    say(element('devices-note'), describeList(link, list, hasFailed));
    const known = new Map(
      [...element('device-list').children].map((item) => [item.firstChild.dataset.deviceId, item]),
    );
    const items = (list ?? []).map((device) => {
      const item = known.get(device.deviceId) ?? this.#deviceItem(device.deviceId);
      renderDevice(item.firstChild, device);
      return item;
    });
    // Moving a focused element takes its focus away: touch the list only when it has changed.
    const isSame = items.length === known.size && items.every((item) => item.isConnected);
    if (!isSame) element('device-list').replaceChildren(...items);
  }

  #deviceItem(deviceId) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'device';
    button.dataset.deviceId = deviceId;
    for (const name of ['name', 'online', 'presence']) {
      const part = document.createElement('span');
      part.className = name;
      button.append(part);
    }
    button.addEventListener('click', () => this.actions.watch(deviceId));
    item.append(button);
    return item;
  }

  #renderWatch(link, watch, devices, isOnline) {
    const device = devices.list?.find(({ deviceId }) => deviceId === watch.deviceId);
    const presence = device ? describePresence(device, Date.now()) : [];
    say(element('watch-title'), watch.deviceId ?? '');
    say(element('watch-presence'), presence.join(' · '));
    const notice = describeNotice(link, watch);
    say(element('notice'), notice);
    say(element('figures'), describeFigures(watch));
    this.#figures.show(watch.figures);
    const status = describeWatch(link, watch, isOnline);
    say(element('aloud'), describeAloud(status, notice));
    element('overlay').hidden = status === null;
    say(element('status-title'), status?.title ?? '');
    say(element('status-advice'), status?.advice ?? '');
    element('details').hidden = !status?.details;
    say(element('details-text'), status?.details ?? '');
    element('spinner').hidden = !status?.isBusy;
    element('try-again').hidden = !status?.mayTryAgain;
    this.#retryAtMs = status?.retryAtMs ?? null;
    this.#isTryingAgain = Boolean(status?.isBusy && status.mayTryAgain);
    this.#count();
  }

  #count() {
    const text =
      this.#retryAtMs === null ? '' : describeCountdown(this.#retryAtMs, Date.now());
    say(element('countdown'), this.#isTryingAgain ? 'Trying again…' : text);
  }

  /** Show one view, and move the focus there if the view is new. */
  #turnTo(view) {
    const previous = this.#view;
    if (previous === view) return;
    this.#view = view;
    for (const name of Object.values(View)) element(name).hidden = name !== view;
    const focused = {
      [View.SIGN_IN]: element('token'),
      [View.DEVICES]: previous === null ? null : element('devices-title'),
      [View.WATCH]: element('watch-title'),
    };
    focused[view]?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function renderSignIn(problem) {
  const alert = element('sign-in-problem');
  alert.hidden = !problem;
  say(alert, problem ?? '');
  element('token').setAttribute('aria-invalid', problem ? 'true' : 'false');
  if (problem) element('token').setAttribute('aria-describedby', alert.id);
}

function renderDevice(button, device) {
  const [name, online, presence] = button.children;
  button.dataset.online = device.isOnline;
  say(name, device.deviceId);
  say(online, device.isOnline ? 'Online' : 'Offline');
  say(presence, describePresence(device, Date.now()).join(' · '));
}

/** Say in one word what the page is about. */
function stateOf(view, link, watch) {
  if (view === View.SIGN_IN) return 'signed_out';
  if (view === View.DEVICES) return 'choosing';
  if (watch.picture === 'moving') return 'live';
  if (!link.isActive) return link.failures > 0 ? 'retrying' : 'asking';
  if (watch.failure === null) return 'asking';
  return watch.failure.healsByItself ? 'retrying' : 'stopped';
}

/** Change a text only if it is another one: what is live is read out at every change. */
function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
