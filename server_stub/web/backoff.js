/** Delays between attempts: they double up to a longest one, with jitter. Pure. */

export class Backoff {
  #attempts = 0;
  #firstMs;
  #longestMs;
  #jitter;
  #random;

  /**
   * `jitter` is the share of each delay that is left to chance: 1 is full jitter, which keeps a
   * crowd of viewers from coming back all at once.
   */
  constructor({ firstMs, longestMs, jitter = 1, random = Math.random }) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#jitter = jitter;
    this.#random = random;
  }

  /** Give the delay before the next attempt, in milliseconds. */
  next() {
    const ceilingMs = Math.min(this.#longestMs, this.#firstMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return ceilingMs * (1 - this.#jitter * this.#random());
  }

  /** True until the first delay was given, and again after `reset`. */
  get isFresh() {
    return this.#attempts === 0;
  }

  /** Start over: the last attempt went well. */
  reset() {
    this.#attempts = 0;
  }
}
