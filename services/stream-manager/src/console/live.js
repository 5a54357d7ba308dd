// Follows events: one stream, which goes on after the last event that came, whatever happens to connections.

import { Backoff } from './backoff.js';
import { EventStreamParser } from './event-stream.js';

/** The stream-manager says something every 15 s at least; so long a silence is a connection that is dead. */
const SILENCE_MS = 40_000;

/** So much of the past is told at first. Ids of events begin with milliseconds of the registry's clock. */
const PAST_MS = 10 * 60 * 1000;

export class Live {
  #api;
  #onEvent;
  #onState;
  #backoff = new Backoff();
  #last = `${Date.now() - PAST_MS}-0`;
  #hasBegun = false;
  #timer = null;
  #controller = null;

  /** @param {{onEvent: (event: object) => void, onState: (state: 'up' | 'down' | 'refused') => void}} events */
  constructor(api, { onEvent, onState }) {
    this.#api = api;
    this.#onEvent = onEvent;
    this.#onState = onState;
    // Connections of a browser to one server are few; pages that nobody sees do without theirs.
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#stop() : this.restart()));
  }

  /** Connects now, with the token of now. */
  restart() {
    this.#stop();
    this.#backoff.reset();
    this.#follow();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  async #follow() {
    const controller = new AbortController();
    this.#controller = controller;
    try {
      await this.#read(controller);
      if (!controller.signal.aborted) this.#onState('down');
    } catch (error) {
      if (controller.signal.aborted && this.#controller !== controller) return;
      this.#onState(error.wantsToken ? 'refused' : 'down');
    }
    controller.abort();
    if (this.#controller !== controller || document.hidden) return;
    this.#timer = setTimeout(() => this.#follow(), this.#backoff.nextMs());
  }

  async #read(controller) {
    let watchdog = null;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => controller.abort(), SILENCE_MS);
    };
    alive();
    try {
      const headers = { Accept: 'text/event-stream', 'Last-Event-ID': this.#last };
      const answer = await this.#api.stream(['v1', 'events'], headers, controller.signal);
      this.#onState('up');
      const parser = new EventStreamParser(this.#last);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        this.#backoff.reset();
        for (const event of parser.push(value)) this.#tell(event);
        this.#last = parser.lastEventId;
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #tell({ type, data, id }) {
    if (type === 'gap') {
      // Nobody has missed what was before the page.
      if (this.#hasBegun) this.#onEvent({ type, id: `gap after ${id}`, at: new Date().toISOString() });
      return;
    }
    this.#hasBegun = true;
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof event?.type === 'string') this.#onEvent(event);
  }
}
