// Who asks: the token, and what it allows.

import { Api } from './api.js';
import { byId, setText } from './dom.js';

const PLACE = 'relaycast.token';

const ROLES = [
  [({ operate, token }) => operate && token === 'accepted', 'Operator', 'This token may do everything that the console does.'],
  [({ operate }) => operate, 'This machine', 'No token is configured, so whoever is at this machine may do everything, and nobody else anything.'],
  [({ token }) => token === 'accepted', 'Reader', 'This token may read. Draining, closing and kicking take the token of an operator.'],
  [({ read }) => read, 'Public', 'Without a token one may look at the cluster, and not change it.'],
  [() => true, 'No access', 'The stream-manager tells nothing without a token.'],
];

/** Before the stream-manager has told, everything may be tried: it decides anyway. */
const UNKNOWN = { read: true, read_private: true, operate: true, token: 'none' };

export class Access {
  #api;
  #may = UNKNOWN;
  #known = false;
  #onChange;

  /** @param {(change: {isFirst: boolean}) => void} onChange when something else is allowed now */
  constructor(base, onChange) {
    this.#api = new Api(base, () => this.token);
    this.#onChange = onChange;
    byId('access').addEventListener('click', () => this.ask());
    byId('token-no').addEventListener('click', () => byId('token').close());
    byId('token-forget').addEventListener('click', () => this.#forget());
    byId('token-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#use(byId('token-text').value.trim());
    });
    // What was typed is gone with the dialog.
    byId('token').addEventListener('close', () => {
      if (!byId('token').open) byId('token-text').value = '';
    });
  }

  /** Asks with this tab's token. */
  get api() {
    return this.#api;
  }

  get token() {
    return sessionStorage.getItem(PLACE);
  }

  may(what) {
    return this.#may[what];
  }

  /** Asks the stream-manager what is allowed. */
  async learn() {
    try {
      const may = await this.#api.get(['console', 'access']);
      const isFirst = !this.#known;
      const changed = isFirst || ['read', 'read_private', 'operate', 'token'].some((what) => may[what] !== this.#may[what]);
      this.#may = may;
      this.#known = true;
      if (!changed) return;
      this.#show();
      this.#onChange({ isFirst });
    } catch {
      // The polls tell that nothing answers; it is asked again with the next refusal.
    }
  }

  /** Opens the dialog. @param {string} [why] what the token is for */
  ask(why = '') {
    this.#show();
    if (why) setText(byId('token-words'), why);
    setText(byId('token-trouble'), '');
    if (!byId('token').open) byId('token').showModal();
    byId('token-text').focus();
  }

  async #use(token) {
    const before = this.token;
    sessionStorage.setItem(PLACE, token);
    try {
      const may = await this.#api.get(['console', 'access']);
      if (may.token !== 'accepted') throw new Error('The stream-manager does not accept this token.');
    } catch (error) {
      if (before === null) sessionStorage.removeItem(PLACE);
      else sessionStorage.setItem(PLACE, before);
      setText(byId('token-trouble'), error.message);
      byId('token-text').select();
      return;
    }
    await this.learn();
    byId('token').close();
  }

  async #forget() {
    sessionStorage.removeItem(PLACE);
    await this.learn();
    byId('token').close();
  }

  #show() {
    const [, role, words] = ROLES.find(([is]) => is(this.#may));
    setText(byId('access-role'), this.#known ? role : 'Access');
    byId('access').dataset.role = this.#may.operate ? 'operate' : 'read';
    byId('access').setAttribute('aria-label', `Access: ${this.#known ? role : 'not known yet'}`);
    setText(byId('token-words'), this.#may.token === 'refused' ? 'The stream-manager does not accept the token of this tab.' : words);
    for (const limit of byId('token-limits').children) {
      const may = this.#may[limit.dataset.may];
      limit.dataset.allowed = String(may);
      limit.setAttribute('aria-label', `${limit.textContent}: ${may ? 'yes' : 'no'}`);
    }
    byId('token-forget').hidden = this.token === null;
  }
}
