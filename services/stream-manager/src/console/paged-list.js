// A list of the API that comes in pages, with its buttons and what stands there when it is empty.

import { byId, setText } from './dom.js';
import { numberText } from './format.js';
import { Pages } from './pages.js';

export class PagedList {
  #name;
  #pages;
  #rows;
  #onTurn;

  /**
   * @param {string} name what the ids of its elements begin with
   * @param {import('./rows.js').Rows} rows
   * @param {() => void} onTurn when another page is wanted
   * @param {number} [size] rows of a page
   */
  constructor(name, rows, onTurn, size) {
    this.#pages = new Pages(size);
    this.#name = name;
    this.#rows = rows;
    this.#onTurn = onTurn;
    this.#part('pages').addEventListener('click', ({ target }) => {
      const to = target.dataset.to;
      if (!to || target.getAttribute('aria-disabled') === 'true') return;
      if (to === 'forward') this.#pages.forward();
      else this.#pages.back();
      this.#onTurn();
      this.#part('title').focus();
    });
  }

  get query() {
    return { after: this.#pages.after, limit: this.#pages.size };
  }

  /** Another list: from its first page on. */
  restart() {
    this.#pages.restart();
  }

  /**
   * @param {object[]} items
   * @param {string | undefined} next
   * @param {string} emptyWords what it means that there are none
   */
  show(items, next, emptyWords) {
    // The last row of a page that is not the first went away: what is before it is wanted.
    if (items.length === 0 && this.#pages.hasPrevious) {
      this.#pages.back();
      this.#onTurn();
      return;
    }
    this.#pages.answered(items.length, next);
    this.#rows.show(items);
    const range = this.#pages.range;
    const isWhole = !this.#pages.hasPrevious && !this.#pages.hasNext;
    const more = this.#pages.hasNext ? ', more follow' : '';
    setText(this.#part('range'), range ? (isWhole ? numberText(range[1]) : `${range.map(numberText).join('–')}${more}`) : '');
    this.note(items.length === 0 ? emptyWords : '');
    const buttons = this.#part('pages');
    // Buttons that went away with the last page would take the focus with them.
    buttons.hidden = isWhole;
    for (const button of buttons.children) {
      const isUsable = button.dataset.to === 'forward' ? this.#pages.hasNext : this.#pages.hasPrevious;
      button.setAttribute('aria-disabled', String(!isUsable));
    }
  }

  /** Nothing is known of it any more. */
  clear(words) {
    this.#rows.show([]);
    setText(this.#part('range'), '');
    this.#part('pages').hidden = true;
    this.note(words);
  }

  note(words) {
    setText(this.#part('note'), words);
    this.#part('note').hidden = words === '';
  }

  #part(what) {
    return byId(`${this.#name}-${what}`);
  }
}
