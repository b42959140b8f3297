/** What the browser knows of its network and of time: when another network is there, and a sleep over. */

const TICK_MS = 1000;
/** A page that is seen runs at least so often … */
const LONGEST_TICK_MS = 10_000;
/** … and one in the background at least so often, give or take. */
const LONGEST_HIDDEN_TICK_MS = 90_000;

export const isOnline = () => navigator.onLine;

/** Call `onAway()` when the network goes, and `onChange()` when there is one again or another. */
export function watchNetwork({ onAway, onChange }) {
  addEventListener('offline', onAway);
  addEventListener('online', onChange);
  // Not every browser has it, and it tells of estimates far more often than of another network.
  const { connection } = navigator;
  let type = connection?.type;
  connection?.addEventListener?.('change', () => {
    if (connection.type === type) return;
    type = connection.type;
    if (type !== 'none') onChange();
  });
}

/** Call `onWake()` when time has jumped: the computer slept, and no browser says so. */
export function watchSleep({ onWake }) {
  let lastMs = Date.now();
  let wasHidden = document.hidden;
  setInterval(() => {
    const nowMs = Date.now();
    const isHidden = wasHidden || document.hidden;
    const hasSlept = nowMs - lastMs > (isHidden ? LONGEST_HIDDEN_TICK_MS : LONGEST_TICK_MS);
    lastMs = nowMs;
    wasHidden = document.hidden;
    if (hasSlept) onWake();
  }, TICK_MS);
}
