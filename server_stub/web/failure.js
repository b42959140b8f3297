/** Why a watch session cannot go on, and whether trying again can help. Pure. */

import { WATCH_END_REASONS } from './messages.js';

/** By the texts of the server's errors, as the protocol lists them. */
const CODES = {
  'Device not found': 'device_not_found',
  'Device is offline': 'device_offline',
  'Invalid token': 'invalid_token',
  'Session not found': 'session_not_found',
  Unauthorized: 'unauthorized',
};

const KNOWN_TO_SERVER = new Set([...WATCH_END_REASONS, 'session_not_found', 'not_connected']);

/** Here what the server or the media went over may be gone: another way may be there already. */
const OF_THE_NETWORK = new Set([
  'frozen',
  'network_changed',
  'no_reply',
  'path_lost',
  'slept',
  'viewer_disconnected',
]);

/** Here the next session comes at once, and there is nothing to tell. */
const SILENT = new Set(['link_lost', 'resized']);

/** Here somebody has to do something first; everything else may heal by itself. */
const NEEDS_A_PERSON = new Set([
  'device_not_found',
  'invalid_token',
  'unauthorized',
  'user_ended',
  'no_webrtc',
  'no_h264',
  'no_autoplay',
]);

export class WatchFailure extends Error {
  /** `code` is a key of FAILURES in words.js; `detail` is a text by somebody else, for the viewer. */
  constructor(code, detail = undefined) {
    super(code);
    this.code = code;
    this.detail = detail;
  }

  /** Make a failure of an `error` message's text. */
  static fromError(text) {
    const code = Object.hasOwn(CODES, text) ? CODES[text] : 'refused';
    return new WatchFailure(code, code === 'refused' ? text : undefined);
  }

  /** True if the server said that the session is over, and needs no telling. */
  get isKnownToServer() {
    return KNOWN_TO_SERVER.has(this.code);
  }

  get isOfTheNetwork() {
    return OF_THE_NETWORK.has(this.code);
  }

  /** True if what was is another now: there is nothing to wait for. */
  get isAChange() {
    return this.code === 'network_changed' || this.code === 'slept';
  }

  get isSilent() {
    return SILENT.has(this.code);
  }

  get healsByItself() {
    return !NEEDS_A_PERSON.has(this.code);
  }
}
