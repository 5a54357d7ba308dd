// The console shows what happens in a cluster, and does what operators tell it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch } from '../support/browser.js';
import { Cluster, OPERATOR_TOKEN } from '../support/cluster.js';
import { consoleOf, event, part, row, tabTo } from '../support/console.js';
import { RELAYCAST } from '../support/node.js';
import { Source } from '../support/media.js';
import { end, endAll, start } from '../support/process.js';

/** Where a node says it is, what nobody can be called. */
const MARKUP = '<img src=x onerror=window.wasRun=1>';

/** What expires does so within a test. */
const SHORT = ['--drain-deadline=2s', '--grace=2s', '--upstream-linger=1s'];

let browser;
let cluster;
let manager;
let n1;
let n2;

before(async () => {
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  [n1, n2, manager] = await Promise.all([
    cluster.node('n1', ['--region=eu', '--zone=a', ...SHORT]),
    cluster.node('n2', [`--region=${MARKUP}`, ...SHORT]),
    cluster.manager([`--operator-tokens=${OPERATOR_TOKEN}`]),
  ]);
  await manager.untilNodes(2);
});

after(async () => {
  await browser?.close();
  await endAll();
});

const operator = (view = '') => consoleOf(browser, manager, { token: OPERATOR_TOKEN, view });

const receive = (node, channel) => start(RELAYCAST, ['receive', node.stream(channel, 'k')], ['ignore', 'ignore', 'ignore']);

const text = (locator, pattern) => locator.filter({ hasText: pattern }).waitFor();

test('a channel is there as soon as somebody publishes, its receivers are counted, and it goes', async () => {
  const page = await operator('#channels');
  await page.getByText('No channel is on.').waitFor();
  const source = new Source(n1.stream('flowing', 'k'), 'FLV with H.264 and AAC');
  const channel = row(page, 'channels', 'flowing');
  await text(part(channel, 'state'), /^Live$/);
  await text(part(channel, 'media'), /^320 × 180 H\.264, AAC 48 kHz · FLV$/);
  await text(part(channel, 'origin'), /^n1$/);
  await event(page, 'flowing went live on n1').waitFor();
  const receivers = [receive(n1, 'flowing'), receive(n2, 'flowing'), receive(n2, 'flowing')];
  await text(part(channel, 'viewers'), /^3$/);
  await text(part(channel, 'edges'), /^1$/);
  await text(page.locator('#total-receivers'), /^3$/);

  await part(channel, 'name').click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'channel-title');
  assert.equal(await page.title(), 'flowing – Relaycast');
  await text(page.locator('#flow-origin'), /n1origin, 1 viewer$/);
  await text(page.locator('#flow-others'), /^\s*n22 viewers\s*$/);
  await text(page.locator('#flow-words'), /^From n1 to 1 other node; together 3 viewers\.$/);

  await Promise.all(receivers.map((receiver) => end(receiver)));
  await text(page.locator('#channel-viewers'), /^0$/);
  await event(page, 'Nobody watches flowing any more').waitFor();
  await source.end();
  await page.locator('#channel-note', { hasText: 'Nobody publishes, receives or waits' }).waitFor();
  await event(page, 'flowing ended').waitFor();
  await close(page);
});

test('a session that is kicked ends, and the others stay', async () => {
  const source = new Source(n1.stream('kicked', 'k'), 'FLV with H.264 and AAC');
  const receivers = [receive(n1, 'kicked'), receive(n2, 'kicked')];
  const page = await operator('#channel=kicked');
  const ofN2 = page.locator('#sessions-rows tr', { hasText: 'receive' }).filter({ has: page.getByRole('link', { name: 'n2', exact: true }) });
  await ofN2.waitFor();
  const number = await part(ofN2, 'session').textContent();
  await part(ofN2, 'kick').click();
  const dialog = page.getByRole('dialog', { name: `Kick session ${number}?` });
  await text(dialog, new RegExp('Ends this receive session of kicked on n2'));
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), `Kick session ${number}`);
  await part(ofN2, 'kick').click();
  await dialog.getByRole('button', { name: 'Kick it' }).click();
  await ofN2.filter({ hasText: number }).waitFor({ state: 'detached' });
  await text(page.locator('#announce'), `Session ${number} is ended.`);
  assert.equal(await page.locator('#sessions-rows tr', { hasText: 'publish' }).count(), 1);
  assert.equal(await page.locator('#sessions-rows tr', { hasText: 'receive' }).filter({ has: page.getByRole('link', { name: 'n1', exact: true }) }).count(), 1);
  await Promise.all(receivers.map((receiver) => end(receiver)));
  await close(page);
  await source.end();
});

test('a channel is closed', async () => {
  const publisher = start(RELAYCAST, ['publish', n1.stream('closed', 'k')], ['pipe', 'ignore', 'ignore']);
  const receiver = receive(n2, 'closed');
  const page = await operator('#channel=closed');
  // A publisher that has sent nothing yet is one that can be closed.
  await text(page.locator('#channel-state'), /^(Live|Stalled)$/);
  await page.getByRole('button', { name: 'Close closed' }).click();
  await page.getByRole('button', { name: 'Close closed', exact: true }).last().click();
  await text(page.locator('#announce'), 'closed is closed.');
  await event(page, 'closed was ended').waitFor();
  await Promise.all([end(publisher), end(receiver)]);
  await close(page);
});

test('a node is drained and put into service again with the keyboard alone', async () => {
  const page = await operator();
  const node = row(page, 'nodes', 'n1');
  await text(part(node, 'state'), /^In service$/);
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  for (const [verb, state, words] of [['Drain', /^Draining$/, 'n1 takes nothing new any more'], ['Undrain', /^In service$/, 'n1 came into service']]) {
    const button = page.getByRole('button', { name: `${verb} n1`, exact: true });
    await button.waitFor();
    await tabTo(page, button);
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: /n1/ }).waitFor();
    assert.equal(await focused(), 'Cancel', 'what cannot be undone takes another key');
    await page.keyboard.press('Escape');
    assert.equal(await focused(), verb, 'the focus comes back');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), `${verb} n1`);
    await page.keyboard.press('Enter');
    await text(part(node, 'state'), state);
    await event(page, words).first().waitFor();
    assert.match(await focused(), /^(Undrain|Drain)$/);
  }
  await close(page);
});

test('what nodes tell is text, whatever it looks like', async () => {
  const page = await operator();
  const node = row(page, 'nodes', 'n2');
  await text(part(node, 'place'), MARKUP);
  await text(page.locator('#nodes-region'), MARKUP);
  await part(node, 'name').click();
  await text(page.locator('#node-place'), MARKUP);
  assert.equal(await page.locator('img').count(), 1, 'only the snapshot is a picture');
  assert.equal(await page.evaluate(() => window.wasRun), undefined);
  await close(page);
});

test('a stream of pictures shows one', async () => {
  const source = new Source(n2.stream('pictures', 'k'), 'MJPEG');
  const page = await operator('#channel=pictures');
  const image = page.getByRole('img', { name: 'Picture of pictures' });
  await image.waitFor();
  await page.waitForFunction(() => document.getElementById('snapshot-image').naturalWidth === 320);
  await page.goto(`${manager.page}#nodes`);
  assert.equal(await page.locator('#snapshot-image').getAttribute('src'), null, 'it is not kept');
  await close(page);
  await source.end();
});

test('the player opens in a tab of its own, and the key is kept nowhere', async () => {
  const source = new Source(n1.stream('played', 'secret-key'), 'FLV with H.264 and AAC');
  const page = await operator('#channel=played');
  await text(page.locator('#channel-state'), /^Live$/);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.getByLabel('Key of the channel').fill('secret-key');
  const [player] = await Promise.all([page.context().waitForEvent('page'), page.keyboard.press('Enter')]);
  await player.waitForURL(/#watch=played/);
  assert.ok([n1, n2].some((node) => player.url().startsWith(node.page)), player.url());
  await player.locator('#screen-state', { hasText: /^Live$/ }).waitFor();
  assert.equal(await player.evaluate(() => window.opener), null);
  assert.equal(await page.getByLabel('Key of the channel').inputValue(), '');
  const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }, location.href, document.documentElement.outerHTML]));
  assert.ok(!kept.includes('secret-key'));
  assert.ok(!asked.some((url) => url.includes('secret-key')), 'the stream-manager need not know it');
  await close(page);
  await source.end();
});

test('a stream-manager that goes and comes back is noticed, and no event is told twice or lost', async () => {
  const second = await cluster.manager([`--operator-tokens=${OPERATOR_TOKEN}`]);
  const page = await consoleOf(browser, second);
  await page.locator('#status[data-tone="good"]').waitFor();
  await second.kill();
  await page.locator('#status[data-tone="bad"]', { hasText: 'The stream-manager does not answer' }).waitFor();
  const source = new Source(n1.stream('meanwhile', 'k'), 'FLV with H.264 and AAC');
  const other = await operator();
  await event(other, 'meanwhile went live').waitFor();
  const again = await cluster.manager([`--operator-tokens=${OPERATOR_TOKEN}`], second.address);
  await page.locator('#status[data-tone="good"]').waitFor();
  await event(page, 'meanwhile went live').waitFor();
  assert.equal(await event(page, 'meanwhile went live').count(), 1);
  await source.end();
  await event(page, 'meanwhile ended').waitFor();
  await close(other);
  await close(page);
  await again.kill();
});

test('a node that is killed is silent, then lost', async () => {
  const n3 = await cluster.node('n3', ['--region=us']);
  const page = await operator();
  const node = row(page, 'nodes', 'n3');
  await text(part(node, 'state'), /^In service$/);
  await event(page, 'n3 came into service').waitFor();
  await n3.kill();
  await text(part(node, 'state'), /^Silent/);
  await text(page.locator('#total-nodes-detail'), /1 silent/);
  await event(page, 'n3 has vanished').waitFor();
  await close(page);
});
