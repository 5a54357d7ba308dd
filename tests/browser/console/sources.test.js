// The console lists what bridges tell of sources, opens them, and has them started. The test is the bridge.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, untilText } from '../support/browser.js';
import { Cluster, OPERATOR_TOKEN, READER_TOKEN } from '../support/cluster.js';
import { consoleOf, part, row } from '../support/console.js';
import { endAll } from '../support/process.js';

const BRIDGE = { node: 'b1', incarnation: '0000000000000001' };
const CHANNELS = { 'dji/SN/39-0-7/normal-0': 'source-dji-SN-39-0-7-normal-0-2d77e19fcd', 'kerberos/hub/gate': 'source-kerberos-gate-0123456789' };
const DOCK = 'dji/SN/39-0-7/normal-0';
const GATE = 'kerberos/hub/gate';

let browser;
let cluster;
let manager;
let telling;
const sources = new Map();

const source = (id, state, more = {}) => ({ id, channel: CHANNELS[id], kind: id.split('/')[0], state, ...more });

/** All that the bridge knows. */
let round = 0;
function tell() {
  round += 1;
  return cluster.tell('sources', { report: 'whole', by: BRIDGE, round, part: 0, parts: 1, sources: [...sources.values()] });
}

function becomes(id, state, more) {
  sources.set(id, source(id, state, more));
  return tell();
}

before(async () => {
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  [, manager] = await Promise.all([
    cluster.node('n1'),
    cluster.manager([`--operator-tokens=${OPERATOR_TOKEN}`, `--reader-tokens=${READER_TOKEN}`]),
  ]);
  await manager.untilNodes(1);
  // As a bridge does: the stream-manager may not have listened before.
  telling = setInterval(tell, 1000);
  await becomes(GATE, 'idle', { online: true });
  await becomes(DOCK, 'idle', { reason: 'offline' });
});

after(async () => {
  clearInterval(telling);
  await browser?.close();
  await endAll();
});

const text = (locator, pattern) => locator.filter({ hasText: pattern }).waitFor();

test('sources are listed with what they do, why and where, as bridges tell it', async () => {
  const page = await consoleOf(browser, manager, { token: READER_TOKEN, view: '#sources' });
  const dock = row(page, 'sources', DOCK);
  await text(part(dock, 'state'), /^Off$/);
  await text(part(dock, 'reason'), /^The device is offline$/);
  await text(part(row(page, 'sources', GATE), 'reason'), /^The device is there$/);
  await becomes(DOCK, 'live', { node: 'n1', bridge: 'b1' });
  await text(part(dock, 'state'), /^Live$/);
  await text(part(dock, 'node'), /^n1$/);
  await page.getByLabel('Kind').selectOption('kerberos');
  await dock.waitFor({ state: 'detached' });
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/sources.png` });
  await part(row(page, 'sources', GATE), 'start').click();
  await text(page.getByRole('dialog', { name: 'Access' }), 'It takes the token of an operator.');
  await close(page);
});

test('a source is opened on the page of a node, which gets its key', async () => {
  const page = await consoleOf(browser, manager, { token: READER_TOKEN, view: '#sources' });
  const opened = page.context().waitForEvent('page');
  await part(row(page, 'sources', GATE), 'watch').click();
  const player = await opened;
  await untilText(player, 'screen-state', /^Waiting for (a publisher|the camera)$/);
  assert.match(await player.locator('#screen-channel').textContent(), /^source-kerberos-gate-[0-9a-f]{10}$/);
  await close(page);
});

test('an operator has a source started and stopped, and is told when it cannot be', async () => {
  const asks = [];
  const bridge = await cluster.answer(`node.${BRIDGE.node}.${BRIDGE.incarnation}`, (ask) => {
    asks.push(ask);
    if (ask.command === 'stop') return { answer: 'problem', status: 503, code: 'no-broker', detail: 'the broker is away' };
    return { answer: 'done', result: {} };
  });
  const page = await consoleOf(browser, manager, { token: OPERATOR_TOKEN, view: '#sources' });
  const gate = row(page, 'sources', GATE);
  await part(gate, 'start').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Start it' }).click();
  await untilText(page, 'announce', /^kerberos\/hub\/gate has started\.$/);
  await becomes(GATE, 'starting', { bridge: 'b1' });
  await text(part(gate, 'state'), /^Starting$/);
  await part(gate, 'stop').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop it' }).click();
  await untilText(page, 'confirm-trouble', /the broker is away/);
  assert.deepEqual(asks.map(({ ask, source, command }) => [ask, source, command]), [['command', GATE, 'start'], ['command', GATE, 'stop']]);
  bridge.close();
  await close(page);
});

test('without a token nothing is told of sources, and one is asked for', async () => {
  const page = await consoleOf(browser, manager, { view: '#sources' });
  await page.locator('#sources-token').waitFor();
  assert.equal(await page.locator('#sources-rows tr').count(), 0);
  await close(page);
});
