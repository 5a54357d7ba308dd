// The list of nodes.

import { byId, setText } from './dom.js';
import { countText, numberText, rateText, shareText, sinceText } from './format.js';
import { Histories, linePath } from './history.js';
import { PagedList } from './paged-list.js';
import { nodeLink } from './routes.js';
import { Rows } from './rows.js';
import { nodeState, placeText } from './words.js';

const LINE = { width: 100, height: 24 };

/** What fills the height of a chart at least: a share of all, or so little that it is as good as nothing. */
const FIGURES = [
  ['sessions', ({ load }) => load.sessions, 10],
  ['egress', ({ load }) => load.egress, 100_000],
  ['cpu', ({ load }) => load.cpu_permille / 1000, 1],
  ['memory', ({ load }) => load.memory_permille / 1000, 1],
];

export const figuresOf = (node) => FIGURES.map(([, figure]) => figure(node));

/** Draws the charts of a node into paths of these names. */
export function drawCharts(history, pathOf, size) {
  for (const [i, [name, , least]] of FIGURES.entries()) {
    pathOf(name).setAttribute('d', linePath(history.of(i), { ...size, least }));
  }
}

/** What is told of a node in figures, by the names of the charts. */
export function loadTexts({ load, capacity }) {
  return {
    sessions: [numberText(load.sessions), `of ${numberText(capacity.sessions)}`],
    egress: [rateText(load.egress), capacity.egress ? `of ${rateText(capacity.egress)}` : ''],
    cpu: [shareText(load.cpu_permille / 1000), `of ${countText(capacity.processors, 'processor')}`],
    memory: [shareText(load.memory_permille / 1000), ''],
  };
}

/** The question that comes before a node is drained, or put into service again. */
export function drainDeed(node, api, fallback) {
  const { node: name, state, load } = node;
  if (state === 'draining') {
    return {
      title: `Put ${name} into service again?`,
      words: `Clients are sent to ${name} again, and it takes what comes.`,
      verb: `Undrain ${name}`,
      done: `${name} is in service again.`,
      act: () => api.post(['v1', 'nodes', `${name}:undrain`]),
      fallback,
    };
  }
  const sessions = load.sessions > 0 ? ` Its ${countText(load.sessions, 'session')} are asked to go elsewhere, and those that stay are ended at its drain deadline.` : ' It has no sessions now.';
  return {
    title: `Drain ${name}?`,
    words: `Nobody is sent to ${name} from now on, and it takes nothing new.${sessions} It stays up, and can be put into service again.`,
    verb: `Drain ${name}`,
    done: `${name} drains.`,
    act: () => api.post(['v1', 'nodes', `${name}:drain`]),
    fallback,
  };
}

export function labelDrain(button, { node, state }, access) {
  const verb = state === 'draining' ? 'Undrain' : 'Drain';
  setText(button, verb);
  button.setAttribute('aria-label', `${verb} ${node}`);
  mark(button, access);
}

/** A button that explains itself to who may not. */
export function mark(button, access) {
  const may = access.may('operate');
  button.dataset.locked = String(!may);
  if (may) button.removeAttribute('title');
  else button.title = 'Takes the token of an operator';
}

export class NodeList {
  /** Of every node that was told of, for the page of one too. */
  histories = new Histories();
  #list;
  #nodes = new Map();
  #regions = new Set();

  /**
   * @param {import('./access.js').Access} access
   * @param {import('./confirm.js').Confirm} confirm
   * @param {{onTurn: () => void, onDone: () => void}} events
   */
  constructor(access, confirm, { onTurn, onDone }) {
    const rows = new Rows(byId('nodes-rows'), byId('node-row'), {
      key: ({ node }) => node,
      create: (parts, name) => {
        setText(parts.name, name);
        parts.name.href = nodeLink(name);
        parts.drain.addEventListener('click', () => {
          const deed = drainDeed(this.#nodes.get(name), access.api, byId('nodes-title'));
          confirm.ask({ ...deed, act: () => deed.act().then(onDone) });
        });
      },
      fill: (parts, node) => this.#fill(parts, node, access),
    });
    this.#list = new PagedList('nodes', rows, onTurn);
    for (const id of ['nodes-state', 'nodes-region']) {
      byId(id).addEventListener('change', () => {
        this.#list.restart();
        onTurn();
      });
    }
  }

  get query() {
    return { ...this.#list.query, state: byId('nodes-state').value, region: byId('nodes-region').value };
  }

  show({ nodes, next }, nowMs) {
    this.#nodes = new Map(nodes.map((node) => [node.node, node]));
    for (const node of nodes) {
      // What a silent node said last is no news.
      if (!node.silent) this.histories.add(node.node, figuresOf(node), nowMs);
    }
    this.histories.forget(nowMs);
    this.#offer(nodes);
    const isFiltered = byId('nodes-state').value || byId('nodes-region').value;
    this.#list.show(nodes, next, isFiltered ? 'No node is like that.' : 'No node has reported yet. A node joins with: relaycast edge --redis URL --nats URL');
  }

  note(words) {
    this.#list.note(words);
  }

  #fill(parts, node, access) {
    const { tone, words } = nodeState(node);
    parts.row.dataset.tone = tone;
    parts.state.dataset.tone = tone;
    setText(parts.state, words);
    setText(parts.place, placeText(node));
    for (const [name, [figure, of]] of Object.entries(loadTexts(node))) {
      setText(parts[name], figure);
      parts[name].title = of;
    }
    const history = this.histories.get(node.node);
    if (history) drawCharts(history, (name) => parts[`${name}-line`], LINE);
    setText(parts.reserved, numberText(node.reserved));
    setText(parts.channels, numberText(node.channels));
    setText(parts.version, node.version);
    setText(parts.up, sinceText(node.started_at, Date.now()) ?? '–');
    labelDrain(parts.drain, node, access);
  }

  /** Regions that were seen can be chosen; one that is chosen stays. */
  #offer(nodes) {
    const news = nodes.map(({ region }) => region).filter((region) => region && !this.#regions.has(region));
    for (const region of new Set(news)) {
      this.#regions.add(region);
      const option = new Option(region, region);
      const after = [...byId('nodes-region').options].slice(1).find((other) => other.value > region);
      byId('nodes-region').add(option, after ?? null);
    }
  }
}
