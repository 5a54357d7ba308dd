// Where one is in a list that comes in pages. Pure.
//
// The API tells the next page only; the way back is remembered.

/** As many rows as a page of the console has: what a browser lays out between two pictures. */
export const PAGE_SIZE = 100;

export class Pages {
  #size;
  #afters = [null];
  #next = null;
  #count = 0;

  constructor(size = PAGE_SIZE) {
    this.#size = size;
  }

  get size() {
    return this.#size;
  }

  /** The `after` of the page that is shown; null for the first. */
  get after() {
    return this.#afters.at(-1);
  }

  get hasPrevious() {
    return this.#afters.length > 1;
  }

  get hasNext() {
    return this.#next !== null;
  }

  /** Notes what the page's answer told. */
  answered(count, next) {
    this.#count = count;
    this.#next = next ?? null;
  }

  forward() {
    if (this.#next === null) return;
    this.#afters.push(this.#next);
    this.#next = null;
  }

  back() {
    if (!this.hasPrevious) return;
    this.#afters.pop();
    this.#next = null;
  }

  restart() {
    this.#afters = [null];
    this.#next = null;
  }

  /** Of the first and the last row that are shown, from 1; null where there are none. */
  get range() {
    const before = (this.#afters.length - 1) * this.#size;
    return this.#count > 0 ? [before + 1, before + this.#count] : null;
  }
}
