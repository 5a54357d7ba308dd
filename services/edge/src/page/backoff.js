// How long to wait before the next attempt. Pure: chance is handed in, time never appears.
//
// Full jitter: a node that ends drops all its viewers in the same instant, and they must not come back in one.

const FIRST_MS = 500;
const LONGEST_MS = 15_000;

export class Backoff {
  #random;
  #attempts = 0;

  constructor(random = Math.random) {
    this.#random = random;
  }

  /** Attempts since the last `reset`. */
  get attempts() {
    return this.#attempts;
  }

  /** The wait before the next attempt, never shorter than what the node asked for. */
  nextMs(hintMs = 0) {
    const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempts);
    this.#attempts += 1;
    return Math.round(hintMs + this.#random() * ceiling);
  }

  /** To be called once a connection has proved itself, not when it merely opened. */
  reset() {
    this.#attempts = 0;
  }
}
