import assert from 'node:assert/strict';
import { test } from 'node:test';

import { JpegSplitter } from '../../../services/edge/src/page/jpeg-splitter.js';

const segment = (marker, payload) => [0xff, marker, (payload.length + 2) >> 8, (payload.length + 2) & 0xff, ...payload];

/** A picture with everything that could be mistaken for its end. */
function picture(n) {
  const thumbnail = [0xff, 0xd8, 0xff, 0xd9];
  return [
    0xff, 0xd8,
    ...segment(0xe1, thumbnail),
    ...segment(0xda, [1, 2, 3]),
    n, 0xff, 0x00, 0xd9, 0xff, 0xd3, n,
    0xff, // a fill byte before the next scan's marker
    ...segment(0xda, [4]),
    n, n,
    0xff, 0xd9,
  ];
}

const split = (splitter, bytes, size) => {
  const pictures = [];
  for (let at = 0; at < bytes.length; at += size) {
    pictures.push(...splitter.push(Uint8Array.from(bytes.slice(at, at + size))));
  }
  return pictures.map((bytes) => [...bytes]);
};

test('pictures come out whole however the bytes are cut', () => {
  const pictures = [picture(1), picture(2), picture(3)];
  const bytes = pictures.flat();
  for (let size = 1; size <= bytes.length; size += 1) {
    assert.deepEqual(split(new JpegSplitter(), bytes, size), pictures, `in pieces of ${size}`);
  }
});

test('what stands between pictures is dropped', () => {
  const headers = [...Buffer.from('\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n')];
  const bytes = [0xff, 0x00, ...headers, ...picture(1), ...headers, ...picture(2)];
  assert.deepEqual(split(new JpegSplitter(), bytes, 7), [picture(1), picture(2)]);
});

test('a picture that was cut short does not take the next one with it', () => {
  const cut = [0xff, 0xd8, ...segment(0xda, [1]), 5, 6];
  assert.deepEqual(split(new JpegSplitter(), [...cut, ...picture(2)], 64), [picture(2)]);
});

test('bytes without an end are given up', () => {
  const splitter = new JpegSplitter();
  splitter.push(Uint8Array.from([0xff, 0xd8, ...segment(0xda, [1])]));
  const noise = new Uint8Array(4 * 1024 * 1024).fill(1);
  for (let i = 0; i < 5; i += 1) splitter.push(noise);
  assert.deepEqual(split(splitter, picture(1), 64), [picture(1)]);
});
