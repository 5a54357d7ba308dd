// The page publishes what its browser's camera sees.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open, textOf, untilPlaying, untilText, watch } from '../support/browser.js';
import { decode } from '../support/media.js';
import { Node } from '../support/node.js';
import { endAll } from '../support/process.js';

const FRAMES = 25;

let browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await endAll();
});

async function goOnAir(node, format) {
  const page = await open(browser, node.page);
  await page.click('#tab-publish');
  await page.fill('#publish-channel', 'studio');
  await page.fill('#publish-key', 'k');
  await page.selectOption('#publish-size', '640x360');
  await page.selectOption('#publish-format', { label: format });
  await page.click('#publish-start');
  await untilText(page, 'publish-state', /^On air$/);
  return page;
}

for (const format of [/VP8/, /H\.264/]) {
  test(`what a camera sees arrives at a decoder and at another page (${format.source})`, async () => {
    const node = await Node.start();
    const page = await open(browser, node.page);
    const label = await page.locator('#publish-format option', { hasText: format }).first().textContent();
    await close(page);
    const studio = await goOnAir(node, label);
    const viewer = await open(browser, watch(node, 'studio', 'k'));
    await untilPlaying(viewer);
    const { frames, complaints } = await decode(node.stream('studio', 'k'), FRAMES);
    assert.equal(complaints, '');
    assert.equal(frames, FRAMES);
    await untilText(studio, 'publish-rate', /[1-9]/);
    await studio.click('#publish-stop');
    await untilText(studio, 'publish-state', /^Off air$/);
    await untilText(viewer, 'screen-state', /^(Ended|Waiting for a publisher)$/);
    assert.match(await textOf(viewer, 'last-close'), /1000/);
    await close(studio);
    await close(viewer);
    await node.kill();
  });
}

test('goes on the air again when its node was killed and started again', async () => {
  const first = await Node.start();
  const studio = await goOnAir(first, 'WebM, VP8 + Opus: lowest latency');
  await first.kill();
  await untilText(studio, 'publish-state', /^Reconnecting$/);
  const second = await Node.start(first.address);
  await untilText(studio, 'publish-state', /^On air$/);
  const { frames, complaints } = await decode(second.stream('studio', 'k'), FRAMES);
  assert.equal(complaints, '');
  assert.equal(frames, FRAMES, 'the new connection began with a header');
  await close(studio);
  await second.kill();
});
