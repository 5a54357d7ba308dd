import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decide, errorText } from '../../../services/edge/src/page/closing.js';

const next = (code, reason, error) => decide({ code, reason, error }).next;

test('every documented code has its answer', () => {
  const answers = {
    wait: [1000],
    retry: [1001, 1006, 1011, 1012, 1013, 4408, 4429, 4499],
    stop: [1008, 1009, 4401, 4403, 4404, 4409],
  };
  for (const [answer, codes] of Object.entries(answers)) {
    for (const code of codes) assert.equal(next(code), answer, String(code));
  }
});

test('a wrong key is never tried again', () => {
  const close = decide({ code: 4403, reason: 'wrong_key', error: 'Invalid streaming key' });
  assert.deepEqual(close, { next: 'stop', hintMs: 0, code: 4403, words: 'The key is wrong' });
});

test('busy and replaced share a code and differ by name', () => {
  assert.equal(next(4409, 'busy retry_after_ms=700'), 'retry');
  assert.equal(next(4409, 'replaced'), 'stop');
});

test('a publisher that vanished is told from one that ended', () => {
  assert.match(decide({ code: 1000, reason: 'publisher_lost' }).words, /vanished/);
  assert.match(decide({ code: 1000, reason: 'publisher_ended' }).words, /ended/);
});

test('the hint is taken from the reason or the error text, and bounded', () => {
  const hint = (reason, error) => decide({ code: 1012, reason, error }).hintMs;
  assert.equal(hint('draining retry_after_ms=1200'), 1200);
  assert.equal(hint('', 'The node is leaving service retry_after_ms=900'), 900);
  assert.equal(hint('{"retry_after_ms": 50}'), 50);
  assert.equal(hint('draining'), 0);
  assert.equal(hint('retry_after_ms=999999999'), 60_000);
});

test("the node's own words stand where its code says less", () => {
  const close = decide({ code: 1008, reason: 'form_unavailable', error: 'The stream cannot be remuxed to the form asked for' });
  assert.equal(close.words, 'The stream cannot be remuxed to the form asked for');
});

test("an unknown code is a newer node's, and worth another try", () => {
  assert.deepEqual(decide({ code: 4777 }), { next: 'retry', hintMs: 0, code: 4777, words: 'The node closed the connection' });
});

test('only texts with the prefix are errors', () => {
  assert.equal(errorText('ERROR: Invalid streaming key'), 'Invalid streaming key');
  assert.equal(errorText('h'), null);
});
