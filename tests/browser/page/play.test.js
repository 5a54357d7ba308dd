// The page plays what a node relays.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open, textOf, untilPlaying, untilText, watch } from '../support/browser.js';
import { Source } from '../support/media.js';
import { Node } from '../support/node.js';
import { endAll } from '../support/process.js';

const LATENCY_MAX = 4;

let browser;
let node;

before(async () => {
  [browser, node] = await Promise.all([launch(), Node.start()]);
});

after(async () => {
  await browser?.close();
  await endAll();
});

const PLAYABLE = [
  'fMP4 with H.264 and AAC',
  'FLV with H.264 and AAC',
  'MPEG-TS with H.264 and AAC',
  'WebM with VP8 and Opus',
  'WebM with VP9 and Opus',
  'an H.264 byte stream',
  'MJPEG',
];

for (const kind of PLAYABLE) {
  test(`plays ${kind}, also for who joins later`, async () => {
    const channel = kind.replace(/[^A-Za-z0-9]+/g, '-');
    const source = new Source(node.stream(channel, 'k'), kind);
    const early = await open(browser, watch(node, channel, 'k'));
    await untilPlaying(early);
    const late = await open(browser, watch(node, channel, 'k'));
    await untilPlaying(late);
    await untilText(late, 'figure-latency', /^[\d.]+ s$/);
    const latency = parseFloat(await textOf(late, 'figure-latency'));
    assert.ok(latency < LATENCY_MAX, `${latency} s behind`);
    assert.match(await textOf(late, 'figure-picture'), /^320 × 180$/);
    await close(early);
    await close(late);
    await source.end();
  });
}

test('names the codec and the container that this browser cannot play', async () => {
  const source = new Source(node.stream('hevc', 'k'), 'an H.265 byte stream');
  const page = await open(browser, watch(node, 'hevc', 'k'));
  if (await page.evaluate(() => MediaSource.isTypeSupported('video/mp4; codecs="hvc1.1.6.L93.B0"'))) {
    await untilPlaying(page);
  } else {
    await untilText(page, 'screen-state', /^Stopped$/);
    await untilText(page, 'screen-words', /cannot play H\.265 \(h(vc|ev)1\..*\) in fMP4/);
  }
  await close(page);
  await source.end();
});

test('the list shows a channel, and the watch form works with the keyboard alone', async () => {
  const source = new Source(node.stream('keyboard', 'secret'), 'FLV with H.264 and AAC');
  const page = await open(browser, node.page);
  const item = page.locator('.channel', { hasText: 'keyboard' });
  await item.filter({ hasText: 'H.264' }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className);
  for (let presses = 0; (await focused()) !== 'channel'; presses += 1) {
    assert.ok(presses < 20, 'a channel can be reached with Tab');
    await page.keyboard.press('Tab');
  }
  await item.focus();
  await page.keyboard.press('Enter');
  assert.equal(await focused(), 'watch-key');
  assert.equal(await page.locator('#watch-channel').inputValue(), 'keyboard');
  await page.keyboard.type('secret');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  assert.equal(await page.locator('#watch-key').getAttribute('type'), 'text');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await untilPlaying(page);
  assert.equal(new URL(page.url()).hash, '#watch=keyboard', 'the key does not stand in the address');
  await page.reload();
  await untilPlaying(page);
  await page.locator('#stop').focus();
  await page.keyboard.press('Enter');
  await untilText(page, 'screen-state', /^Stopped$/);
  assert.equal(await focused(), 'watch-channel');
  await close(page);
  await source.end();
});

test('every control has a name, and nothing comes from elsewhere', async () => {
  const page = await open(browser, 'about:blank');
  const hosts = new Set();
  page.on('request', (request) => hosts.add(new URL(request.url()).host));
  await page.goto(node.page);
  await page.locator('#channels-count').filter({ hasText: /\w/ }).waitFor();
  const nameless = await page.evaluate(() => [...document.querySelectorAll('input, select, button, video, canvas, [role]')]
    .filter((element) => !element.matches('[role="status"]'))
    .filter((element) => !(element.getAttribute('aria-label') || element.getAttribute('aria-labelledby')
      || element.labels?.length || element.textContent.trim()))
    .map((element) => element.outerHTML));
  assert.deepEqual(nameless, []);
  assert.deepEqual([...hosts], [node.address]);
  await close(page);
});
