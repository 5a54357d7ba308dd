// One node.

import { ChannelRows } from './channels.js';
import { byId, setText } from './dom.js';
import { agoText, countText, numberText, sinceText } from './format.js';
import { drainDeed, drawCharts, figuresOf, labelDrain, loadTexts } from './nodes.js';
import { PagedList } from './paged-list.js';
import { nodeState, placeText } from './words.js';

const LINE = { width: 200, height: 40 };

const ROLES = new Map([['publish', 'publishers'], ['receive', 'receivers']]);

export class NodePage {
  #access;
  #histories;
  #list;
  #node = null;

  /**
   * @param {import('./history.js').Histories} histories
   * @param {{onTurn: () => void, onDone: () => void}} events
   */
  constructor(access, confirm, histories, { onTurn, onDone }) {
    this.#access = access;
    this.#histories = histories;
    this.#list = new PagedList('node-channels', new ChannelRows(byId('node-channels-rows')), onTurn);
    byId('node-drain').addEventListener('click', () => {
      if (!this.#node) return;
      const deed = drainDeed(this.#node, access.api, byId('node-title'));
      confirm.ask({ ...deed, act: () => deed.act().then(onDone) });
    });
  }

  /** What is shown from now on; nothing is known of it yet. */
  open(name) {
    this.#node = null;
    this.#list.restart();
    this.#list.clear('');
    setText(byId('node-title'), name);
    this.#missing('Asking for it.');
  }

  async refresh(name, signal) {
    const api = this.#access.api;
    const [node, channels] = await Promise.allSettled([
      api.get(['v1', 'nodes', name], {}, signal),
      api.get(['v1', 'channels'], { ...this.#list.query, node: name }, signal),
    ]);
    if (signal.aborted) return;
    if (node.status === 'rejected') {
      if (node.reason.status === 404) this.#missing('There is no such node, or it has left.');
      throw node.reason;
    }
    this.#show(node.value);
    if (channels.status === 'fulfilled') this.#list.show(channels.value.channels, channels.value.next, 'No channel is on it.');
    else this.#list.note(channels.reason.message);
  }

  #missing(words) {
    setText(byId('node-note'), words);
    byId('node-note').hidden = false;
    byId('node-body').hidden = true;
    byId('node-drain').hidden = true;
    setText(byId('node-state'), '');
  }

  #show(node) {
    this.#node = node;
    byId('node-note').hidden = true;
    byId('node-body').hidden = false;
    byId('node-drain').hidden = false;
    labelDrain(byId('node-drain'), node, this.#access);
    const { tone, words } = nodeState(node);
    byId('node-state').dataset.tone = tone;
    setText(byId('node-state'), words);
    for (const [name, [figure, detail]] of Object.entries(loadTexts(node))) {
      setText(byId(`node-${name}`), figure);
      if (detail) setText(byId(`node-${name}-detail`), detail);
    }
    const now = performance.now();
    const history = node.silent ? this.#histories.get(node.node) : this.#histories.add(node.node, figuresOf(node), now);
    if (history) drawCharts(history, (name) => byId(`node-${name}-line`), LINE);
    const { load } = node;
    setText(byId('node-place'), placeText(node) || 'not set');
    setText(byId('node-url'), node.url ?? 'through the stream-manager');
    setText(byId('node-roles'), node.roles.map((role) => ROLES.get(role) ?? role).join(' and ') || 'nobody');
    setText(byId('node-reserved'), `${countText(node.reserved, 'client')} on the way`);
    const parts = [countText(load.publications, 'publication'), countText(load.receivers, 'receiver'), `${numberText(load.upstreams)} pulled`];
    setText(byId('node-carries'), parts.join(', '));
    setText(byId('node-version'), node.version);
    setText(byId('node-up'), sinceText(node.started_at, Date.now()) ?? '–');
    setText(byId('node-heard'), `${agoText(node.age_ms)} ago`);
  }
}
