// Asks before something is done, does it, and tells how it went.

import { byId, setText } from './dom.js';

/**
 * @typedef {{title: string, words: string, verb: string, done: string, act: () => Promise<void>, fallback: Element}} Deed
 *   fallback: has the focus afterwards where the button that was pressed is gone
 */

export class Confirm {
  #deed = null;
  #opener = null;
  #access;

  /** @param {import('./access.js').Access} access */
  constructor(access) {
    this.#access = access;
    const dialog = byId('confirm');
    byId('confirm-no').addEventListener('click', () => dialog.close());
    byId('confirm-yes').addEventListener('click', () => this.#act());
    dialog.addEventListener('close', () => this.#closed());
  }

  /** @param {Deed} deed */
  ask(deed) {
    if (!this.#access.may('operate')) {
      this.#access.ask(`${deed.title} It takes the token of an operator.`);
      return;
    }
    this.#deed = deed;
    this.#opener = document.activeElement;
    setText(byId('confirm-title'), deed.title);
    setText(byId('confirm-words'), deed.words);
    setText(byId('confirm-yes'), deed.verb);
    setText(byId('confirm-trouble'), '');
    byId('confirm-yes').disabled = false;
    byId('confirm').showModal();
    // What cannot be undone is not under the key that was pressed last.
    byId('confirm-no').focus();
  }

  async #act() {
    const deed = this.#deed;
    byId('confirm-yes').disabled = true;
    try {
      await deed.act();
    } catch (error) {
      if (this.#deed !== deed) return;
      byId('confirm-yes').disabled = false;
      setText(byId('confirm-trouble'), error.message);
      if (error.wantsToken) this.#access.learn();
      return;
    }
    setText(byId('announce'), deed.done);
    if (this.#deed === deed) byId('confirm').close();
  }

  #closed() {
    // It is told of late: the next question may be open already.
    if (byId('confirm').open) return;
    const opener = this.#opener;
    const fallback = this.#deed?.fallback;
    this.#deed = null;
    if (opener?.isConnected && opener.checkVisibility()) opener.focus();
    else fallback?.focus();
  }
}
