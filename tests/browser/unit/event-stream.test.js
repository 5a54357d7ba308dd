import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventStreamParser } from '../../../services/stream-manager/src/console/event-stream.js';

const STREAM = 'retry: 700\n\nid: 5-0\nevent: node.lost\ndata: {"a":1}\n\n:\n\nid: 5-1\r\ndata: x\r\ndata:  y\r\n\r\ndata\rid: 6-0\r\rid: 7-0\n\n';

const EVENTS = [
  { type: 'node.lost', data: '{"a":1}', id: '5-0' },
  { type: 'message', data: 'x\n y', id: '5-1' },
  { type: 'message', data: '', id: '6-0' },
];

test('events are read whatever ends their lines', () => {
  const parser = new EventStreamParser();
  assert.deepEqual(parser.push(STREAM), EVENTS);
  assert.equal(parser.lastEventId, '7-0', 'an id counts without an event');
});

test('events are the same however the stream is cut', () => {
  for (let size = 1; size < STREAM.length; size += 1) {
    const parser = new EventStreamParser();
    const events = [];
    for (let i = 0; i < STREAM.length; i += size) events.push(...parser.push(STREAM.slice(i, i + size)));
    assert.deepEqual(events, EVENTS, `in pieces of ${size}`);
  }
});

test('an event that is not complete does not move on', () => {
  const parser = new EventStreamParser('4-0');
  assert.deepEqual(parser.push('id: 5-0\ndata: x\n'), []);
  assert.equal(parser.lastEventId, '4-0');
  parser.push('\n');
  assert.equal(parser.lastEventId, '5-0');
});

test('an event without an id has that of the one before', () => {
  const parser = new EventStreamParser('4-0');
  assert.deepEqual(parser.push('data: x\n\n'), [{ type: 'message', data: 'x', id: '4-0' }]);
  assert.deepEqual(parser.push('id: a\0b\ndata: y\n\n').map(({ id }) => id), ['4-0']);
});

test('a mark of the byte order is passed over at the beginning alone', () => {
  const parser = new EventStreamParser();
  assert.deepEqual(parser.push('\uFEFFdata: x\n\n\uFEFFdata: y\n\n').map(({ data }) => data), ['x']);
});

test('a line without an end, and an event without one, are not kept for ever', () => {
  const line = new EventStreamParser();
  line.push('x'.repeat(60_000));
  assert.throws(() => line.push('x'.repeat(6000)), RangeError);
  const event = new EventStreamParser();
  assert.throws(() => {
    for (let i = 0; i < 100; i += 1) event.push(`data: ${'x'.repeat(1000)}\n`);
  }, RangeError);
  const many = new EventStreamParser();
  assert.equal(many.push(`data: ${'x'.repeat(1000)}\n\n`.repeat(100)).length, 100, 'together they may be longer');
});
