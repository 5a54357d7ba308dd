// The last minutes of some figures, and lines of them. Pure: the caller hands in the clock.

/** As long as a look back helps to say "since when". */
export const SPAN_MS = 3 * 60 * 1000;

/** One sample for each poll of `SPAN_MS`, and some for polls that events caused. */
const SAMPLES_MAX = 128;

/** Two polls that were missed are a gap: a line across it would be made up. */
const GAP_MS = 7000;

/** Samples of several figures, the oldest first. */
export class History {
  #samples = [];

  /** @param {number[]} values always of the same figures */
  add(values, nowMs) {
    this.#samples.push({ at: nowMs, values });
    const stale = this.#samples.findIndex(({ at }) => at > nowMs - SPAN_MS);
    this.#samples.splice(0, Math.max(stale, this.#samples.length - SAMPLES_MAX));
  }

  get lastMs() {
    return this.#samples.at(-1)?.at ?? -Infinity;
  }

  /** One of the figures. */
  of(index) {
    return this.#samples.map(({ at, values }) => ({ at, value: values[index] }));
  }
}

/** Histories by name; those of which nothing was told for as long as they reach back are forgotten. */
export class Histories {
  #byName = new Map();

  add(name, values, nowMs) {
    let history = this.#byName.get(name);
    if (!history) this.#byName.set(name, (history = new History()));
    history.add(values, nowMs);
    return history;
  }

  get(name) {
    return this.#byName.get(name) ?? null;
  }

  forget(nowMs) {
    for (const [name, history] of this.#byName) if (history.lastMs < nowMs - SPAN_MS) this.#byName.delete(name);
  }

  get size() {
    return this.#byName.size;
  }
}

/**
 * The path of a line, the newest sample at the right edge.
 *
 * @param {{at: number, value: number}[]} samples
 * @param {number} least what fills the height at least: a flat line of a small figure should look flat
 */
export function linePath(samples, { width, height, least }) {
  if (samples.length === 0) return '';
  const newest = samples.at(-1).at;
  const ceiling = Math.max(least, ...samples.map(({ value }) => value));
  // A line of the stroke's width needs room above and below.
  const y = (value) => (height - 1 - ((height - 2) * Math.max(0, value)) / ceiling).toFixed(1);
  const x = (at) => (width - (width * (newest - at)) / SPAN_MS).toFixed(1);
  let path = '';
  let previous = -Infinity;
  for (const { at, value } of samples) {
    path += `${at - previous > GAP_MS ? 'M' : 'L'}${x(at)} ${y(value)}`;
    previous = at;
  }
  // A round end makes a dot of a line without length.
  return samples.length === 1 ? `${path}h0` : path;
}
