import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backoff } from '../../../services/edge/src/page/backoff.js';

test('the range of waits doubles up to a ceiling, and starts anew after a reset', () => {
  const backoff = new Backoff(() => 1);
  const waits = Array.from({ length: 7 }, () => backoff.nextMs());
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  backoff.reset();
  assert.equal(backoff.nextMs(), 500);
});

test('a wait is anywhere in its range, and never before the hint', () => {
  assert.equal(new Backoff(() => 0).nextMs(), 0);
  assert.equal(new Backoff(() => 0).nextMs(2000), 2000);
  assert.equal(new Backoff(() => 0.5).nextMs(2000), 2250);
});
