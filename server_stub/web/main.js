/** Wires the page together: what each part tells goes to one render, what the viewer does to its part. */

import { Connections } from './connections.js';
import { Devices } from './devices.js';
import { Keyboard } from './keyboard.js';
import { Link, LinkState, linkUrl } from './link.js';
import { isOnline, watchNetwork, watchSleep } from './network.js';
import { Page, View } from './page.js';
import { Preference } from './preferences.js';
import { saveSnapshot } from './snapshot.js';
import { Stills } from './stills.js';
import { keepDevices, keepToken, readDevices, readToken, takeFragment } from './token.js';
import { Wall } from './wall.js';
import { TOKEN_REFUSED } from './words.js';

const page = new Page({
  signIn,
  signOut,
  watch: (deviceId) => choose([deviceId]),
  watchSeveral,
  pick,
  end,
  toggleFullscreen,
  togglePictureInPicture,
  snapshot: () => wall.isSideBySide || snapshot(),
  toggleOverlays,
  toggleFigures,
  setKeys: (isOn) => {
    keyboard.isOn = isOn;
  },
  count: () => wall.count(),
});
const keyboard = new Keyboard({
  Escape: back,
  f: () => view === View.WATCH && toggleFullscreen(),
  p: () => view === View.WATCH && togglePictureInPicture(),
  s: () => view === View.WATCH && snapshot(),
  o: () => view === View.WATCH && toggleOverlays(),
  i: () => view === View.WATCH && toggleFigures(),
  r: () => view === View.WATCH && tryAgain(),
  g: () => view === View.WATCH && enlarge(null),
  '?': () => page.showHelp(),
  digit: takeDigit,
});
const overlays = new Preference('overlays', { isOnAtFirst: true });
const figures = new Preference('figures', { isOnAtFirst: false });
const connections = new Connections();
const stills = new Stills(() => render());
const picked = new Set();

let view = View.SIGN_IN;
let problem = null;
/** True until the first list of devices, or the viewer, has decided what to watch. */
let isUndecided = true;
let lastLinkState = null;
let { link, wall, devices } = partsFor('');

/** Make the parts that know the viewer's token. */
function partsFor(token) {
  const link = new Link({ url: linkUrl(location), token, onChange: linkChanged });
  const actions = { tryAgain, enlarge, close, toggleFullscreen };
  const parts = { link, connections, stills };
  const changes = { onChange: wallChanged, onFocusLost: () => page.focusTitle() };
  const wall = new Wall({ element: page.wall, ...parts, ...changes, actions });
  const devices = new Devices({ token, onChange: devicesChanged, onRefused: refused });
  return { link, wall, devices };
}

function begin() {
  takeFragment();
  const token = readToken();
  if (token) open(token);
  else render();
}

function open(token) {
  ({ link, wall, devices } = partsFor(token));
  problem = null;
  const deviceIds = readDevices();
  isUndecided = deviceIds.length === 0;
  view = View.DEVICES;
  link.start();
  if (isUndecided) render();
  else choose(deviceIds);
}

function signIn(token) {
  if (!token) return;
  keepToken(token);
  open(token);
}

function signOut() {
  leave();
  keepToken(null);
  keepDevices([]);
  problem = null;
  render();
}

/** The server does not accept the token: only another one helps. */
function refused() {
  leave();
  keepToken(null);
  problem = TOKEN_REFUSED;
  render();
}

function leave() {
  wall.end();
  stills.forget();
  link.stop();
  devices.stop();
  picked.clear();
  view = View.SIGN_IN;
}

function choose(deviceIds) {
  isUndecided = false;
  keepDevices(deviceIds);
  picked.clear();
  view = View.WATCH;
  // Seen first: how much a picture asks for depends on the room that it has.
  render();
  wall.show(deviceIds);
}

function pick(deviceId, isPicked) {
  if (isPicked) picked.add(deviceId);
  else picked.delete(deviceId);
  render();
}

function watchSeveral() {
  const online = (devices.list ?? []).filter(({ isOnline }) => isOnline);
  const wanted = picked.size > 0 ? [...picked] : online.map(({ deviceId }) => deviceId);
  if (wanted.length > 0) choose(wanted);
}

function enlarge(deviceId) {
  wall.enlarge(deviceId);
}

function close(deviceId) {
  const rest = wall.deviceIds.filter((one) => one !== deviceId);
  if (rest.length === 0) end();
  else {
    keepDevices(rest);
    wall.show(rest);
  }
}

/** One step back: from full screen (the browser's own), to all pictures, to the list. */
function back() {
  if (document.fullscreenElement) return;
  if (wall.large !== null) enlarge(null);
  else end();
}

function end() {
  if (view !== View.WATCH) return;
  keepDevices([]);
  if (document.fullscreenElement) document.exitFullscreen();
  view = View.DEVICES;
  wall.end();
  refresh();
}

function takeDigit(number) {
  const shown = view === View.WATCH ? wall.deviceIds : (devices.list ?? []).map((one) => one.deviceId);
  const deviceId = shown[number - 1];
  if (deviceId === undefined) return;
  if (view === View.WATCH) enlarge(deviceId);
  else if (view === View.DEVICES) choose([deviceId]);
}

function tryAgain(deviceId = wall.leading?.tile.deviceId) {
  link.hurry();
  wall.tryAgain(deviceId);
}

/** The viewer looks. */
function hurry() {
  if (view === View.SIGN_IN) return;
  link.hurry();
  wall.hurry();
  refresh();
}

/** What went over the network that was here before may hang without anybody saying so. */
function networkChanged(code) {
  if (view === View.SIGN_IN) return;
  link.renew();
  wall.networkChanged(code);
  refresh();
  render();
}

function refresh() {
  if (link.isActive) devices.refresh();
}

function linkChanged() {
  if (link.state === lastLinkState) return;
  lastLinkState = link.state;
  if (link.state === LinkState.REFUSED) refused();
  // While the server is away there is nothing to ask it.
  else if (link.isActive) devices.start();
  else devices.stop();
  render();
}

function wallChanged(isNews) {
  // A device that begins to serve, or ceases to, has news.
  if (isNews) refresh();
  render();
}

function devicesChanged() {
  if (isUndecided && devices.list !== null) {
    isUndecided = false;
    const online = devices.list.filter(({ isOnline }) => isOnline);
    if (online.length === 1) choose([online[0].deviceId]);
  }
  wall.hear(devices.list ?? []);
  render();
}

function render() {
  // Whoever looks at the list is about to choose.
  if (view === View.DEVICES && devices.list !== null) connections.makeAhead();
  // First what is shown: what nobody sees is not drawn.
  page.renderOverlays(overlays.isOn);
  page.renderFigures({ isOn: areFiguresShown(), hasLarge: !wall.isSideBySide });
  page.render({ view, problem, link, wall, devices, picked, stills, isOnline: isOnline() });
  renderActions();
}

// What can be done with a picture. Fullscreen: an iPhone knows it for videos only.

function toggleFullscreen() {
  const { leading } = wall;
  if (document.fullscreenElement) document.exitFullscreen();
  else if (leading === null) return;
  else if (!document.fullscreenEnabled) leading.tile.stage.video.webkitEnterFullscreen?.();
  else fullscreenFrame(leading).requestFullscreen().catch(() => {});
}

function fullscreenFrame({ tile }) {
  return wall.isSideBySide ? page.wall : tile.frame;
}

function togglePictureInPicture() {
  if (!document.pictureInPictureEnabled) return;
  wall.leading?.tile.stage.togglePictureInPicture().catch(() => {});
}

function snapshot() {
  const { leading } = wall;
  const picture = leading?.tile.stage.picture ?? null;
  if (picture === null) return;
  saveSnapshot(picture, leading.tile.deviceId, new Date());
  page.announce(`A snapshot of ${leading.tile.deviceId} was saved.`);
}

function toggleOverlays() {
  overlays.toggle();
  render();
}

/** Whoever asks for the figures sees them, also if nothing was to lie over the picture before. */
function toggleFigures() {
  if (wall.isSideBySide) return;
  const isOn = !areFiguresShown();
  if (isOn) overlays.set(true);
  figures.set(isOn);
  render();
}

function areFiguresShown() {
  return figures.isOn && overlays.isOn && !wall.isSideBySide;
}

function renderActions() {
  const { leading } = wall;
  const canEnterVideo = leading !== null && 'webkitEnterFullscreen' in leading.tile.stage.video;
  // Side by side, keys are for the picture with the focus; a button could not say which it means.
  const canPick = !wall.isSideBySide;
  page.renderActions({
    canFullscreen: document.fullscreenEnabled || canEnterVideo,
    isFullscreen: document.fullscreenElement !== null,
    canPictureInPicture: canPick && document.pictureInPictureEnabled === true,
    isInPicture: Boolean(document.pictureInPictureElement),
    canSave: canPick && (leading?.tile.stage.picture ?? null) !== null,
  });
}

for (const name of ['fullscreenchange', 'enterpictureinpicture', 'leavepictureinpicture']) {
  document.addEventListener(name, renderActions);
}
document.addEventListener('visibilitychange', () => document.hidden || hurry());
watchNetwork({ onAway: render, onChange: () => networkChanged('network_changed') });
watchSleep({ onWake: () => networkChanged('slept') });
addEventListener('hashchange', () => {
  if (!takeFragment()) return;
  leave();
  begin();
});
addEventListener('pagehide', () => {
  // Told now, the device stops its camera now.
  wall.end();
  link.stop();
  devices.stop();
});
addEventListener('pageshow', (event) => event.persisted && begin());

// Loaded whole: start.js counts anew.
history.replaceState(null, '');
page.renderKeys(keyboard.isOn);
begin();
