/** Where the picture is seen: two video elements take turns, so that a new one never starts black. */

import { WatchFailure } from './failure.js';
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

  /** What is seen now: a video, or the canvas of the last picture; null if that is nothing. */
  get picture() {
    if (!this.#lastPicture.hidden) return this.#lastPicture;
    return this.#shown.videoWidth > 0 && 'shown' in this.#shown.dataset ? this.#shown : null;
  }

  /** Put the picture into a window of its own, or back. */
  async togglePictureInPicture() {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await this.#shown.requestPictureInPicture();
  }

  /**
   * Play `stream` behind the present picture.
   *
   * `firstPicture` gives the `performance.now()` of its first picture, or throws a WatchFailure if the
   * browser does not play by itself; `show` swaps it to the front; `discard` forgets it.
   */
  prepare(stream) {
    const video = this.#spare;
    video.srcObject = stream;
    const first = Promise.race([firstPicture(video), refusalOf(video.play())]);
    // It may be refused before anybody waits for it.
    first.catch(() => {});
    return {
      firstPicture: first,
      show: (firstFrameMs) => this.#swap(video, firstFrameMs),
      discard: () => {
        if (video.srcObject === stream) forget(video);
      },
    };
  }

  /** Let the videos play from now on. A browser that asks for a click first counts one in which this is called. */
  allow() {
    for (const video of [this.#shown, this.#spare]) video.play().catch(() => {});
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
    const previous = this.#shown;
    [this.#shown, this.#spare] = [video, previous];
    if (document.pictureInPictureElement === previous) {
      // From one to the other no click is needed.
      video.requestPictureInPicture().catch(() => {});
    }
    forget(previous);
  }
}

function forget(video) {
  video.srcObject = null;
  delete video.dataset.firstFrameMs;
  delete video.dataset.shown;
  video.setAttribute('aria-hidden', 'true');
}

/** Throws a WatchFailure if the browser does not let a video play by itself; never resolves. */
async function refusalOf(playing) {
  try {
    await playing;
  } catch ({ name }) {
    // Anything else only says that the video was given another stream meanwhile, or none.
    if (name === 'NotAllowedError') throw new WatchFailure('no_autoplay');
  }
  return deferred().promise;
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
