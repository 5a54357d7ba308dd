// One channel: what it is, where it flows, who has it open.

import { Refused } from './api.js';
import { showNode, showState } from './channels.js';
import { byId, setText } from './dom.js';
import { BOXES_MAX, flowOf, heightOf, linesTo } from './flow.js';
import { bytesText, countText, numberText, rateText, sinceText } from './format.js';
import { Histories, linePath } from './history.js';
import { mark } from './nodes.js';
import { PagedList } from './paged-list.js';
import { playerUrl } from './routes.js';
import { Rows } from './rows.js';
import { hasSnapshot, mediaParts } from './words.js';

const LINE = { width: 200, height: 40 };

/** A picture is for the eye of who works, not for watching. */
const SNAPSHOT_EVERY_MS = 10_000;

/** Sessions of a page. Nodes are asked for all of them each time. */
const SESSIONS_SIZE = 25;

const SVG = 'http://www.w3.org/2000/svg';

export class ChannelPage {
  #access;
  #histories = new Histories();
  #sessions;
  #others;
  #name = null;
  #channel = null;
  #snapshotMs = -Infinity;
  #known = new Map();

  /**
   * @param {import('./access.js').Access} access
   * @param {import('./confirm.js').Confirm} confirm
   * @param {{onTurn: () => void, onDone: () => void}} events
   */
  constructor(access, confirm, { onTurn, onDone }) {
    this.#access = access;
    const rows = new Rows(byId('sessions-rows'), byId('session-row'), {
      key: ({ session }) => session,
      create: (parts, session) => {
        setText(parts.session, session);
        parts.kick.setAttribute('aria-label', `Kick session ${session}`);
        parts.kick.addEventListener('click', () => confirm.ask(this.#kick(session, onDone)));
      },
      fill: (parts, { node, kind, sent_bytes: sent, started_at: started }) => {
        setText(parts.kind, kind);
        showNode(parts.node, node);
        setText(parts.sent, bytesText(sent));
        setText(parts.since, sinceText(started, Date.now()) ?? '–');
        mark(parts.kick, access);
      },
    });
    this.#sessions = new PagedList('sessions', rows, onTurn, SESSIONS_SIZE);
    this.#others = new Rows(byId('flow-others'), byId('flow-box'), {
      key: ({ node }) => node,
      fill: (parts, { node, part, receivers, isRest }) => {
        if (isRest) setText(parts.node, node);
        else showNode(parts.node, node);
        parts.row.dataset.part = isRest ? 'rest' : part;
        setText(parts.receivers, part === 'waiting' ? `${numberText(receivers)} waiting` : countText(receivers, 'viewer'));
      },
    });
    byId('channel-close').addEventListener('click', () => this.#channel && confirm.ask(this.#close(onDone)));
    byId('sessions-token').addEventListener('click', () => access.ask('Sessions tell of people, so to see them takes a token.'));
    byId('watch-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#play();
    });
  }

  /** What is shown from now on; nothing is known of it yet. */
  open(name) {
    this.#name = name;
    this.#channel = null;
    this.#snapshotMs = -Infinity;
    this.#showSnapshot(null);
    this.#sessions.restart();
    this.#sessions.clear('');
    byId('sessions-token').hidden = true;
    setText(byId('sessions-missing'), '');
    setText(byId('channel-title'), name);
    byId('watch-key').value = '';
    setText(byId('watch-trouble'), '');
    this.#missing('Asking for it.');
  }

  /** Nothing of it is shown any more. */
  leave() {
    this.#name = null;
    this.#showSnapshot(null);
    byId('watch-key').value = '';
  }

  async refresh(name, signal) {
    let channel;
    try {
      channel = await this.#access.api.get(['v1', 'channels', name], {}, signal);
    } catch (error) {
      if (error.status === 404) this.#missing('Nobody publishes, receives or waits for this channel.');
      throw error;
    }
    if (signal.aborted) return;
    this.#show(channel);
    this.#picture(channel, signal);
  }

  async refreshSessions(name, signal) {
    try {
      const page = await this.#access.api.get(['v1', 'sessions'], { ...this.#sessions.query, channel: name }, signal);
      this.#known = new Map(page.sessions.map((session) => [session.session, session]));
      this.#sessions.show(page.sessions, page.next, 'Nobody has it open.');
      const missing = page.missing.slice(0, 3).join(', ') + (page.missing.length > 3 ? ` and ${page.missing.length - 3} more` : '');
      setText(byId('sessions-missing'), missing ? `${missing} did not answer in time: what is there is missing here.` : '');
      byId('sessions-token').hidden = true;
    } catch (error) {
      if (!(error instanceof Refused) || signal.aborted) return;
      if (!error.wantsToken) return this.#sessions.note(error.message);
      this.#sessions.clear('Sessions tell of people, so to see them takes a token.');
      byId('sessions-token').hidden = false;
    }
  }

  #missing(words) {
    setText(byId('channel-note'), words);
    byId('channel-note').hidden = false;
    byId('channel-body').hidden = true;
    byId('channel-close').hidden = true;
    setText(byId('channel-state'), '');
  }

  #show(channel) {
    this.#channel = channel;
    byId('channel-note').hidden = true;
    byId('channel-body').hidden = false;
    const closing = byId('channel-close');
    closing.hidden = channel.state === 'waiting';
    closing.setAttribute('aria-label', `Close ${channel.name}`);
    mark(closing, this.#access);
    showState(byId('channel-state'), channel.state);
    setText(byId('channel-viewers'), numberText(channel.receivers));
    setText(byId('channel-viewers-detail'), `on ${countText(channel.nodes.filter(({ receivers }) => receivers > 0).length, 'node')}`);
    setText(byId('channel-bitrate'), rateText(channel.bitrate));
    const [made = 'Not known', packing = ''] = mediaParts(channel);
    setText(byId('channel-media'), made);
    setText(byId('channel-container'), packing);
    setText(byId('channel-since'), sinceText(channel.started_at, Date.now()) ?? '–');
    setText(byId('channel-epoch'), channel.epoch ? `epoch ${channel.epoch}` : '');
    const now = performance.now();
    const history = this.#histories.add(channel.name, [channel.receivers, channel.bitrate], now);
    this.#histories.forget(now);
    byId('channel-viewers-line').setAttribute('d', linePath(history.of(0), { ...LINE, least: 4 }));
    byId('channel-bitrate-line').setAttribute('d', linePath(history.of(1), { ...LINE, least: 1000 }));
    this.#flow(channel);
  }

  #flow(channel) {
    const { origin, others, rest } = flowOf(channel);
    const box = byId('flow-origin');
    box.dataset.part = origin ? 'origin' : 'none';
    if (!box.firstElementChild) box.append(document.createElement('a'), document.createElement('span'));
    if (origin) showNode(box.firstElementChild, origin.node);
    else {
      showNode(box.firstElementChild, null);
      setText(box.firstElementChild, 'Nobody publishes');
    }
    setText(box.lastElementChild, origin ? `origin, ${countText(origin.receivers, 'viewer')}` : '');
    const boxes = rest ? [...others, { node: `${countText(rest.nodes, 'more node')}`, part: 'edge', receivers: rest.receivers, isRest: true }] : others;
    this.#others.show(boxes);
    const lines = byId('flow-lines');
    lines.setAttribute('viewBox', `0 0 100 ${heightOf(boxes.length)}`);
    lines.style.height = `${heightOf(boxes.length)}px`;
    const drawn = origin ? linesTo(boxes.map(({ receivers }) => receivers)) : [];
    while (lines.childElementCount > drawn.length) lines.lastElementChild.remove();
    while (lines.childElementCount < drawn.length) lines.append(document.createElementNS(SVG, 'path'));
    for (const [i, { path, width }] of drawn.entries()) {
      lines.children[i].setAttribute('d', path);
      lines.children[i].setAttribute('stroke-width', width);
    }
    const edges = channel.nodes.length - (origin ? 1 : 0);
    const words = origin
      ? edges > 0 ? `From ${origin.node} to ${countText(edges, 'other node')}; together ${countText(channel.receivers, 'viewer')}.` : `All of its ${countText(channel.receivers, 'viewer')} are on its origin.`
      : `${countText(channel.receivers, 'viewer')} on ${countText(channel.nodes.length, 'node')} wait for somebody to publish.`;
    setText(byId('flow-words'), rest ? `${words} The ${BOXES_MAX - 1} with the most viewers are shown.` : words);
  }

  async #picture(channel, signal) {
    if (!hasSnapshot(channel) || channel.state === 'waiting') return this.#showSnapshot(null);
    if (performance.now() - this.#snapshotMs < SNAPSHOT_EVERY_MS) return;
    this.#snapshotMs = performance.now();
    byId('snapshot').hidden = false;
    try {
      const blob = await this.#access.api.blob(['v1', 'channels', channel.name, 'snapshot'], signal);
      if (this.#name !== channel.name || blob.type !== 'image/jpeg') return;
      this.#showSnapshot(blob);
      setText(byId('snapshot-words'), `At ${new Date().toLocaleTimeString()}; a new one every ${SNAPSHOT_EVERY_MS / 1000} s.`);
    } catch (error) {
      if (!(error instanceof Refused) || signal.aborted) return;
      setText(byId('snapshot-words'), error.wantsToken ? 'A picture takes a token.' : error.message);
    }
  }

  #showSnapshot(blob) {
    const image = byId('snapshot-image');
    const old = image.src;
    if (blob) {
      image.src = URL.createObjectURL(blob);
      image.alt = `Picture of ${this.#name}`;
    } else {
      image.removeAttribute('src');
      image.alt = '';
      setText(byId('snapshot-words'), '');
      byId('snapshot').hidden = true;
    }
    if (old.startsWith('blob:')) URL.revokeObjectURL(old);
  }

  async #play() {
    const [name, key] = [this.#name, byId('watch-key').value];
    byId('watch-key').value = '';
    setText(byId('watch-trouble'), '');
    try {
      // Not with the key: whatever keeps logs of requests has no business with it.
      const { picks } = await this.#access.api.get(['v1', 'pick'], { channel: name, role: 'receive' });
      const address = playerUrl(picks[0]?.urls.page, key);
      if (!address) throw new Refused(0, 'Nodes are reached through the stream-manager alone here: none has a page to open.');
      const link = document.createElement('a');
      Object.assign(link, { href: address, target: '_blank', rel: 'noopener noreferrer' });
      link.click();
    } catch (error) {
      setText(byId('watch-trouble'), error.message);
    }
  }

  #close(onDone) {
    const { name, origin, receivers } = this.#channel;
    return {
      title: `Close ${name}?`,
      words: `Ends its publication${origin ? ` on ${origin}` : ''}, and with it ${countText(receivers, 'viewer')} on all nodes. Nothing keeps its publisher from beginning again.`,
      verb: `Close ${name}`,
      done: `${name} is closed.`,
      act: () => this.#access.api.post(['v1', 'channels', `${name}:close`]).then(onDone),
      fallback: byId('channel-title'),
    };
  }

  #kick(session, onDone) {
    const { node, kind } = this.#known.get(session);
    return {
      title: `Kick session ${session}?`,
      words: `Ends this ${kind} session of ${this.#name} on ${node}. Nothing keeps the client from coming back.`,
      verb: 'Kick it',
      done: `Session ${session} is ended.`,
      act: () => this.#access.api.post(['v1', 'sessions', `${session}:kick`]).then(onDone),
      fallback: byId('sessions-title'),
    };
  }
}
