/** The document: puts what there is to tell into its elements. Knows no network. */

import { Cards } from './cards.js';
import { describeAvailability, describePresence, describeWarnings } from './presence.js';
import { say } from './tile.js';
import { describeLink, describeList, describeTitle } from './words.js';

const COUNTDOWN_INTERVAL_MS = 250;
/** How soon after an empty text another one counts as news, also if it says what the last one did. */
const ANNOUNCED_AFTER_MS = 100;

export const View = Object.freeze({ SIGN_IN: 'sign-in', DEVICES: 'devices', WATCH: 'watch' });

const element = (id) => document.getElementById(id);

export class Page {
  #view = null;
  #cards;

  /**
   * `actions` is what the viewer may do: signIn, signOut, watch, watchSeveral, pick, end,
   * toggleFullscreen, togglePictureInPicture, snapshot, toggleOverlays, toggleFigures, setKeys;
   * `count` is called some times a second.
   */
  constructor(actions) {
    this.#cards = new Cards(element('device-list'), actions);
    element('sign-in-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const token = element('token').value.trim();
      // Otherwise it would wait there for whoever comes after this viewer has signed out.
      event.target.reset();
      actions.signIn(token);
    });
    const clicks = {
      'sign-out': actions.signOut,
      'watch-several': actions.watchSeveral,
      'help-open': () => this.showHelp(),
      fullscreen: actions.toggleFullscreen,
      'picture-in-picture': actions.togglePictureInPicture,
      snapshot: actions.snapshot,
      overlays: actions.toggleOverlays,
      figures: actions.toggleFigures,
      end: actions.end,
    };
    for (const [id, act] of Object.entries(clicks)) {
      element(id).addEventListener('click', () => act());
    }
    element('keys').addEventListener('change', () => actions.setKeys(element('keys').checked));
    element('home').addEventListener('click', (event) => {
      event.preventDefault();
      actions.end();
    });
    setInterval(actions.count, COUNTDOWN_INTERVAL_MS);
  }

  /** What takes the pictures. */
  get wall() {
    return element('wall');
  }

  /** Move the focus to where reading what is watched begins. */
  focusTitle() {
    element('watch-title').focus({ preventScroll: true });
  }

  showHelp() {
    if (!element('help').open) element('help').showModal();
  }

  /** Say whether single keys are in use. */
  renderKeys(isOn) {
    element('keys').checked = isOn;
  }

  /** Show or hide what lies over the pictures. */
  renderOverlays(isOn) {
    document.body.dataset.overlays = isOn ? 'shown' : 'hidden';
    element('overlays').setAttribute('aria-pressed', String(isOn));
  }

  /** Show or hide the live figures of the large picture; without one there is nothing to press. */
  renderFigures({ isOn, hasLarge }) {
    document.body.dataset.figures = isOn ? 'shown' : 'hidden';
    element('figures').setAttribute('aria-pressed', String(isOn));
    element('figures').setAttribute('aria-disabled', String(!hasLarge));
  }

  /** Offer what can be done with the picture that leads, and name what it does now. */
  renderActions({ canFullscreen, isFullscreen, canPictureInPicture, isInPicture, canSave }) {
    element('fullscreen').hidden = !canFullscreen;
    say(element('fullscreen'), isFullscreen ? 'Leave full screen' : 'Full screen');
    element('picture-in-picture').hidden = !canPictureInPicture;
    say(element('picture-in-picture'), isInPicture ? 'Leave small window' : 'Small window');
    // Not hidden: a button that comes and goes moves the others.
    element('snapshot').setAttribute('aria-disabled', String(!canSave));
  }

  /** Show everything anew; what has not changed is not touched. */
  render({ view, problem, link, wall, devices, picked, stills, isOnline }) {
    const watch = wall.view;
    const { dataset } = document.body;
    dataset.state = stateOf(view, link, watch);
    dataset.link = link.state;
    dataset.watchState = watch.watchState ?? 'none';
    dataset.network = isOnline ? 'online' : 'offline';
    dataset.picture = watch.picture;
    dataset.failure = watch.failure?.code ?? '';
    document.title = describeTitle(watch, wall.deviceIds.length);
    this.#renderLink(view, link);
    if (view === View.SIGN_IN) renderSignIn(problem);
    if (view === View.DEVICES) this.#renderDevices(link, devices, picked, stills);
    if (view === View.WATCH) renderWatch(link, wall, devices.list, isOnline);
    this.#turnTo(view);
  }

  /** Say something for the ear alone, also if it is what was said before. */
  announce(text) {
    say(element('aloud'), '');
    setTimeout(() => say(element('aloud'), text), ANNOUNCED_AFTER_MS);
  }

  #renderLink(view, link) {
    element('link').hidden = view === View.SIGN_IN;
    element('sign-out').hidden = view === View.SIGN_IN;
    say(element('link-text'), describeLink(link));
  }

  #renderDevices(link, { list, hasFailed }, picked, stills) {
    say(element('devices-note'), describeList(link, list, hasFailed));
    this.#cards.render(list ?? [], { stills, picked, nowMs: Date.now() });
    const online = (list ?? []).filter(({ isOnline }) => isOnline).length;
    element('watch-several').hidden = picked.size === 0 && online < 2;
    const several = picked.size > 0 ? `Watch ${picked.size} picked` : `Watch all ${online} online`;
    say(element('watch-several'), several);
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

function renderWatch(link, wall, list, isOnline) {
  wall.render({ link, devices: list, isOnline });
  const count = wall.deviceIds.length;
  const deviceId = count > 1 ? wall.large : wall.deviceIds[0];
  const device = list?.find((one) => one.deviceId === deviceId);
  say(element('watch-title'), deviceId ?? (count > 1 ? `${count} cameras` : ''));
  const facts = device ? [describeAvailability(device, Date.now()), ...describePresence(device)] : [];
  say(element('watch-presence'), facts.join(' · '));
  say(element('watch-warnings'), device ? describeWarnings(device).join(' · ') : '');
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
