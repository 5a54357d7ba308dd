// The list of events, the newest first.

import { byId, setText } from './dom.js';
import { clockText } from './format.js';
import { channelLink, nodeLink } from './routes.js';
import { Rows } from './rows.js';
import { tell } from './words.js';

/** That are remembered, of all kinds. */
const KEPT_MAX = 500;

/** That are shown. */
const SHOWN_MAX = 100;

export class EventList {
  #events = [];
  #rows;
  #isPaused = false;
  #missed = 0;
  #isDue = false;

  constructor() {
    this.#rows = new Rows(byId('events'), byId('event-row'), {
      key: ({ id }) => id,
      fill: (parts, event) => fill(parts, event),
    });
    byId('events-group').addEventListener('change', () => this.#draw());
    byId('events-pause').addEventListener('click', () => {
      this.#isPaused = !this.#isPaused;
      this.#missed = 0;
      byId('events-pause').setAttribute('aria-pressed', String(this.#isPaused));
      this.#draw();
    });
  }

  add(event) {
    this.#events.unshift(event);
    if (this.#events.length > KEPT_MAX) this.#events.length = KEPT_MAX;
    this.#missed += 1;
    if (this.#isDue) return;
    // A burst is drawn once.
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  #draw() {
    setText(byId('events-pause'), this.#isPaused ? (this.#missed > 0 ? `Resume (${this.#missed})` : 'Resume') : 'Pause');
    if (this.#isPaused) return;
    this.#missed = 0;
    const group = byId('events-group').value;
    const shown = this.#events.filter((event) => !group || tell(event).group === group).slice(0, SHOWN_MAX);
    this.#rows.show(shown);
    byId('events-note').hidden = shown.length > 0;
    setText(byId('events-note'), group ? 'None of these in the last minutes.' : 'Nothing has happened in the last minutes.');
  }
}

/** An event never changes. */
function fill({ row, time, words }, event) {
  if (words.childNodes.length > 0) return;
  const { tone, parts } = tell(event);
  row.dataset.tone = tone;
  time.dateTime = event.at;
  setText(time, clockText(event.at));
  time.title = `${event.type}, ${event.at}`;
  words.append(...parts.map((part) => {
    if (typeof part === 'string') return part;
    const link = document.createElement('a');
    const name = part.channel ?? part.node;
    link.href = part.channel === undefined ? nodeLink(name) : channelLink(name);
    link.textContent = name;
    return link;
  }));
}
