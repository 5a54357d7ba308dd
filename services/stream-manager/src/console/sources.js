// The list of sources: cameras that can be started.

import { Refused } from './api.js';
import { showNode } from './channels.js';
import { byId, setText } from './dom.js';
import { mark } from './nodes.js';
import { PagedList } from './paged-list.js';
import { channelLink, playerUrl } from './routes.js';
import { Rows } from './rows.js';
import { SOURCE_STATES, reasonText } from './words.js';

/** A bridge asks a device up to three times, and answers then. */
const DONE_WITHIN_MS = 70_000;

const TONES = new Map([['live', 'live'], ['starting', 'warn'], ['stopping', 'warn']]);

export class SourceList {
  #list;
  #access;

  /**
   * @param {import('./access.js').Access} access
   * @param {import('./confirm.js').Confirm} confirm
   * @param {{onTurn: () => void, onDone: () => void}} events
   */
  constructor(access, confirm, { onTurn, onDone }) {
    this.#access = access;
    const rows = new Rows(byId('sources-rows'), byId('source-row'), {
      key: ({ id }) => id,
      create: (parts, id) => {
        setText(parts.id, id);
        parts.id.title = id;
        parts.watch.addEventListener('click', () => this.#watch(id));
        parts.watch.setAttribute('aria-label', `Watch ${id}`);
        for (const [verb, title, words, done] of [
          ['start', 'Start', 'It stays on from now on, whoever watches, until it is stopped.', 'has started'],
          ['stop', 'Stop', 'It goes off as soon as nobody watches it.', 'is wanted by nobody but those who watch'],
        ]) {
          parts[verb].setAttribute('aria-label', `${title} ${id}`);
          parts[verb].addEventListener('click', () => confirm.ask({
            title: `${title} ${id}?`,
            words,
            verb: `${title} it`,
            done: `${id} ${done}.`,
            act: () => access.api.post(['v1', 'sources', ...`${id}:${verb}`.split('/')], DONE_WITHIN_MS).then(onDone),
            fallback: byId('sources-title'),
          }));
        }
      },
      fill: (parts, source) => this.#fill(parts, source),
    });
    this.#list = new PagedList('sources', rows, onTurn);
    for (const id of ['sources-kind', 'sources-state']) {
      byId(id).addEventListener('change', () => {
        this.#list.restart();
        onTurn();
      });
    }
    byId('sources-token').addEventListener('click', () => access.ask('Sources are told of to who has a token.'));
  }

  async refresh(signal) {
    const [kind, state] = [byId('sources-kind').value, byId('sources-state').value];
    let page;
    try {
      page = await this.#access.api.get(['v1', 'sources'], { ...this.#list.query, kind, state }, signal);
    } catch (error) {
      if (!(error instanceof Refused) || !error.wantsToken) throw error;
      byId('sources-token').hidden = false;
      this.#list.clear('Sources are told of to who has a token.');
      return;
    }
    byId('sources-token').hidden = true;
    this.#list.show(page.sources, page.next, kind || state ? 'No source is like that.' : 'No bridge knows of a source. A bridge joins with: relaycast bridge --mqtt URL --nats URL');
  }

  #fill(parts, source) {
    parts.id.href = channelLink(source.channel);
    parts.state.dataset.tone = TONES.get(source.state) ?? 'plain';
    setText(parts.state, SOURCE_STATES.get(source.state) ?? String(source.state));
    setText(parts.reason, reasonText(source));
    showNode(parts.node, source.node);
    for (const verb of ['start', 'stop']) mark(parts[verb], this.#access);
  }

  async #watch(id) {
    setText(byId('sources-trouble'), '');
    try {
      const { picks } = await this.#access.api.get(['v1', 'pick'], { source: id, role: 'receive' });
      const address = playerUrl(picks[0]?.urls.page, '');
      if (!address) throw new Refused(0, 'Nodes are reached through the stream-manager alone here: none has a page to open.');
      const link = document.createElement('a');
      Object.assign(link, { href: address, target: '_blank', rel: 'noopener noreferrer' });
      link.click();
    } catch (error) {
      setText(byId('sources-trouble'), error.message);
    }
  }
}
