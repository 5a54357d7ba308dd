// A viewer opens the page of a camera, which is started for it and stopped after it: everything between both is real.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open, untilPlaying, untilText } from '../support/browser.js';
import { Cluster, GRACE_MS, OPERATOR_TOKEN } from '../support/cluster.js';
import { endAll } from '../support/process.js';
import { Sim } from '../support/sim.js';

const DOCK = '4BKBJ4R1010TGD';
const AIRCRAFT = '1581F4BND22180040075';
const CAMERA = `dji/${AIRCRAFT}/52-0-0/normal-0`;
/** That of the camera, as whoever sets up telemetry has to name it. */
const CHANNEL = 'source-dji-1581F4BND22180040075-52-0-0-normal-0-6b0093b218';

const HUB = 'the-hub';
const PRIVATE_KEY = 'private-key-of-the-hub';
const AGENT = `kerberos/${HUB}/gate`;

/** Whoever waits for a device that never comes must not wait for ever. */
const TIMEOUT_MS = 120_000;

let browser;
let broker;
let manager;
let nodes;

before(async () => {
  let cluster;
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  [broker, manager, ...nodes] = await Promise.all([
    cluster.broker(),
    cluster.manager([`--operator-tokens=${OPERATOR_TOKEN}`]),
    ...['n1', 'n2'].map((name) => cluster.node(name, ['--rtmp-listen=127.0.0.1:0'])),
  ]);
  await manager.untilNodes(2);
  await cluster.bridge(manager, [
    `--telemetry=thing/product/${AIRCRAFT}/osd=${CHANNEL}`,
    `--kerberos-hub-key=${HUB}`,
    `--kerberos-hub-private-key=${PRIVATE_KEY}`,
    '--kerberos-camera=gate',
  ]);
}, { timeout: TIMEOUT_MS });

after(async () => {
  await browser?.close();
  await endAll();
});

/** The same page, with the same key, on the node that was not picked. */
function onOtherNode(page) {
  const { host, hash } = new URL(page);
  const other = nodes.find(({ address }) => address !== host);
  return other.page + hash;
}

async function screenshot(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}

test('a dock is started by its first viewer, changes while it is seen, and is stopped after its last', { timeout: TIMEOUT_MS }, async () => {
  const dock = new Sim('dock', broker, ['--sn', DOCK, '--aircraft', AIRCRAFT, '--camera=52-0-0:wide,zoom,ir']);
  const address = await manager.pageOf(CAMERA);
  assert.equal(new URLSearchParams(new URL(address).hash.slice(1)).get('watch'), CHANNEL);
  assert.equal(dock.events('start').length, 0, 'nobody watches');

  dock.pause();
  const first = await open(browser, address);
  await untilText(first, 'screen-words', /^The camera is starting\.$/);
  await screenshot(first, 'dock-starts');
  dock.resume();
  await untilPlaying(first);
  await untilText(first, 'figure-picture', /^640 × 360$/);
  await untilText(first, 'telemetry-topics', /latitude/);
  assert.match(await first.locator('#telemetry dl').getAttribute('aria-label'), new RegExp(`${AIRCRAFT}/osd$`));
  await screenshot(first, 'dock-live');

  const second = await open(browser, onOtherNode(address));
  await untilPlaying(second);

  await manager.command(CAMERA, 'quality', { quality: 1 });
  await untilText(first, 'figure-picture', /^480 × 270$/);
  await manager.command(CAMERA, 'lens', { lens: 'zoom' });
  await untilText(first, 'figure-picture', /^360 × 202$/);
  await untilText(second, 'figure-picture', /^360 × 202$/);
  await Promise.all([untilPlaying(first), untilPlaying(second)]);

  await close(first);
  await untilPlaying(second);
  assert.equal(dock.events('stop').length, 0, 'one still watches');
  assert.equal(dock.events('start').length, 1, 'another viewer and changes cost no start');
  const left = performance.now();
  await close(second);
  const { heardAt } = await dock.until('stop');
  assert.ok(heardAt - left >= GRACE_MS, `after ${heardAt - left} ms`);
  const { complaint } = await dock.until('push_ended');
  assert.equal(complaint, '', 'it was stopped, and not cut off');
});

test('an agent whose pictures are hidden is asked while somebody watches, and they move', { timeout: TIMEOUT_MS }, async () => {
  const agent = new Sim('kerberos', broker, ['--hub', HUB, '--device=gate', '--hidden', PRIVATE_KEY]);
  await agent.until('connected');
  const address = await manager.pageOf(AGENT);
  assert.equal(agent.events('requested').length, 0, 'nobody watches');

  const first = await open(browser, address);
  await untilPlaying(first);
  const second = await open(browser, onOtherNode(address));
  await untilPlaying(second);
  await screenshot(second, 'kerberos-live');
  await close(first);
  await close(second);
  assert.deepEqual(agent.events('dropped'), []);
});
