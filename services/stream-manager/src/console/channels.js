// The list of channels.

import { byId, setText } from './dom.js';
import { numberText, rateText, sinceText } from './format.js';
import { PagedList } from './paged-list.js';
import { channelLink, nodeLink } from './routes.js';
import { Rows } from './rows.js';
import { CHANNEL_STATES, mediaParts } from './words.js';

/** How long somebody who types is waited for. */
const TYPING_MS = 250;

/** The tone of a channel's state. */
const TONES = new Map([['live', 'live'], ['stalled', 'warn'], ['held', 'warn'], ['waiting', 'plain']]);

export function showState(element, state) {
  element.dataset.tone = TONES.get(state) ?? 'plain';
  setText(element, CHANNEL_STATES.get(state) ?? String(state));
}

/** A link to a node, or a dash. */
export function showNode(link, node) {
  setText(link, node ?? '–');
  if (node) link.href = nodeLink(node);
  else link.removeAttribute('href');
}

export class ChannelRows extends Rows {
  constructor(parent) {
    super(parent, byId('channel-row'), {
      key: ({ name }) => name,
      create: (parts, name) => {
        setText(parts.name, name);
        parts.name.href = channelLink(name);
      },
      fill: (parts, channel) => {
        showState(parts.state, channel.state);
        setText(parts.media, mediaParts(channel).join(' · ') || (channel.state === 'waiting' ? 'Nobody publishes' : 'Not known'));
        setText(parts.bitrate, channel.bitrate ? rateText(channel.bitrate) : '–');
        setText(parts.viewers, numberText(channel.receivers));
        showNode(parts.origin, channel.origin);
        setText(parts.edges, numberText(channel.nodes.filter(({ part }) => part === 'edge').length));
        setText(parts.since, sinceText(channel.started_at, Date.now()) ?? '–');
      },
    });
  }
}

export class ChannelList {
  #list;

  /** @param {() => void} onTurn */
  constructor(onTurn) {
    this.#list = new PagedList('channels', new ChannelRows(byId('channels-rows')), onTurn);
    const again = () => {
      this.#list.restart();
      onTurn();
    };
    byId('channels-state').addEventListener('change', again);
    let typing = null;
    byId('channels-prefix').addEventListener('input', () => {
      clearTimeout(typing);
      typing = setTimeout(again, TYPING_MS);
    });
  }

  async refresh(api, signal) {
    const prefix = byId('channels-prefix');
    // What cannot begin a name is no question for the API.
    if (!prefix.validity.valid) {
      this.#list.clear('Names of channels have letters, digits, - and _ only.');
      return;
    }
    const state = byId('channels-state').value;
    const page = await api.get(['v1', 'channels'], { ...this.#list.query, prefix: prefix.value, state }, signal);
    const isFiltered = prefix.value || state;
    this.#list.show(page.channels, page.next, isFiltered ? 'No channel is like that.' : 'No channel is on. One begins when somebody publishes, or waits for it.');
  }
}
