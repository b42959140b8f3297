/** The live figures over the picture: what it is made of, how late it is, and why it is as it is. */

import { Plot } from './plot.js';

const RUNGS = { main: 'full picture', low: 'small picture', stills: 'stills only' };
/** What the camera gives as reasons; another one is shown as it is. */
const REASONS = {
  start: 'it has just begun',
  growing: 'trying for more',
  'a try': 'trying whether more gets through',
  'the ceiling': 'the network takes all there is',
  'the viewer\'s estimate': 'this browser finds the network slower',
};
/** The stages on the way to the first picture, as Statistics names them. */
const STAGES = [
  ['ready', 'server'],
  ['offer_sent', 'offer'],
  ['answer_received', 'answer'],
  ['ice', 'ICE'],
  ['dtls', 'DTLS'],
  ['first_frame', 'first picture'],
];

/** Each figure: how it is called in the document, and for people, and what is said of it. */
const FIGURES = [
  ['latency', 'Capture to display', describeLatency],
  ['size', 'Picture', ({ widthPx, heightPx }) => (widthPx ? `${widthPx} × ${heightPx}` : null)],
  ['rate', 'Frame rate', ({ fps }) => known(fps, () => `${Math.round(fps)} fps`)],
  ['bitrate', 'Bitrate', ({ bitrateBps }) => known(bitrateBps, bitrate)],
  ['loss', 'Packets lost', ({ lossShare }) => known(lossShare, percent)],
  ['round-trip', 'Round trip', ({ roundTripMs }) => known(roundTripMs, milliseconds)],
  ['buffer', 'Jitter buffer', ({ jitterBufferMs }) => known(jitterBufferMs, milliseconds)],
  ['freezes', 'Freezes', describeFreezes],
  ['path', 'Path', ({ path, pathDetail }) => known(path, () => `${path} (${pathDetail})`)],
  ['rung', 'Rung', describeRung],
  ['first', 'First picture', describeStages],
];

/**
 * Fill `element` with the figures.
 *
 * `show(figures)` takes what Statistics reads, or null when there is nothing to read: then nothing
 * is seen, but the room is kept. What nobody sees is not drawn.
 */
export function mountFigures(element) {
  const list = document.createElement('dl');
  const values = new Map(FIGURES.map(([name, title]) => [name, addFigure(list, name, title)]));
  const plots = {
    bitrateBps: new Plot({ name: 'Bitrate', write: bitrate, leastTop: 100_000 }),
    lossShare: new Plot({ name: 'Packets lost', write: percent, leastTop: 0.05 }),
    latencyMs: new Plot({ name: 'Latency', write: milliseconds, leastTop: 100 }),
  };
  element.replaceChildren(list, ...Object.values(plots).map((plot) => plot.element));
  let drawn = null;
  return {
    show(figures) {
      element.dataset.known = figures !== null;
      if (figures === null || figures === drawn || element.offsetParent === null) return;
      drawn = figures;
      for (const [name, , describe] of FIGURES) say(values.get(name), describe(figures) ?? '–');
      for (const [name, plot] of Object.entries(plots)) plot.draw(figures.history[name]);
    },
  };
}

function describeLatency({ latencyMs, doubtMs }) {
  if (latencyMs === null) return null;
  // Below a millisecond there is nothing to doubt.
  return doubtMs < 1 ? milliseconds(latencyMs) : `${milliseconds(latencyMs)} ± ${milliseconds(doubtMs)}`;
}

function describeFreezes({ freezes, frozenMs }) {
  if (freezes === null) return null;
  return freezes === 0 ? 'none' : `${freezes}, ${(frozenMs / 1000).toFixed(1)} s in all`;
}

function describeRung({ told }) {
  if (told === null) return null;
  const rung = Object.hasOwn(RUNGS, told.rung) ? RUNGS[told.rung] : told.rung;
  const reason = Object.hasOwn(REASONS, told.reason) ? REASONS[told.reason] : told.reason;
  return `${rung}, up to ${bitrate(told.bitrateBps)}: ${reason}`;
}

function describeStages({ stages }) {
  const parts = STAGES.filter(([stage]) => stage in stages).map(([stage, name]) => {
    return `${name} ${Math.round(stages[stage])}`;
  });
  return parts.length === 0 ? null : `${parts.join(' · ')} ms`;
}

function known(value, write) {
  return value === null ? null : write(value);
}

function bitrate(bps) {
  return bps < 1e6 ? `${Math.round(bps / 1e3)} kbit/s` : `${(bps / 1e6).toFixed(1)} Mbit/s`;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function milliseconds(ms) {
  return `${Math.round(ms)} ms`;
}

function addFigure(list, name, title) {
  const [term, value] = [document.createElement('dt'), document.createElement('dd')];
  term.textContent = title;
  value.dataset.figure = name;
  list.append(term, value);
  return value;
}

function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
