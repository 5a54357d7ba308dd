// What the end of a connection means and what to do next. Pure.
//
// A node says why in three places, any of which may be missing: an `ERROR: …` text, the close code, and a close reason whose
// first word is the reason's name. The name is the most exact, the code is what every node has.

/** @typedef {'wait' | 'retry' | 'stop'} Next wait for the publisher to return, come back after a back-off, or give up */

const BY_NAME = new Map([
  ['publisher_ended', { next: 'wait', words: 'The publisher ended the stream' }],
  ['publisher_lost', { next: 'wait', words: 'The publisher vanished and did not return in time' }],
  ['draining', { next: 'retry', words: 'The node is leaving service' }],
  ['full', { next: 'retry', words: 'The node or the channel is full' }],
  ['wrong_key', { next: 'stop', words: 'The key is wrong' }],
  ['idle', { next: 'retry', words: 'The node heard nothing from this page' }],
  ['stalled', { next: 'retry', words: 'The node received no media from this page' }],
  ['busy', { next: 'retry', words: 'Somebody else is publishing on this channel' }],
  ['replaced', { next: 'stop', words: 'A newer publisher took over this channel' }],
  ['too_slow', { next: 'retry', words: 'This connection is too slow for the stream' }],
]);

const BY_CODE = new Map([
  [1000, BY_NAME.get('publisher_ended')],
  [1001, BY_NAME.get('draining')],
  [1006, { next: 'retry', words: 'The connection was lost' }],
  [1008, { next: 'stop', words: 'The node does not allow this' }],
  [1009, { next: 'stop', words: 'A chunk was larger than the node accepts' }],
  [1011, { next: 'retry', words: 'The node met an internal error' }],
  [1012, BY_NAME.get('draining')],
  [1013, BY_NAME.get('full')],
  [4401, { next: 'stop', words: 'The key is missing or has expired' }],
  [4403, BY_NAME.get('wrong_key')],
  [4404, { next: 'stop', words: 'The channel name or the key is not well formed' }],
  [4408, { next: 'retry', words: 'The stream stalled' }],
  [4409, { next: 'stop', words: 'Somebody else is publishing on this channel' }],
  [4429, { next: 'retry', words: 'Too many connections from here' }],
  [4499, BY_NAME.get('too_slow')],
]);

const UNKNOWN = { next: 'retry', words: 'The node closed the connection' };

// A hint is advice from the network: a wrong one must not park a viewer for an hour.
const HINT_MS_MAX = 60_000;

const ERROR_PREFIX = 'ERROR: ';
const HINT = /retry_after_ms["']?\s*[:=]\s*(\d{1,9})/;

/** The text of an error message of the protocol, or null for any other text. */
export function errorText(message) {
  return message.startsWith(ERROR_PREFIX) ? message.slice(ERROR_PREFIX.length).trim() : null;
}

/**
 * Decide what follows a close.
 *
 * @param {{code: number, reason?: string, error?: string | null}} close
 * @returns {{next: Next, hintMs: number, code: number, words: string}}
 */
export function decide({ code, reason = '', error = null }) {
  const hint = HINT.exec(reason) ?? HINT.exec(error ?? '');
  const named = BY_NAME.get(/^\w*/.exec(reason)[0]);
  const { next, words } = named ?? BY_CODE.get(code) ?? UNKNOWN;
  return {
    next,
    hintMs: hint ? Math.min(Number(hint[1]), HINT_MS_MAX) : 0,
    code,
    words: named || !error ? words : error.replace(HINT, '').trim(),
  };
}
