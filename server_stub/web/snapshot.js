/** The picture of now as a file. */

/** Name a snapshot after its device and its local time, with nothing that a file system minds. */
export function snapshotName(deviceId, date) {
  const two = (number) => String(number).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join('-');
  const name = deviceId.replace(/[^\p{L}\p{N}._-]+/gu, '_').slice(0, 64);
  return `${name}-${day}T${time}.png`;
}

/** Let the browser save `picture`, a video or a canvas, in its full size. */
export async function saveSnapshot(picture, deviceId, date) {
  const blob = await new Promise((resolve) => copyOf(picture).toBlob(resolve, 'image/png'));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = snapshotName(deviceId, date);
  link.click();
  // The browser has read it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Draw a picture into a new canvas, no wider than `widthPx`. */
export function copyOf(picture, widthPx = Infinity) {
  const width = picture.videoWidth ?? picture.width;
  const height = picture.videoHeight ?? picture.height;
  const scale = Math.min(1, widthPx / width);
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}
