import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DEPTH_MAX, ROWS_MAX, TEXT_MAX, flatten } from '../../../services/edge/src/page/flatten.js';
import { sourceTitle, sourceWords } from '../../../services/edge/src/page/source-words.js';

test('nested JSON becomes rows of a path and a text', () => {
  const { rows, isCut } = flatten({ battery: { percent: 80, cells: [3.7, 3.8] }, armed: false, name: '', last: null, none: {} });
  assert.deepEqual(rows, [
    ['battery › percent', '80'],
    ['battery › cells › 0', '3.7'],
    ['battery › cells › 1', '3.8'],
    ['armed', 'no'],
    ['name', '–'],
    ['last', '–'],
    ['none', '–'],
  ]);
  assert.equal(isCut, false);
  assert.deepEqual(flatten(7).rows, [['', '7']]);
});

test('no more becomes rows than may, however much, deep and long it is', () => {
  const list = (length) => flatten(Array.from({ length }, (_, i) => i));
  assert.equal(list(ROWS_MAX).isCut, false);
  const { rows, isCut } = list(ROWS_MAX + 1);
  assert.deepEqual([rows.length, isCut], [ROWS_MAX, true]);
  let deep = 1;
  for (let i = 0; i < 1000; i += 1) deep = { a: deep };
  assert.deepEqual(flatten(deep).rows, [[Array(DEPTH_MAX).fill('a').join(' › '), '…']]);
  assert.equal(flatten('x'.repeat(TEXT_MAX + 1)).rows[0][1].length, TEXT_MAX);
});

test('what a source does is told with the reason, as far as it is known', () => {
  assert.equal(sourceWords({ state: 'starting' }), 'The camera is starting.');
  assert.equal(sourceWords({ state: 'starting', reason: 'no_media' }), 'The camera is starting. It was asked, and no picture comes.');
  assert.equal(sourceWords({ state: 'idle', online: false }), 'The camera is off. The device is offline.');
  assert.equal(sourceWords({ state: 'idle', reason: 'device says 513003' }), 'The camera is off. The device says 513003.');
  assert.equal(sourceWords({ state: 'starting', reason: 'toString' }), 'The camera is starting.');
  assert.equal(sourceTitle({ state: 'starting' }), 'Waiting for the camera');
  assert.equal(sourceTitle({ state: 'external' }), 'Streams elsewhere');
  for (const unknown of [null, { state: 'constructor' }, {}]) {
    assert.deepEqual([sourceTitle(unknown), sourceWords(unknown)], ['Waiting for a publisher', '']);
  }
});
