// The last minute of one figure as a line.

const SAMPLES_MAX = 60;
const SAMPLE_EVERY_MS = 1000;
// A flat line of a small figure should look flat.
const CEILING_MIN = 1;

export class Sparkline {
  #line;
  #samples = [];
  #lastMs = -Infinity;

  /** @param {SVGPolylineElement} line drawn in a view box of 60 × 20 */
  constructor(line) {
    this.#line = line;
  }

  add(value, nowMs) {
    if (nowMs - this.#lastMs < SAMPLE_EVERY_MS) return;
    this.#lastMs = nowMs;
    this.#samples.push(value);
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
    this.#draw();
  }

  clear() {
    this.#samples = [];
    this.#lastMs = -Infinity;
    this.#draw();
  }

  #draw() {
    const ceiling = Math.max(CEILING_MIN, ...this.#samples);
    const right = SAMPLES_MAX - this.#samples.length;
    const points = this.#samples.map((value, i) => `${right + i},${(19 - (18 * value) / ceiling).toFixed(2)}`);
    this.#line.setAttribute('points', points.join(' '));
  }
}
