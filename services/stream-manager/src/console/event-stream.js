// Reads `text/event-stream` (WHATWG HTML, section 9.2.6). Pure.
//
// EventSource cannot send a token, so the console reads the stream itself.

/** An event of the API is some hundred bytes; what never ends a line is no stream of events. */
const PENDING_MAX = 64 * 1024;

export class EventStreamParser {
  #pending = '';
  #skipsLineFeed = false;
  #isFirst = true;
  #data = [];
  #size = 0;
  #type = '';
  #idInBlock;
  #id;

  /** @param {string} lastEventId the id to go on from */
  constructor(lastEventId = '') {
    this.#id = lastEventId;
    this.#idInBlock = lastEventId;
  }

  /** What a new connection goes on after. */
  get lastEventId() {
    return this.#id;
  }

  /**
   * The events that this text completes.
   *
   * @returns {{type: string, data: string, id: string}[]}
   * @throws {RangeError} when a line or an event is longer than any that is sent
   */
  push(text) {
    const events = [];
    let rest = this.#pending + text;
    if (this.#isFirst && rest.length > 0) {
      this.#isFirst = false;
      if (rest.startsWith('\uFEFF')) rest = rest.slice(1);
    }
    // The second half of a CRLF that came in two pieces.
    if (this.#skipsLineFeed && rest.length > 0) {
      this.#skipsLineFeed = false;
      if (rest.startsWith('\n')) rest = rest.slice(1);
    }
    let start = 0;
    for (let i = 0; i < rest.length; i += 1) {
      const char = rest[i];
      if (char !== '\n' && char !== '\r') continue;
      const event = this.#line(rest.slice(start, i));
      if (event) events.push(event);
      if (char === '\r' && i + 1 === rest.length) this.#skipsLineFeed = true;
      else if (char === '\r' && rest[i + 1] === '\n') i += 1;
      start = i + 1;
    }
    this.#pending = rest.slice(start);
    if (this.#pending.length + this.#size > PENDING_MAX) throw new RangeError('an event is too long');
    return events;
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#idInBlock = value;
    return null;
  }

  #dispatch() {
    this.#id = this.#idInBlock;
    const event = this.#data.length > 0 ? { type: this.#type || 'message', data: this.#data.join('\n'), id: this.#id } : null;
    this.#data = [];
    this.#size = 0;
    this.#type = '';
    return event;
  }
}
