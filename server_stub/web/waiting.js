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
    await unlessAborted(signal, Promise.race([timeUp.promise, woken]));
  } finally {
    clearTimeout(timer);
  }
}

/** Give what `promise` gives; throw once `signal` aborts. */
export async function unlessAborted(signal, promise) {
  signal.throwIfAborted();
  const gone = deferred();
  const abort = () => gone.reject(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    return await Promise.race([promise, gone.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
