/**
 * The viewer's token: comes in the URL's fragment, which no server sees, and lives as long as the tab.
 */

const TOKEN = 'camagent.token';
const DEVICES = 'camagent.devices';

// Where storage is forbidden, a reload forgets; the page works all the same.
const memory = new Map();

/**
 * Take `#token=…&device=…` out of the address bar, so that it is in no history and no screenshot.
 *
 * Several devices are watched side by side. Returns true if there was something to take.
 */
export function takeFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get('token');
  const deviceIds = fragment.getAll('device').filter(Boolean);
  if (!token && deviceIds.length === 0) return false;
  if (token) store(TOKEN, token.trim());
  keepDevices(deviceIds);
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

export const readToken = () => load(TOKEN);
export const keepToken = (token) => store(TOKEN, token);

/** The devices that a reload goes on watching. */
export const readDevices = () => [...new Set((load(DEVICES) ?? '').split('\n').filter(Boolean))];
export const keepDevices = (deviceIds) => store(DEVICES, deviceIds.join('\n'));

function load(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

function store(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    memory.set(name, value || null);
  }
}
