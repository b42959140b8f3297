/** What the page says: every state and every failure, in plain words. Pure. */

import { LinkState } from './link.js';
import { ago, describeMoment } from './presence.js';
import { WatchState } from './session.js';

const PROGRESS = {
  [WatchState.REQUESTED]: 'Asking the camera…',
  [WatchState.READY]: 'Asking the camera…',
  [WatchState.CONNECTING]: 'Asking the camera…',
  [WatchState.OFFER_SENT]: 'Asking the camera…',
  [WatchState.ANSWER_RECEIVED]: 'Connecting…',
  [WatchState.ICE_GATHERING]: 'Connecting…',
  [WatchState.CONNECTED]: 'Waiting for the first picture…',
};

/** Of each failure: what happened, and what that means or what to do. */
const FAILURES = {
  // What the server answers.
  device_not_found: (device) => [
    `There is no camera called “${device}”.`,
    'Check the link that you were given.',
  ],
  device_offline: () => ['The camera is offline.', 'The picture starts as soon as it is back.'],
  unauthorized: () => [
    'You may not watch this camera.',
    'Whoever runs the server can give you access to it.',
  ],
  invalid_token: () => ['The server does not accept your token any more.', 'Sign in again.'],
  session_not_found: () => ['The server has ended this session.', ''],
  refused: () => ['The server refused the request.', ''],
  // How the server or the camera ends a session.
  viewer_disconnected: () => ['The camera lost the connection to this browser.', ''],
  user_ended: () => ['Somebody ended this session.', 'Try again if that was not you.'],
  timeout: () => ['The session reached its time limit.', ''],
  error: () => ['The camera cannot show a picture right now.', ''],
  device_disconnected: () => [
    'The camera lost its connection to the server.',
    'The picture starts again as soon as it is back.',
  ],
  // What took too long.
  no_reply: () => ['The server did not answer within 15 seconds.', ''],
  no_answer: () => [
    'The camera did not answer within 15 seconds.',
    'It may be busy, or its connection may be slow.',
  ],
  no_picture: () => [
    'The camera is connected, but no picture came within 15 seconds.',
    'It may be starting, or its connection may be too slow for video.',
  ],
  frozen: () => ['The picture stopped.', 'No new picture came for 5 seconds.'],
  // What keeps the two ends apart.
  no_path: () => [
    'No way to the camera was found.',
    'The server’s TURN relay answers here, so check that the camera can reach it too.',
  ],
  no_path_no_turn: () => [
    'No way to the camera was found.',
    'The two networks do not let video through directly, and the server offers no TURN relay. ' +
      'Whoever runs the server can set one up.',
  ],
  no_path_turn_silent: () => [
    'No way to the camera was found.',
    'The TURN relay did not answer. Check that it runs, and that no firewall blocks its ports.',
  ],
  not_connected: () => ['The connection to the camera did not come about.', ''],
  network_changed: () => ['Your network has changed.', 'Connecting to the camera again.'],
  slept: () => ['This computer was asleep.', 'Connecting to the camera again.'],
  path_lost: () => ['The connection to the camera broke.', ''],
  bad_answer: () => ['This browser cannot use the camera’s answer.', ''],
  bad_ice_servers: () => [
    'This browser cannot use the server’s list of TURN and STUN servers.',
    'Whoever runs the server should check it.',
  ],
  // What this browser is.
  no_webrtc: () => [
    'This browser cannot show live video.',
    'It has no WebRTC, or WebRTC is switched off. Any current browser has it.',
  ],
  no_h264: () => [
    'This browser cannot show the camera’s video.',
    'It lacks H.264. Try Chrome, Edge, Safari or Firefox; on Linux, a build with its codecs.',
  ],
  no_autoplay: () => ['Your browser does not play video by itself.', 'Press “Try again” to see the picture.'],
  unexpected: () => ['Something went wrong in this page.', ''],
};

/** Of each failure that is over: what had happened. */
const PAST = {
  device_offline: 'The camera had been offline.',
  device_disconnected: 'The camera had lost its connection to the server.',
  error: 'The camera had had no picture to show.',
  frozen: 'Nothing had come through.',
  link_lost: 'The server had been out of reach.',
  network_changed: 'Your network had changed.',
  path_lost: 'The way to the camera had broken.',
  slept: 'This computer had been asleep.',
  timeout: 'The session had reached its time limit.',
  viewer_disconnected: 'The way to the camera had broken.',
};
/** A picture that was away for less was hardly missed. */
const WORTH_TELLING_MS = 1500;

/** A longer text is not read at a glance: its gist is shown, and the whole for whoever wishes. */
const LONGEST_GLANCE = 140;

/** What a failure's own text is introduced by. */
const SOURCES = {
  not_connected: 'The camera says: ',
  refused: 'It says: ',
  timeout: 'The camera says: ',
  error: 'The camera says: ',
  viewer_disconnected: 'The camera says: ',
  bad_answer: 'The browser says: ',
  bad_ice_servers: 'The browser says: ',
  unexpected: 'The browser says: ',
};

const LINKS = {
  [LinkState.STOPPED]: 'Not connected',
  [LinkState.CONNECTING]: 'Connecting…',
  [LinkState.ACTIVE]: 'Connected',
  [LinkState.WAITING]: 'Server unreachable',
  [LinkState.REFUSED]: 'Signed out',
};

export const TOKEN_REFUSED =
  'The server did not accept this token. It may have expired, or be incomplete. ' +
  'Ask for a new one and sign in again.';

/** Say how it goes with the server; while attempts fail, each of them is no news. */
export function describeLink({ state, failures }) {
  const isAnotherAttempt = state === LinkState.CONNECTING && failures > 0;
  return LINKS[isAnotherAttempt ? LinkState.WAITING : state];
}

/**
 * Say how the watch goes: `{title, seen, advice, details, isBusy, retryAtMs, mayTryAgain}`, or null while
 * a moving picture says it all. `seen` is when the device was last there, or empty: to be read, for
 * it changes by the minute. `details` is what else there is to read, or empty. `device` is what the
 * server's list has of it, if anything.
 */
export function describeWatch(link, watch, { isOnline, device, nowMs }) {
  if (watch.picture === 'moving') return null;
  if (!isOnline && !(link.isActive && watch.failure === null)) return describeOffline(link, watch);
  if (!link.isActive) return describeAbsence(link);
  if (watch.failure !== null) return describeFailure(watch, device, nowMs);
  return busy(PROGRESS[watch.watchState] ?? 'Asking the camera…');
}

/** Say what is amiss although the picture moves; an empty text if nothing is. */
export function describeNotice(link, watch) {
  if (watch.picture !== 'moving') return '';
  if (watch.isInterrupted) return 'The connection to the camera is interrupted…';
  if (!link.isActive) return 'Reconnecting to the server… the picture goes on.';
  if (watch.failure !== null) return `${noticeOf(watch.failure, watch)} The picture goes on.`;
  if (watch.isResizing) return 'Getting a picture of another size…';
  const isSettled = watch.watchState === WatchState.STREAMING;
  if (!isSettled) return 'Renewing the connection… the picture goes on.';
  return watch.comeback === null ? '' : describeComeback(watch.comeback);
}

/** Say what the list of devices is about, or why there is none. */
export function describeList(link, list, hasFailed) {
  if (!link.isActive && link.failures > 0) {
    return 'The server cannot be reached. The page goes on by itself.';
  }
  if (hasFailed) return 'The list of cameras could not be loaded. Trying again…';
  if (list === null) return 'Looking for cameras…';
  if (list.length === 1) return 'Choose the camera to watch it.';
  if (list.length > 0) return 'Choose a camera to watch, or several to see side by side.';
  return 'There is no camera for you yet. Whoever runs the server can give you access to one.';
}

/** Say for the ear what the picture's view shows: what has just become true of it. */
export function describeAloud(status, notice) {
  if (status !== null) return [status.title, status.advice].filter(Boolean).join(' ');
  return notice || 'The picture is live.';
}

/** Say which camera is seen and how, for the window's title; of several, how many. */
export function describeTitle(watch, count) {
  if (watch.deviceId === null) return 'camagent';
  if (count > 1) return `${count} cameras – camagent`;
  const words = { moving: 'live', still: 'stopped', none: 'connecting' };
  return `${watch.deviceId} – ${words[watch.picture]} – camagent`;
}

/** Say in a line what the picture is made of. */
export function describeFigures({ figures, firstFrameMs }) {
  if (figures === null) return '';
  const { widthPx, heightPx, fps, bitrateBps, path } = figures;
  const parts = [
    widthPx && `${widthPx} × ${heightPx}`,
    fps !== null && `${Math.round(fps)} fps`,
    bitrateBps !== null && bitrate(bitrateBps),
    path,
    firstFrameMs !== null && `first picture after ${(firstFrameMs / 1000).toFixed(2)} s`,
  ];
  return parts.filter(Boolean).join(' · ');
}

/** Say how long it is until `retryAtMs`. */
export function describeCountdown(retryAtMs, nowMs) {
  const seconds = Math.ceil((retryAtMs - nowMs) / 1000);
  return seconds > 0 ? `Trying again in ${seconds} s` : 'Trying again…';
}

/** A camera whose picture is there is not offline to a person, only out of the server's reach. */
function noticeOf(failure, { deviceId }) {
  const code = failure.code === 'device_offline' ? 'device_disconnected' : failure.code;
  return textsOf(code, deviceId)[0];
}

function describeAbsence(link) {
  if (link.failures === 0) return busy('Connecting to the server…');
  return {
    title: 'The server cannot be reached.',
    seen: '',
    advice: 'Check your network. The page goes on by itself.',
    details: '',
    isBusy: link.state === LinkState.CONNECTING,
    retryAtMs: link.retryAtMs,
    mayTryAgain: true,
  };
}

function describeOffline(link, watch) {
  return {
    title: 'You are offline.',
    seen: '',
    advice: 'The picture comes back by itself as soon as there is a network.',
    details: '',
    isBusy: false,
    retryAtMs: link.retryAtMs ?? watch.retryAtMs,
    mayTryAgain: true,
  };
}

function describeComeback({ code, awayMs }) {
  const past = PAST[code] ?? '';
  if (awayMs < WORTH_TELLING_MS) return `Connected again. ${past}`.trim();
  return `The picture is back after ${describeSpan(awayMs)}. ${past}`.trim();
}

function describeSpan(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

function describeFailure(watch, device, nowMs) {
  const [title, advice, details] = failureTexts(watch);
  const seen = lastSeen(watch, device, nowMs);
  const isTrying = watch.failure.healsByItself && watch.retryAtMs === null;
  const { retryAtMs } = watch;
  return { title, seen, advice, details, isBusy: isTrying, retryAtMs, mayTryAgain: true };
}

function lastSeen({ failure }, device, nowMs) {
  const seenAtMs = device?.isOnline === false ? device.lastSeenAtMs : null;
  if (failure.code !== 'device_offline' || seenAtMs === null) return '';
  return `It was last seen at ${describeMoment(seenAtMs, nowMs)}, ${ago(seenAtMs, nowMs)}.`;
}

function failureTexts({ failure, deviceId }) {
  const [title, advice] = textsOf(failure.code, deviceId);
  if (!failure.detail) return [title, advice, ''];
  const told = sentence(failure.detail);
  const gist = `${SOURCES[failure.code] ?? ''}${gistOf(told)}`;
  return [title, [advice, gist].filter(Boolean).join(' '), gistOf(told) === told ? '' : told];
}

/** Shorten a long text to its last part, where a camera says what to check after what it found. */
function gistOf(text) {
  if (text.length <= LONGEST_GLANCE) return text;
  const last = text.slice(text.lastIndexOf(': ') + 1).trim();
  if (last.length <= LONGEST_GLANCE) return last;
  return `${text.slice(0, LONGEST_GLANCE).replace(/\s+\S*$/, '')}…`;
}

function textsOf(code, deviceId) {
  return (FAILURES[code] ?? FAILURES.unexpected)(deviceId);
}

function busy(title) {
  const rest = { seen: '', advice: '', details: '', retryAtMs: null, mayTryAgain: false };
  return { title, isBusy: true, ...rest };
}

function sentence(text) {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

function bitrate(bps) {
  return bps < 1e6 ? `${Math.round(bps / 1e3)} kbit/s` : `${(bps / 1e6).toFixed(1)} Mbit/s`;
}
