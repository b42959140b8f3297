/** Waiting for something, for a time, or for somebody to lose patience. */

/** A promise with its `resolve` and `reject` beside it. */
export function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((accept, refuse) => {
    resolve = accept;
    reject = refuse;
  });
  return { promise, resolve, reject };
}

/** Give what `promise` gives; throw `late()` if that takes longer than `deadlineMs`. */
export async function within(deadlineMs, promise, late) {
  const timeUp = deferred();
  const timer = setTimeout(() => timeUp.reject(late()), deadlineMs);
  try {
    return await Promise.race([promise, timeUp.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolve after `durationMs` (null: never) or as soon as `woken` does; throw once `signal` aborts. */
export async function pause(durationMs, woken, signal) {
  const timeUp = deferred();
  const timer = durationMs === null ? undefined : setTimeout(timeUp.resolve, durationMs);
  try {
    await Promise.race([timeUp.promise, woken, aborted(signal)]);
  } finally {
    clearTimeout(timer);
  }
}

/** Throw once `signal` aborts. */
export function aborted(signal) {
  return new Promise((_, refuse) => {
    if (signal.aborted) refuse(signal.reason);
    signal.addEventListener('abort', () => refuse(signal.reason), { once: true });
  });
}
