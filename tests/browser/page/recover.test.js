// What a viewer sees when things end, vanish and come back.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open, textOf, untilPlaying, untilText, watch } from '../support/browser.js';
import { Source } from '../support/media.js';
import { Node } from '../support/node.js';
import { endAll } from '../support/process.js';

const KIND = 'FLV with H.264 and AAC';

let browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await endAll();
});

test('plays on when its publisher vanishes and returns', async () => {
  const node = await Node.start();
  const source = new Source(node.stream('cam', 'k'), KIND);
  const page = await open(browser, watch(node, 'cam', 'k'));
  await untilPlaying(page);
  const before = await textOf(page, 'figure-reconnects-detail');
  await source.vanish();
  await page.waitForFunction((before) => document.getElementById('figure-reconnects-detail').textContent !== before, before);
  await untilPlaying(page);
  assert.equal(await textOf(page, 'figure-reconnects'), '0', 'the viewer was held, not sent away');
  await close(page);
  await source.end();
  await node.kill();
});

test('comes back when its node was killed and started again', async () => {
  const first = await Node.start();
  const source = new Source(first.stream('cam', 'k'), KIND);
  const page = await open(browser, watch(first, 'cam', 'k'));
  await untilPlaying(page);
  await first.kill();
  await untilText(page, 'screen-state', /^Reconnecting$/);
  assert.match(await textOf(page, 'last-close'), /^The connection was lost \(code 1006\)$/);
  const second = await Node.start(first.address);
  await untilPlaying(page);
  await close(page);
  await source.end();
  await second.kill();
});

test('waits for a publisher that is not there yet', async () => {
  const node = await Node.start();
  const page = await open(browser, watch(node, 'later', 'k'));
  await untilText(page, 'screen-state', /^Waiting for a publisher$/);
  const source = new Source(node.stream('later', 'k'), KIND);
  await untilPlaying(page);
  await close(page);
  await source.end();
  await node.kill();
});

test('says that the key is wrong, once', async () => {
  const node = await Node.start();
  const source = new Source(node.stream('cam', 'right'), KIND);
  const good = await open(browser, watch(node, 'cam', 'right'));
  await untilPlaying(good);
  const page = await open(browser, node.page);
  let attempts = 0;
  page.on('websocket', () => {
    attempts += 1;
  });
  await page.fill('#watch-channel', 'cam');
  await page.fill('#watch-key', 'wrong');
  await page.keyboard.press('Enter');
  await untilText(page, 'screen-state', /^Stopped$/);
  await untilText(page, 'screen-words', /^The key is wrong\.$/);
  assert.match(await textOf(page, 'last-close'), /4403/);
  assert.match(await textOf(page, 'announce'), /The key is wrong/, 'and it is announced');
  // Longer than the first back-off could take: the list's next two polls are the clock.
  await page.waitForResponse(/v1\/channels/);
  await page.waitForResponse(/v1\/channels/);
  assert.equal(attempts, 1);
  await close(page);
  await close(good);
  await source.end();
  await node.kill();
});
