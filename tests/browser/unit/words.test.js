import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isChannelName, streamUrl, watchRequest } from '../../../services/edge/src/page/address.js';
import { tracksText, whyUnplayable } from '../../../services/edge/src/page/codecs.js';
import { elapsedText } from '../../../services/edge/src/page/format.js';
import { NetworkDelay, RateMeter } from '../../../services/edge/src/page/meters.js';

test('streams stand beside the page, in the scheme of the page', () => {
  assert.equal(streamUrl('http://h:1/#watch=a&key=b', 'cam1', 'k', 'receive', { as: 'fmp4' }), 'ws://h:1/cam1/k/receive?as=fmp4');
  assert.equal(streamUrl('https://h/relay/', 'cam1', 'a/b', 'publish'), 'wss://h/relay/cam1/a%2Fb/publish');
});

test('a fragment asks for a channel only with a well-formed name', () => {
  assert.deepEqual(watchRequest('#watch=demo&key=k'), { channel: 'demo', key: 'k' });
  assert.deepEqual(watchRequest('#watch=demo'), { channel: 'demo', key: null });
  assert.equal(watchRequest('#watch=../x'), null);
  assert.equal(watchRequest('#main'), null);
  assert.ok(!isChannelName('a'.repeat(129)));
});

test('what a browser cannot play is named by codec and container', () => {
  const isSupported = (mime) => !/hvc1/.test(mime);
  const start = { container: 'fmp4', mime: 'video/mp4; codecs="hvc1.1.6.L93.B0,mp4a.40.2"' };
  assert.equal(whyUnplayable(start, isSupported), 'This browser cannot play H.265 (hvc1.1.6.L93.B0) in fMP4');
  assert.equal(whyUnplayable({ container: 'fmp4', mime: 'video/mp4; codecs="avc1.64001f"' }, isSupported), null);
  assert.match(whyUnplayable({ container: 'opaque', mime: null }, isSupported), /does not know/);
  assert.match(whyUnplayable({ container: 'flv', mime: null }, isSupported), /cannot play FLV/);
});

test('tracks read as far as they are known', () => {
  const tracks = [{ kind: 'video', codec: 'avc1.64001f', width: 1280, height: 720 }, { kind: 'audio', codec: 'mp4a.40.2', sample_rate: 44_100 }];
  assert.equal(tracksText(tracks), '1280 × 720 H.264, AAC 44.1 kHz');
  assert.equal(tracksText([{ kind: 'video', codec: '' }]), 'video');
});

test('elapsed time reads like a clock', () => {
  assert.deepEqual([7000, 750_000, 3_723_000].map(elapsedText), ['0:07', '12:30', '1:02:03']);
});

test('the bitrate is that of the last second', () => {
  const rate = new RateMeter();
  rate.add(1000, 0);
  rate.add(500, 900);
  assert.equal(rate.bitsPerSecond(950), 12_000);
  assert.equal(rate.bitsPerSecond(1500), 4000);
  assert.equal(rate.bitsPerSecond(5000), 0);
});

test('network delay does not trust that clocks agree', () => {
  const delay = new NetworkDelay();
  delay.opened(40);
  assert.equal(delay.ms, null);
  const offset = 3_600_000;
  delay.observe(0, offset + 10);
  assert.equal(delay.ms, 10);
  delay.observe(1000, offset + 1310);
  assert.equal(delay.ms, 310, 'a message that queued for 300 ms');
});
