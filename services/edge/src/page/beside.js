// Follows what the node tells beside a picture: telemetry, and what the source of the channel does.
//
// Owns the connection. While nobody looks there is none: a browser has six to a node for all its tabs, whatever they are for.

import { Backoff } from './backoff.js';

/** The node tells within this time that it lives, and a connection this old has proved itself. */
const PROVEN_MS = 15_000;

/** A node that refuses is not asked sooner. */
const REFUSED_PAUSE_MS = 5000;

export class Beside {
  #events;
  #url = null;
  #source = null;
  #retry = null;
  #backoff = new Backoff();

  /** @param {{onSource: (source: object | null) => void, onTelemetry: (telemetry: object) => void, onReset: () => void}} events */
  constructor(events) {
    this.#events = events;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#disconnect() : this.#connect()));
  }

  /** Follows this instead of what was followed. */
  follow(url) {
    this.stop();
    this.#url = url;
    this.#connect();
  }

  stop() {
    this.#disconnect();
    this.#url = null;
    this.#backoff.reset();
    this.#events.onReset();
  }

  #connect() {
    if (this.#url === null || this.#source || document.hidden) return;
    clearTimeout(this.#retry);
    const began = performance.now();
    const source = new EventSource(this.#url);
    this.#source = source;
    const on = (name, tell) => source.addEventListener(name, ({ data }) => {
      let told;
      try {
        told = JSON.parse(data);
      } catch {
        return; // a newer node's words
      }
      tell(told);
    });
    on('source', this.#events.onSource);
    on('telemetry', this.#events.onTelemetry);
    source.onerror = () => {
      // The browser itself would come back at once from an answer that has ended, and never from a refusal.
      this.#disconnect();
      if (performance.now() - began > PROVEN_MS) this.#backoff.reset();
      this.#retry = setTimeout(() => this.#connect(), this.#backoff.nextMs(REFUSED_PAUSE_MS));
    };
  }

  #disconnect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }
}
