// One websocket to the node, kept alive: heartbeats, deadlines, and a new connection when that is worth it.
//
// Owns the socket and the decision to come back. Knows nothing of media: chunks and notices go straight to its user.

import { Backoff } from './backoff.js';
import { decide, errorText } from './closing.js';

const HEARTBEAT = 'h';
const HEARTBEAT_EVERY_MS = 20_000;
// Pages in the background run their timers once a minute, messages at once: a node's heartbeat is answered unless we just spoke.
const HEARTBEAT_QUIET_MS = 10_000;
// The node speaks at least every 20 s.
const SILENCE_MAX_MS = 60_000;
const OPEN_DEADLINE_MS = 10_000;
// A connection that lasted this long has proved that the node works.
const PROVEN_MS = 10_000;
// After an orderly end, the publisher needs a moment before it can be back.
const ENDED_PAUSE_MS = 1000;

export class Link {
  #url;
  #events;
  #backoff = new Backoff();
  #socket = null;
  #timers = new Set();
  #retryTimer = null;
  #openedAt = null;
  #lastHeard = 0;
  #lastSpoke = 0;
  #reconnects = 0;
  #onOnline = () => this.#retryTimer !== null && this.#connect();

  /**
   * @param {string} url
   * @param {{onConnecting?: () => void, onOpen?: (handshakeMs: number) => void, onNotice?: (notice: object) => void,
   *   onChunk?: (chunk: ArrayBuffer) => void, onClosed?: (close: object, retryMs: number | null) => void}} events
   *   `retryMs` is null when the link will not come back.
   */
  constructor(url, events) {
    this.#url = url;
    this.#events = events;
    addEventListener('online', this.#onOnline);
    this.#connect();
  }

  get reconnects() {
    return this.#reconnects;
  }

  /** Bytes handed in that have not left this machine. */
  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  send(data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#lastSpoke = performance.now();
    this.#socket.send(data);
  }

  /** Leaves this connection and comes back, after a back-off. `code` tells the node why. */
  renew(words, code = 1000) {
    this.#abandon(code);
    this.#closed({ next: 'retry', hintMs: 0, code: null, words });
  }

  /** Ends the link; what was sent still goes out. */
  close() {
    this.#abandon(1000);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    removeEventListener('online', this.#onOnline);
  }

  #connect() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.#events.onConnecting?.();
    const began = performance.now();
    const socket = new WebSocket(this.#url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    let error = null;

    this.#after(OPEN_DEADLINE_MS, () => this.#openedAt === null && this.renew('The node does not answer'));
    socket.onopen = () => {
      this.#openedAt = this.#lastHeard = this.#lastSpoke = performance.now();
      this.#every(HEARTBEAT_EVERY_MS, () => this.#beat());
      this.#events.onOpen?.(this.#openedAt - began);
    };
    socket.onmessage = ({ data }) => {
      this.#lastHeard = performance.now();
      if (typeof data !== 'string') this.#events.onChunk?.(data);
      else if (data === HEARTBEAT) this.#answer();
      else if (errorText(data) !== null) error = errorText(data);
      else this.#notice(data);
    };
    socket.onclose = ({ code, reason }) => {
      this.#abandon();
      this.#closed(decide({ code, reason, error }));
    };
  }

  #notice(text) {
    let notice;
    try {
      notice = JSON.parse(text);
    } catch {
      return; // a newer node's words; media does not depend on them
    }
    this.#events.onNotice?.(notice);
  }

  #beat() {
    if (performance.now() - this.#lastHeard > SILENCE_MAX_MS) this.renew('The node went silent');
    else this.send(HEARTBEAT);
  }

  #answer() {
    if (performance.now() - this.#lastSpoke > HEARTBEAT_QUIET_MS) this.send(HEARTBEAT);
  }

  #closed(close) {
    if (close.next === 'stop') {
      removeEventListener('online', this.#onOnline);
      this.#events.onClosed?.(close, null);
      return;
    }
    const pause = close.next === 'wait' ? Math.max(close.hintMs, ENDED_PAUSE_MS) : close.hintMs;
    const retryMs = this.#backoff.nextMs(pause);
    this.#reconnects += 1;
    this.#retryTimer = setTimeout(() => this.#connect(), retryMs);
    this.#events.onClosed?.(close, retryMs);
  }

  /** Lets go of the socket; a dead peer would keep a closing one for minutes, and its late events concern nobody. */
  #abandon(code = null) {
    this.#timers.forEach((timer) => clearInterval(timer));
    this.#timers.clear();
    if (this.#openedAt !== null && performance.now() - this.#openedAt > PROVEN_MS) this.#backoff.reset();
    this.#openedAt = null;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code !== null) socket.close(code);
  }

  #after(ms, action) {
    this.#timers.add(setTimeout(action, ms));
  }

  #every(ms, action) {
    this.#timers.add(setInterval(action, ms));
  }
}
