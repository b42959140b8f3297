/** What the page says of a device: whether it is there, what it tells of itself, what is amiss. Pure. */

const HOT_C = 80;
const WEAK_DBM = -75;
const LOW_BATTERY_PERCENT = 15;
const LITTLE_DISK_MB = 500;
const LITTLE_MEMORY_SHARE = 0.08;
const MUCH_LOAD_PER_CPU = 1.5;
const DAY_MS = 24 * 60 * 60_000;

const CAMERAS = {
  idle: 'camera ready',
  starting: 'camera starting',
  live: 'camera on',
  off: 'camera switched off',
};

/** Say whether a device is there, or since when not. */
export function describeAvailability({ isOnline, lastSeenAtMs }, nowMs) {
  if (isOnline) return 'Online';
  if (lastSeenAtMs === null) return 'Offline, never seen';
  return `Offline since ${describeMoment(lastSeenAtMs, nowMs)}, ${ago(lastSeenAtMs, nowMs)}`;
}

/** Say what a device tells about itself, as a list of short texts; what it does not know is left out. */
export function describePresence({ isOnline, presence }) {
  if (!isOnline) return [];
  const { temperature, battery, viewers, wifi_signal_dbm: signalDbm } = presence;
  return [
    Object.hasOwn(CAMERAS, presence.camera) && CAMERAS[presence.camera],
    presence.recording === true && 'recording',
    isNumber(viewers) && viewers > 0 && `${viewers} ${viewers === 1 ? 'viewer' : 'viewers'}`,
    isNumber(temperature) && `${Math.round(temperature)} °C`,
    isNumber(signalDbm) && `Wi-Fi ${signalWord(signalDbm)} (${Math.round(signalDbm)} dBm)`,
    isNumber(battery) && `battery ${Math.round(battery)} %`,
  ].filter(Boolean);
}

/** Say what is amiss with a device, as a list of sentences: what it is, what it means, what to do. */
export function describeWarnings({ isOnline, presence }) {
  if (!isOnline) return [];
  const { under_voltage: voltage, throttled } = presence;
  return [
    presence.camera === 'error' && cameraFault(presence.camera_problem),
    voltage?.now && 'under-voltage: the picture may stutter; it needs a stronger power supply',
    !voltage?.now && voltage?.since_boot && 'under-voltage since it started: check its power supply',
    throttled?.now && 'throttled: its processor is slowed down, so the picture may stutter',
    !throttled?.now && throttled?.since_boot && 'throttled since it started: by heat or weak power',
    presence.temperature >= HOT_C && 'hot: it will slow itself down; give it air',
    presence.wifi_signal_dbm <= WEAK_DBM && 'weak Wi-Fi: the picture may stutter; move it closer',
    presence.battery <= LOW_BATTERY_PERCENT && 'battery low: it will go offline soon',
    diskWarning(presence),
    memoryWarning(presence),
    presence.load > MUCH_LOAD_PER_CPU * presence.cpu_count && 'busy: the picture may stutter',
    presence.clock_synced === false && 'clock not set: the times that it shows may be wrong',
  ].filter(Boolean);
}

/** Say when something was: its time, and its day unless that is today. */
export function describeMoment(thenMs, nowMs) {
  const then = new Date(thenMs);
  const time = then.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  if (then.toDateString() === new Date(nowMs).toDateString()) return time;
  return `${then.toLocaleDateString([], { day: 'numeric', month: 'short' })}, ${time}`;
}

/** Say how long ago something was. */
export function ago(thenMs, nowMs) {
  const minutes = Math.floor((nowMs - thenMs) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  if (nowMs - thenMs < 2 * DAY_MS) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor((nowMs - thenMs) / DAY_MS)} days ago`;
}

function cameraFault(problem) {
  return problem ? `camera fault: ${problem}` : 'camera fault';
}

function diskWarning({ disk_free_mb: freeMb }) {
  if (!isNumber(freeMb) || freeMb >= LITTLE_DISK_MB) return null;
  return `disk nearly full: ${Math.round(freeMb)} MB left`;
}

function memoryWarning({ memory_available_mb: availableMb, memory_total_mb: totalMb }) {
  if (!isNumber(availableMb) || !(availableMb < LITTLE_MEMORY_SHARE * totalMb)) return null;
  return `memory nearly used up: ${Math.round(availableMb)} MB left`;
}

function signalWord(dbm) {
  if (dbm >= -55) return 'strong';
  if (dbm >= -67) return 'good';
  return dbm > WEAK_DBM ? 'fair' : 'weak';
}

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
