"""The timestamp cells of a picture (camagent/media/timestamp.py), as a page's JavaScript reads them."""

CELLS_READER = """(video) => {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  return () => {
    const [width, row] = [video.videoWidth, 2];
    [canvas.width, canvas.height] = [width, 1];
    context.drawImage(video, 0, row, width, 1, 0, 0, width, 1);
    const pixels = context.getImageData(0, 0, width, 1).data;
    const cell = Math.floor(width / 64);
    let bits = 0n;
    for (let index = 0; index < 64; index += 1) {
      const level = pixels[4 * (index * cell + (cell >> 1))];
      if (level > 90 && level < 165) return null;
      bits = bits << 1n | (level > 127 ? 1n : 0n);
    }
    return Number(bits) / 1000;
  };
}"""
"""Makes of a video what gives when its picture was captured, in ms of Unix time; null if illegible."""
