import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BOXES_MAX, flowOf, heightOf, linesTo } from '../../../services/stream-manager/src/console/flow.js';
import {
  agoText, bytesText, clockText, numberText, rateText, shareText, sinceText, spanText,
} from '../../../services/stream-manager/src/console/format.js';
import { Pages } from '../../../services/stream-manager/src/console/pages.js';
import { apiUrl, channelLink, listOf, playerUrl, routeOf } from '../../../services/stream-manager/src/console/routes.js';
import { desiredText, freshness, mediaParts, nodeState, tell } from '../../../services/stream-manager/src/console/words.js';

test('a fragment names a list or one thing', () => {
  assert.deepEqual(routeOf(''), { view: 'nodes', name: null });
  assert.deepEqual(routeOf('#channels'), { view: 'channels', name: null });
  assert.deepEqual(routeOf('#node=n1'), { view: 'node', name: 'n1' });
  assert.deepEqual(routeOf(channelLink('a&node=b%')), { view: 'channel', name: 'a&node=b%' });
  assert.deepEqual(routeOf('#channel='), { view: 'nodes', name: null });
  assert.deepEqual(routeOf('#__proto__'), { view: 'nodes', name: null });
  assert.equal(listOf('channel'), 'channels');
});

test('questions stand beside the page, and names cannot leave their place', () => {
  const url = (...args) => apiUrl('https://h/console-of/eu/?x#nodes', ...args);
  assert.equal(url(['v1', 'channels', 'cam:close']), 'https://h/console-of/eu/v1/channels/cam:close');
  assert.equal(url(['v1', 'nodes', '../../x?y#z']), 'https://h/console-of/eu/v1/nodes/..%2F..%2Fx%3Fy%23z');
  assert.equal(url(['v1', 'nodes'], { after: null, state: '', limit: 100 }), 'https://h/console-of/eu/v1/nodes?limit=100');
  assert.equal(url(['v1', 'channels'], { prefix: 'a&b' }), 'https://h/console-of/eu/v1/channels?prefix=a%26b');
});

test('a player is a page of the web, with the key where no server sees it', () => {
  assert.equal(playerUrl('http://n1:8080/#watch=cam', 'a&b'), 'http://n1:8080/#watch=cam&key=a%26b');
  assert.equal(playerUrl('https://n1/#watch=cam', ''), 'https://n1/#watch=cam');
  for (const bad of ['javascript:alert(1)//http://', 'data:text/html,x', '//n1', 'http://', 'n1', undefined, null]) {
    assert.equal(playerUrl(bad, 'k'), null, String(bad));
  }
});

test('one goes forth as far as the API tells, and back to where one was', () => {
  const pages = new Pages(2);
  pages.answered(0, undefined);
  assert.equal(pages.range, null);
  pages.answered(2, 'b');
  assert.deepEqual([pages.after, pages.hasPrevious, pages.hasNext, pages.range], [null, false, true, [1, 2]]);
  pages.forward();
  pages.forward();
  assert.equal(pages.after, 'b', 'the next of the next is not known yet');
  pages.answered(1, undefined);
  assert.deepEqual([pages.hasPrevious, pages.hasNext, pages.range], [true, false, [3, 3]]);
  pages.back();
  pages.back();
  assert.equal(pages.after, null);
  pages.answered(2, 'b');
  pages.forward();
  pages.restart();
  assert.equal(pages.after, null);
});

test('figures are short and keep what matters', () => {
  assert.equal(numberText(1_234_567), '1,234,567');
  assert.deepEqual([0, 999, 1000, 999_499, 99_960, 2_400_000, 1.2e13].map(rateText),
    ['0 bit/s', '999 bit/s', '1.0 kbit/s', '999 kbit/s', '100 kbit/s', '2.4 Mbit/s', '12.0 Tbit/s']);
  assert.deepEqual([999, 999.6, 1_500_000].map(bytesText), ['999 B', '1.0 kB', '1.5 MB']);
  assert.deepEqual([0, 0.004, 0.01, 0.426, 1, 1.5].map(shareText), ['0 %', '<1 %', '1 %', '43 %', '100 %', '150 %']);
});

test('times are as exact as one needs them', () => {
  assert.deepEqual([-5, 400, 12_000, 119_000, 180_000, 7_200_000, 400_000_000].map(agoText),
    ['0.0 s', '0.4 s', '12 s', '119 s', '3 min', '2 h', '5 d']);
  assert.deepEqual([0, 59_999, 60_000, 3_600_000, 15_120_000, 273_600_000].map(spanText),
    ['0 s', '59 s', '1 min', '1 h 0 min', '4 h 12 min', '3 d 4 h']);
  assert.equal(sinceText('1970-01-01T00:00:01Z', 62_000), '1 min');
  assert.equal(sinceText('1970-01-01T00:01:00Z', 0), '0 s', 'a clock that is ahead');
  assert.equal(sinceText(undefined, 0), null);
  assert.match(clockText('2026-01-31T12:00:00Z'), /^\d\d:\d\d:\d\d$/);
  assert.equal(clockText('x'), '–');
});

test('media are named once', () => {
  const video = { kind: 'video', codec: 'avc1.64001f', width: 640, height: 360 };
  assert.deepEqual(mediaParts({ container: 'flv', tracks: [video] }), ['640 × 360 H.264', 'FLV']);
  assert.deepEqual(mediaParts({ container: 'mjpeg', tracks: [{ kind: 'video', codec: 'mjpeg' }] }), ['MJPEG']);
  assert.deepEqual(mediaParts({}), []);
});

test('a silent node is silent, whatever it said last', () => {
  assert.deepEqual(nodeState({ silent: true, state: 'in_service', age_ms: 8000 }), { tone: 'bad', words: 'Silent 8.0 s' });
  assert.equal(nodeState({ silent: false, state: 'draining' }).words, 'Draining');
  assert.equal(nodeState({ silent: false, state: 'in_service' }).tone, 'good');
  assert.equal(nodeState({ silent: false, state: 'resting' }).words, 'resting');
});

test('what is wrong is told, the worst first', () => {
  const up = { registry: 'up', backbone: 'up', age_ms: 200 };
  const known = { view: up, isReached: true, isAllowed: true, answerAgeMs: 100 };
  const tone = (change) => freshness({ ...known, ...change }).tone;
  assert.equal(tone({}), 'good');
  assert.equal(tone({ view: null }), 'wait');
  assert.equal(tone({ view: { ...up, age_ms: undefined } }), 'wait');
  assert.equal(tone({ view: { ...up, age_ms: 6000 } }), 'good');
  assert.equal(tone({ view: { ...up, age_ms: 6001 } }), 'bad');
  assert.equal(tone({ view: { ...up, registry: 'down' } }), 'warn');
  assert.equal(tone({ view: { ...up, backbone: 'down' } }), 'warn');
  assert.equal(tone({ view: { registry: 'down', backbone: 'down', age_ms: 0 } }), 'bad');
  assert.equal(tone({ isAllowed: false }), 'warn');
  const away = freshness({ ...known, isReached: false, answerAgeMs: 12_000 });
  assert.deepEqual([away.tone, /does not answer.* 12 s old/.test(away.words)], ['bad', true]);
});

test('every kind of event is a sentence', () => {
  const event = { channel: 'cam', node: 'n1', reason: 'lost', role: 'publish' };
  const sentence = (type, change) => tell({ type, ...event, ...change }).parts
    .map((part) => (typeof part === 'string' ? part : `[${part.channel ?? part.node}]`)).join('');
  assert.equal(sentence('channel.started'), '[cam] went live on [n1]');
  assert.equal(sentence('channel.ended'), '[cam] ended: its publisher vanished');
  assert.equal(sentence('channel.ended', { reason: 'bored' }), '[cam] ended: bored');
  assert.equal(sentence('node.lost'), '[n1] has vanished');
  assert.equal(sentence('admission.refused', { reason: 'wrong_key' }), 'A publisher of [cam] was refused on [n1]: wrong_key');
  assert.equal(sentence('admission.refused', { channel: undefined, role: 'receive', reason: undefined }), 'A receiver was refused on [n1]');
  assert.equal(sentence('receivers.first'), 'Somebody came to watch [cam]');
  assert.equal(sentence('moon.rose'), 'moon.rose', 'an event of a newer stream-manager');
});

test('how many nodes are wanted is told beside how many there are', () => {
  assert.deepEqual([[3, 3], [5, 3], [1, 3]].map((pair) => desiredText(...pair)), ['as in service', '2 more wanted', '2 could go']);
});

test('a channel flows from its origin to the others', () => {
  const nodes = [
    { node: 'n1', part: 'edge', receivers: 3 },
    { node: 'n2', part: 'origin', receivers: 1 },
    { node: 'n3', part: 'edge', receivers: 0 },
  ];
  const flow = flowOf({ origin: 'n2', nodes });
  assert.equal(flow.origin.node, 'n2');
  assert.deepEqual(flow.others.map(({ node }) => node), ['n1', 'n3']);
  assert.equal(flow.rest, null);
  assert.deepEqual(flowOf({ origin: 'n9', nodes: [] }).origin, { node: 'n9', part: 'origin', receivers: 0 }, 'an origin that is not heard of');
  const waiting = flowOf({ nodes: [{ node: 'n1', part: 'waiting', receivers: 2 }] });
  assert.deepEqual([waiting.origin, waiting.others.length], [null, 1]);
});

test('of many nodes those with the most viewers are shown, in their order, and none is lost', () => {
  const nodes = Array.from({ length: 20 }, (_, i) => ({ node: `n${i}`, part: 'edge', receivers: (i * 7) % 20 }));
  const { others, rest } = flowOf({ origin: 'o', nodes });
  assert.equal(others.length + 1, BOXES_MAX);
  assert.deepEqual(others.map(({ node }) => node), others.toSorted((a, b) => Number(a.node.slice(1)) - Number(b.node.slice(1))).map(({ node }) => node));
  assert.equal(rest.nodes + others.length, 20);
  assert.equal(others.concat(rest).reduce((sum, { receivers }) => sum + receivers, 0), 190);
  assert.equal(flowOf({ origin: 'o', nodes: nodes.slice(0, BOXES_MAX) }).rest, null);
});

test('lines lead to the middle of boxes, the widest to the most viewers', () => {
  const lines = linesTo([0, 10]);
  assert.equal(heightOf(2), 106);
  assert.deepEqual(lines.map(({ path }) => path), ['M0 53C50 53 50 24 100 24', 'M0 53C50 53 50 82 100 82']);
  assert.deepEqual(lines.map(({ width }) => width), [1.5, 7]);
});
