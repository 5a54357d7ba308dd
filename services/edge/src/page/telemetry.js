// The panel beside the picture: the last of each topic, as rows.

import { byId, setText } from './dom.js';
import { flatten } from './flatten.js';

/** Topics that are shown; the node keeps no more than a few times as many. */
const TOPICS_MAX = 16;

export class Telemetry {
  #panel = byId('telemetry');
  #topics = byId('telemetry-topics');
  #template = byId('telemetry-topic');
  #shown = new Map();

  clear() {
    this.#panel.hidden = true;
    byId('telemetry-more').hidden = true;
    this.#topics.replaceChildren();
    this.#shown.clear();
  }

  /** @param {{topic: string, at_ms: number, value: unknown}} telemetry */
  show({ topic, at_ms: atMs, value }) {
    if (typeof topic !== 'string') return;
    const parts = this.#partsOf(topic);
    if (!parts) return;
    const { rows, isCut } = flatten(value);
    fill(parts.list, rows);
    const time = new Date(atMs);
    setText(parts.time, Number.isNaN(time.getTime()) ? '' : time.toLocaleTimeString());
    parts.cut.hidden = !isCut;
    this.#panel.hidden = false;
  }

  #partsOf(topic) {
    const known = this.#shown.get(topic);
    if (known) return known;
    if (this.#shown.size >= TOPICS_MAX) {
      byId('telemetry-more').hidden = false;
      return null;
    }
    const section = this.#template.content.firstElementChild.cloneNode(true);
    const [title, time, list, cut] = ['h3', 'time', 'dl', '.note'].map((selector) => section.querySelector(selector));
    title.append(...breakable(topic));
    list.setAttribute('aria-label', topic);
    this.#topics.append(section);
    const parts = { time, list, cut };
    this.#shown.set(topic, parts);
    return parts;
  }
}

/** A topic that is too long for a line goes on in the next after a slash, where it can. */
function breakable(topic) {
  return topic.split(/(?<=\/)/).flatMap((level) => [level, document.createElement('wbr')]);
}

/** Rows stay the same elements, so that what is selected stays. */
function fill(list, rows) {
  while (list.childElementCount > rows.length) list.lastElementChild.remove();
  while (list.childElementCount < rows.length) {
    const row = document.createElement('div');
    row.append(document.createElement('dt'), document.createElement('dd'));
    list.append(row);
  }
  for (const [i, [name, text]] of rows.entries()) {
    const row = list.children[i];
    setText(row.firstElementChild, name || 'value');
    setText(row.lastElementChild, text);
  }
}
