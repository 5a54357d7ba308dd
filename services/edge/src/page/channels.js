// The list of channels on this node, kept fresh while somebody looks at it.

import { containerName, tracksText } from './codecs.js';
import { setText } from './dom.js';
import { bitrateText, countText, elapsedText } from './format.js';

const POLL_EVERY_MS = 2000;
const POLL_DEADLINE_MS = 5000;

const STATES = new Map([
  ['live', 'Live'],
  ['stalled', 'Stalled'],
  ['held', 'Held'],
  ['waiting', 'Waiting'],
]);

/** Asks the node every two seconds, never while hidden, never twice at once. */
export class ChannelPoll {
  #address;
  #onChannels;
  #onTrouble;
  #timer = null;
  #asking = false;

  /**
   * @param {string} address
   * @param {{onChannels: (channels: object[]) => void, onTrouble: (words: string) => void}} events
   */
  constructor(address, { onChannels, onTrouble }) {
    this.#address = address;
    this.#onChannels = onChannels;
    this.#onTrouble = onTrouble;
    document.addEventListener('visibilitychange', () => !document.hidden && this.#ask());
    this.#ask();
  }

  async #ask() {
    if (this.#asking || document.hidden) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    try {
      const answer = await fetch(this.#address, { cache: 'no-store', signal: AbortSignal.timeout(POLL_DEADLINE_MS) });
      if (answer.ok) this.#onChannels((await answer.json()).channels);
      else this.#onTrouble('This node does not list its channels. You can still type a name.');
    } catch {
      this.#onTrouble('The node does not answer; asking again.');
    }
    this.#asking = false;
    this.#timer = setTimeout(() => this.#ask(), POLL_EVERY_MS);
  }
}

/** Shows channels as buttons. Items stay the same elements over updates, so focus stays where it is. */
export class ChannelList {
  #list;
  #template;
  #onPick;
  #items = new Map();

  constructor(list, template, onPick) {
    this.#list = list;
    this.#template = template;
    this.#onPick = onPick;
  }

  show(channels) {
    const names = new Set(channels.map((channel) => channel.name));
    for (const [name, item] of this.#items) {
      if (names.has(name)) continue;
      item.remove();
      this.#items.delete(name);
    }
    const sorted = channels.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    sorted.forEach((channel, i) => {
      const item = this.#items.get(channel.name) ?? this.#create(channel.name);
      fill(item, channel);
      if (this.#list.children[i] !== item) this.#list.insertBefore(item, this.#list.children[i] ?? null);
    });
  }

  /** Marks the channel that is being watched. */
  mark(watched) {
    for (const [name, item] of this.#items) {
      const button = item.firstElementChild;
      if (name === watched) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    }
  }

  #create(name) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    item.firstElementChild.addEventListener('click', () => this.#onPick(name));
    this.#items.set(name, item);
    return item;
  }
}

function fill(item, { name, state, container, tracks, receivers, bitrate, started_at: startedAt }) {
  const part = (className) => item.querySelector(`.${className}`);
  item.dataset.state = state;
  setText(part('channel-name'), name);
  setText(part('channel-state'), STATES.get(state) ?? state);
  const made = tracksText(tracks ?? []);
  const packing = container ? containerName(container) : '';
  // MJPEG is the name of both.
  setText(part('channel-tracks'), [made, made.includes(packing) ? '' : packing].filter(Boolean).join(' · ') || (state === 'waiting' ? 'Nobody publishes yet' : 'Unknown media'));
  const age = startedAt ? elapsedText(Date.now() - Date.parse(startedAt)) : null;
  const traffic = [countText(receivers ?? 0, 'viewer'), bitrate ? bitrateText(bitrate) : null, age];
  setText(part('channel-traffic'), traffic.filter(Boolean).join(' · '));
}
