/** The wire protocol, as a viewer speaks it: builds what goes out, checks what comes in. Pure. */

/** A text that is no message for viewers; it is dropped and the link stays. */
export class MalformedMessage extends Error {}

export const WATCH_END_REASONS = Object.freeze([
  'viewer_disconnected',
  'user_ended',
  'timeout',
  'error',
  'device_disconnected',
]);

/** Write one message as JSON. */
export function encode(type, payload, requestId) {
  const message = { type, ts: new Date().toISOString(), payload };
  if (requestId !== undefined) message.request_id = requestId;
  return JSON.stringify(message);
}

/**
 * Read one message: `{type, requestId, payload}`, with every field checked that is used later.
 *
 * Throws MalformedMessage; its text names the field and quotes no value.
 */
export function decode(text) {
  const message = parse(text);
  expect(isObject(message), 'message', 'an object');
  const read = Object.hasOwn(PAYLOADS, message.type) ? PAYLOADS[message.type] : undefined;
  expect(read, 'type', 'known here');
  expect(isText(message.ts), 'ts', 'an ISO 8601 text');
  expect(isObject(message.payload), 'payload', 'an object');
  const requestId = isText(message.request_id) ? message.request_id : undefined;
  return { type: message.type, requestId, payload: read(message.payload) };
}

const PAYLOADS = {
  hello_ack: (payload) => ({ userId: text(payload, 'user_id') }),
  heartbeat_ack: () => ({}),
  watch_ready: (payload) => ({
    sessionId: text(payload, 'session_id'),
    iceServers: readIceServers(payload.ice_servers),
  }),
  signal_answer: (payload) => ({
    sessionId: text(payload, 'session_id'),
    answer: readAnswer(payload.sdp),
  }),
  signal_ice: (payload) => ({
    sessionId: text(payload, 'session_id'),
    candidate: readCandidate(payload.candidate),
  }),
  watch_ended: (payload) => ({
    sessionId: text(payload, 'session_id'),
    reason: readReason(payload),
    message: isText(payload.message) ? payload.message : undefined,
  }),
  session_report: (payload) => ({
    sessionId: text(payload, 'session_id'),
    rung: text(payload, 'rung'),
    reason: text(payload, 'reason'),
    bitrateBps: number(payload, 'bitrate_bps'),
  }),
  error: (payload) => ({ message: text(payload, 'message') }),
};

function readIceServers(servers = []) {
  expect(Array.isArray(servers), 'ice_servers', 'a list');
  return servers.map((server) => {
    expect(isObject(server), 'ice_servers', 'a list of objects');
    const urls = [server.urls].flat();
    expect(urls.length > 0 && urls.every(isText), 'ice_servers.urls', 'a text or a list of texts');
    const { username, credential } = server;
    return username === undefined ? { urls } : { urls, username, credential };
  });
}

function readAnswer(answer) {
  expect(isObject(answer) && answer.type === 'answer', 'sdp.type', 'answer');
  return { type: 'answer', sdp: text(answer, 'sdp') };
}

/** Null and an empty candidate both mean that there are no more; it becomes null here. */
function readCandidate(candidate) {
  if (candidate === null) return null;
  expect(isObject(candidate), 'candidate', 'an object or null');
  expect(isText(candidate.candidate), 'candidate.candidate', 'a text');
  return candidate.candidate === '' ? null : candidate;
}

/** A reason that a newer server invented counts as `error`: the session ends all the same. */
function readReason(payload) {
  const reason = text(payload, 'reason');
  return WATCH_END_REASONS.includes(reason) ? reason : 'error';
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new MalformedMessage('not JSON');
  }
}

function text(payload, name) {
  expect(isText(payload[name]), name, 'a text');
  return payload[name];
}

function number(payload, name) {
  expect(Number.isFinite(payload[name]), name, 'a number');
  return payload[name];
}

function expect(holds, name, what) {
  if (!holds) throw new MalformedMessage(`${name}: should be ${what}`);
}

const isText = (value) => typeof value === 'string';
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
