/** Where the picture is seen: two video elements take turns, so that a new one never starts black. */

import { deferred } from './waiting.js';

export class Stage {
  #shown;
  #spare;

  constructor([shown, spare]) {
    this.#shown = shown;
    this.#spare = spare;
  }

  /** The element that shows the picture. */
  get video() {
    return this.#shown;
  }

  /**
   * Play `stream` behind the present picture.
   *
   * `firstPicture` gives the `performance.now()` of its first picture; `show` swaps it to the
   * front; `discard` forgets it.
   */
  prepare(stream) {
    const video = this.#spare;
    video.srcObject = stream;
    // A refused autoplay shows as a first picture that does not come.
    video.play().catch(() => {});
    return {
      firstPicture: firstPicture(video),
      show: (firstFrameMs) => this.#swap(video, firstFrameMs),
      discard: () => {
        if (video.srcObject === stream) forget(video);
      },
    };
  }

  /** Show nothing. */
  clear() {
    forget(this.#shown);
    forget(this.#spare);
  }

  #swap(video, firstFrameMs) {
    video.dataset.firstFrameMs = Math.round(firstFrameMs);
    video.dataset.shown = '';
    video.removeAttribute('aria-hidden');
    this.#spare = this.#shown;
    this.#shown = video;
    forget(this.#spare);
  }
}

function forget(video) {
  video.srcObject = null;
  delete video.dataset.firstFrameMs;
  delete video.dataset.shown;
  video.setAttribute('aria-hidden', 'true');
}

function firstPicture(video) {
  const { promise, resolve } = deferred();
  const seen = () => resolve(performance.now());
  if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(seen);
  // A page in the background paints nothing, and an old browser has no such callback.
  const canTell = () => !document.hidden && 'requestVideoFrameCallback' in video;
  video.addEventListener('loadeddata', () => canTell() || seen(), { once: true });
  return promise;
}
