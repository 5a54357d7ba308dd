// What a viewer sees beside the picture, and instead of it while the source is on its way.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open, textOf, untilPlaying, untilText, watch } from '../support/browser.js';
import { Cluster } from '../support/cluster.js';
import { Source } from '../support/media.js';
import { endAll } from '../support/process.js';

/** Of `dji/SN/39-0-7/normal-0`; what its hash is does not matter here. */
const CHANNEL = 'source-dji-SN-39-0-7-normal-0-0123456789';
const MARKUP = '<img src=x onerror=window.wasRun=1>';
const BRIDGE = { node: 'b1', incarnation: '0000000000000001' };

let browser;
let cluster;
let node;

before(async () => {
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  node = await cluster.node('n1');
});

after(async () => {
  await browser?.close();
  await endAll();
});

const report = (source) => cluster.tell('sources', {
  report: 'one', by: BRIDGE, source: { id: 'dji/SN/39-0-7/normal-0', channel: CHANNEL, kind: 'dji', bridge: 'b1', ...source },
});

const telemetry = (channel, topic, value) => cluster.tell(`telemetry.${channel}`, { topic, at_ms: Date.now(), value });

/** Tells it until it is seen: when a node listens does not show. */
async function until(seen, tell) {
  let isSeen = false;
  const waited = seen.finally(() => {
    isSeen = true;
  });
  while (!isSeen) {
    await tell();
    await Promise.race([waited, new Promise((resolve) => setTimeout(resolve, 100))]);
  }
  await waited;
}

const panel = (page) => page.locator('#telemetry');
const value = (page, name) => page.locator('#telemetry dl div', { has: page.locator('dt', { hasText: name }) }).locator('dd');

test('who waits reads what the camera does and why, and then sees telemetry', async () => {
  const page = await open(browser, watch(node, CHANNEL, cluster.watchKey(CHANNEL)));
  await untilText(page, 'screen-state', /^Waiting for a publisher$/);
  assert.equal(await panel(page).isVisible(), false, 'there is none');
  await until(untilText(page, 'screen-words', /^The camera is starting\.$/), () => report({ state: 'starting' }));
  await untilText(page, 'screen-state', /^Waiting for the camera$/);
  await report({ state: 'starting', reason: 'no_media' });
  await untilText(page, 'screen-words', /^The camera is starting\. It was asked, and no picture comes\.$/);
  await untilText(page, 'announce', /no picture comes/);
  await report({ state: 'idle', reason: 'offline' });
  await untilText(page, 'screen-words', /The device is offline\.$/);

  await telemetry(CHANNEL, 'thing/product/SN/osd', { battery: { percent: 80 }, note: MARKUP });
  await value(page, 'battery › percent').filter({ hasText: /^80$/ }).waitFor();
  assert.equal(await panel(page).isVisible(), true);
  await telemetry(CHANNEL, 'thing/product/SN/osd', { battery: { percent: 79 } });
  await value(page, 'battery › percent').filter({ hasText: /^79$/ }).waitFor();
  assert.equal(await page.evaluate(() => window.wasRun), undefined);
  await page.click('#stop');
  assert.equal(await panel(page).isVisible(), false);
  await close(page);
});

for (const [width, colorScheme] of [[1280, 'light'], [360, 'dark']]) {
  test(`telemetry stands beside the picture at ${width} pixels`, async () => {
    const channel = `cam-${width}`;
    const source = new Source(node.stream(channel, 'k'), 'FLV with H.264 and AAC');
    const page = await open(browser, watch(node, channel, 'k'), { viewport: { width, height: 800 }, colorScheme });
    await untilPlaying(page);
    const long = 'a-topic-that-does-not-end/'.repeat(8);
    const osd = { latitude: 52.3791, longitude: 4.9003, height: 118.4, battery: { percent: 62, voltage: 22.7 }, gear: [1, 2], rtk: { fixed: true } };
    await until(value(page, 'latitude').waitFor(), () => telemetry(channel, 'thing/product/SN/osd', osd));
    await telemetry(channel, long, Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`field-${i}`, i])));
    await page.locator('#telemetry .note').getByText('There is more than is shown.').filter({ visible: true }).waitFor();
    assert.match(await textOf(page, 'screen-state'), /^Live$/, 'the picture goes on');
    const scrolled = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(scrolled <= width, `${scrolled} wide`);
    if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/beside-${width}.png`, fullPage: true });
    await close(page);
    await source.end();
  });
}
