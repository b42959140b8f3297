/** Wires the page together: what each part tells goes to one render, what the viewer does to its part. */

import { Connections } from './connections.js';
import { Devices } from './devices.js';
import { Link, LinkState, linkUrl } from './link.js';
import { isOnline, watchNetwork } from './network.js';
import { Page, View } from './page.js';
import { Stage } from './stage.js';
import { keepDevice, keepToken, readDevice, readToken, takeFragment } from './token.js';
import { Watch } from './watch.js';
import { TOKEN_REFUSED } from './words.js';

const page = new Page({ signIn, signOut, watch: choose, end, tryAgain, toggleFullscreen });
const stage = new Stage(page.videos, page.lastPicture);
const connections = new Connections();

let view = View.SIGN_IN;
let problem = null;
/** True until the first list of devices, or the viewer, has decided what to watch. */
let isUndecided = true;
/** Whether the watched device was online when the list came last. */
let wasOnline = false;
let lastLinkState = null;
let lastPicture = null;
let { link, watch, devices } = partsFor('');

/** Make the parts that know the viewer's token. */
function partsFor(token) {
  const link = new Link({ url: linkUrl(location), token, onChange: linkChanged });
  const watch = new Watch({ link, connections, stage, onChange: watchChanged });
  const devices = new Devices({ token, onChange: devicesChanged, onRefused: refused });
  return { link, watch, devices };
}

function begin() {
  takeFragment();
  const token = readToken();
  if (token) open(token);
  else render();
}

function open(token) {
  ({ link, watch, devices } = partsFor(token));
  problem = null;
  const deviceId = readDevice();
  isUndecided = deviceId === null;
  view = View.DEVICES;
  link.start();
  if (deviceId === null) render();
  else choose(deviceId);
}

function signIn(token) {
  if (!token) return;
  keepToken(token);
  open(token);
}

function signOut() {
  leave();
  keepToken(null);
  keepDevice(null);
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
  watch.end();
  link.stop();
  devices.stop();
  view = View.SIGN_IN;
}

function choose(deviceId) {
  isUndecided = false;
  wasOnline = false;
  keepDevice(deviceId);
  watch.start(deviceId);
  view = View.WATCH;
  render();
}

function end() {
  if (view !== View.WATCH) return;
  keepDevice(null);
  if (document.fullscreenElement) document.exitFullscreen();
  view = View.DEVICES;
  watch.end();
  refresh();
}

function tryAgain() {
  link.hurry();
  watch.tryAgain();
}

/** The viewer looks. */
function hurry() {
  if (view === View.SIGN_IN) return;
  link.hurry();
  watch.hurry();
  refresh();
}

/** What went over the network that was here before may hang without anybody saying so. */
function networkChanged() {
  if (view === View.SIGN_IN) return;
  link.renew();
  watch.networkChanged();
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

function watchChanged() {
  const { picture } = watch.view;
  // A device that begins to serve, or ceases to, has news.
  if (picture !== lastPicture) refresh();
  lastPicture = picture;
  render();
}

function devicesChanged() {
  if (isUndecided && devices.list !== null) {
    isUndecided = false;
    const online = devices.list.filter(({ isOnline }) => isOnline);
    if (online.length === 1) choose(online[0].deviceId);
  }
  const wanted = devices.list?.find(({ deviceId }) => deviceId === watch.view.deviceId);
  const isOnline = wanted?.isOnline === true;
  if (isOnline && !wasOnline) watch.hurry();
  wasOnline = isOnline;
  render();
}

function render() {
  // Whoever looks at the list is about to choose.
  if (view === View.DEVICES && devices.list !== null) connections.makeAhead();
  page.render({ view, problem, link, watch: watch.view, devices, isOnline: isOnline() });
}

// Fullscreen: an iPhone knows it for videos only.

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (document.fullscreenEnabled) page.stage.requestFullscreen().catch(() => {});
  else stage.video.webkitEnterFullscreen?.();
}

function renderFullscreen() {
  const isPossible = document.fullscreenEnabled || 'webkitEnterFullscreen' in stage.video;
  page.renderFullscreen({ isPossible, isOn: document.fullscreenElement !== null });
}

document.addEventListener('fullscreenchange', renderFullscreen);
document.addEventListener('keydown', (event) => {
  // In fullscreen, Escape is the browser's.
  if (event.key === 'Escape' && !document.fullscreenElement && !event.defaultPrevented) end();
});
document.addEventListener('visibilitychange', () => document.hidden || hurry());
watchNetwork({ onAway: render, onChange: networkChanged });
addEventListener('hashchange', () => {
  if (!takeFragment()) return;
  leave();
  begin();
});
addEventListener('pagehide', () => {
  // Told now, the device stops its camera now.
  watch.end();
  link.stop();
  devices.stop();
});
addEventListener('pageshow', (event) => event.persisted && begin());

renderFullscreen();
begin();
