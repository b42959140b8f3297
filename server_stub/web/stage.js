/** Where the picture is seen: two video elements take turns, so that a new one never starts black. */

import { deferred } from './waiting.js';

export class Stage {
  #shown;
  #spare;
  #lastPicture;

  /** `lastPicture` is a canvas above the videos. */
  constructor([shown, spare], lastPicture) {
    this.#shown = shown;
    this.#spare = spare;
    this.#lastPicture = lastPicture;
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

  /** Keep the present picture in view: a video turns black when its connection closes. */
  keepLastPicture() {
    const { videoWidth, videoHeight } = this.#shown;
    if (videoWidth === 0) return;
    this.#lastPicture.width = videoWidth;
    this.#lastPicture.height = videoHeight;
    this.#lastPicture.getContext('2d').drawImage(this.#shown, 0, 0);
    this.#lastPicture.hidden = false;
  }

  /** Show nothing. */
  clear() {
    this.#lastPicture.hidden = true;
    forget(this.#shown);
    forget(this.#spare);
  }

  #swap(video, firstFrameMs) {
    this.#lastPicture.hidden = true;
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
