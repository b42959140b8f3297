/** What the browser knows of its network: whether there is one, and when it is another. */

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
