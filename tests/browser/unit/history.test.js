import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Histories, History, SPAN_MS, linePath } from '../../../services/stream-manager/src/console/history.js';

const BOX = { width: 100, height: 24, least: 1 };

test('a history reaches back as far as its span, and no further', () => {
  const history = new History();
  history.add([1, 10], 0);
  history.add([2, 20], SPAN_MS - 1);
  assert.deepEqual(history.of(0).map(({ value }) => value), [1, 2]);
  history.add([3, 30], SPAN_MS);
  assert.deepEqual(history.of(1).map(({ value }) => value), [20, 30]);
});

test('a history does not grow with how often it is told', () => {
  const history = new History();
  for (let i = 0; i < 1000; i += 1) history.add([i], i);
  assert.equal(history.of(0).length, 128);
  assert.equal(history.of(0).at(-1).value, 999);
});

test('what is told of no more is forgotten', () => {
  const histories = new Histories();
  histories.add('n1', [1], 0);
  histories.add('n2', [1], 1000);
  histories.forget(SPAN_MS);
  assert.equal(histories.size, 2);
  histories.forget(SPAN_MS + 1);
  assert.equal(histories.get('n1'), null);
  assert.equal(histories.size, 1);
});

test('a line ends at the right, and its height is that of the greatest or of the least that fills it', () => {
  const at = (ms, value) => ({ at: ms, value });
  assert.equal(linePath([at(0, 0), at(2000, 4)], BOX), 'M98.9 23.0L100.0 1.0');
  assert.equal(linePath([at(0, 0.5)], BOX), 'M100.0 12.0h0', 'one sample is a dot');
  assert.equal(linePath([], BOX), '');
});

test('where nothing was told there is a gap', () => {
  const path = linePath([0, 2000, 4000, 60_000, 62_000].map((at) => ({ at, value: 1 })), BOX);
  assert.deepEqual([...path].filter((char) => /[ML]/.test(char)).join(''), 'MLLML');
});
