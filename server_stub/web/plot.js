/** A small plot of one figure over the last minute, drawn as SVG, with a text that says the same. */

import { HISTORY_LENGTH } from './history.js';

const NAMESPACE = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [240, 32];

export class Plot {
  #name;
  #write;
  #leastTop;
  #line;
  #area;
  #top;
  #description;

  /**
   * `write(value)` gives a value as people read it; the plot's top is at least `leastTop`, so that
   * little noise stays little.
   */
  constructor({ name, write, leastTop }) {
    this.#name = name;
    this.#write = write;
    this.#leastTop = leastTop;
    this.element = document.createElement('figure');
    this.element.className = 'plot';
    const caption = document.createElement('figcaption');
    caption.textContent = `${name}, last minute`;
    this.#top = document.createElement('span');
    this.#top.setAttribute('aria-hidden', 'true');
    caption.append(this.#top);
    const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
    this.#description = shape('title', {});
    this.#area = shape('path', { class: 'area' });
    this.#line = shape('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' });
    svg.append(this.#description, this.#area, this.#line);
    this.element.append(caption, svg);
  }

  /** Draw `values`, one a second, the newest at the right; null where nothing is known. */
  draw(values) {
    const known = values.filter((value) => value !== null);
    const top = Math.max(this.#leastTop, ...known);
    const start = HISTORY_LENGTH - values.length;
    const stretches = [[]];
    values.forEach((value, index) => {
      if (value === null) stretches.push([]);
      else stretches.at(-1).push([place(start + index), HEIGHT * (1 - Math.max(0, value) / top)]);
    });
    const drawn = stretches.filter((points) => points.length > 0);
    this.#line.setAttribute('d', drawn.map(lineOf).join(''));
    this.#area.setAttribute('d', drawn.map(areaOf).join(''));
    this.#top.textContent = `up to ${this.#write(top)}`;
    this.#description.textContent = this.#describe(known, values.length);
  }

  #describe(known, seconds) {
    if (known.length === 0) return `${this.#name}: not known`;
    const [least, most] = [Math.min(...known), Math.max(...known)].map(this.#write);
    const latest = this.#write(known.at(-1));
    return `${this.#name} in the last ${seconds} s: ${least} to ${most}, at last ${latest}`;
  }
}

function place(index) {
  return (WIDTH * index) / (HISTORY_LENGTH - 1);
}

/** A single value is a short stroke, or nothing would be seen of it. */
function lineOf(points) {
  const [[x, y]] = points;
  const rest = points.length === 1 ? `h${place(1) / 2}` : points.slice(1).map(to).join('');
  return `M${at([x, y])}${rest}`;
}

function areaOf(points) {
  return `M${at([points[0][0], HEIGHT])}${points.map(to).join('')}L${at([points.at(-1)[0], HEIGHT])}Z`;
}

const to = (point) => `L${at(point)}`;
const at = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;

function shape(name, attributes) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
