// Who may look, and who may do what.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch } from '../support/browser.js';
import { Cluster, OPERATOR_TOKEN, READER_TOKEN } from '../support/cluster.js';
import { consoleOf, part, row } from '../support/console.js';
import { RELAYCAST } from '../support/node.js';
import { endAll, start } from '../support/process.js';

let browser;
let open;
let closed;

before(async () => {
  let cluster;
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  const tokens = [`--operator-tokens=${OPERATOR_TOKEN}`, `--reader-tokens=${READER_TOKEN}`];
  let node;
  [node, open, closed] = await Promise.all([
    cluster.node('n1'),
    cluster.manager(tokens),
    cluster.manager([...tokens, '--public-reads=false']),
  ]);
  await open.untilNodes(1);
  start(RELAYCAST, ['receive', node.stream('cam', 'k')], ['ignore', 'ignore', 'ignore']);
});

after(async () => {
  await browser?.close();
  await endAll();
});

const text = (locator, pattern) => locator.filter({ hasText: pattern }).waitFor();

async function useToken(page, token) {
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.getByRole('button', { name: 'Use it' }).click();
}

test('everybody may look, and buttons explain what they take', async () => {
  const page = await consoleOf(browser, open);
  await text(page.locator('#access-role'), 'Public');
  const drain = page.getByRole('button', { name: 'Drain n1' });
  await drain.waitFor();
  assert.match(await drain.getAttribute('title'), /operator/);
  await drain.click();
  const dialog = page.getByRole('dialog', { name: 'Access' });
  await text(dialog, 'Drain n1? It takes the token of an operator.');
  await useToken(page, READER_TOKEN);
  await text(page.locator('#access-role'), 'Reader');
  await drain.click();
  await useToken(page, OPERATOR_TOKEN);
  await text(page.locator('#access-role'), 'Operator');
  await page.locator('[data-part="drain"][data-locked="false"]').waitFor();
  await drain.click();
  await page.getByRole('dialog', { name: 'Drain n1?' }).waitFor();
  await close(page);
});

test('sessions ask for a token, and are there with one', async () => {
  const page = await consoleOf(browser, open, { view: '#channel=cam' });
  await text(page.locator('#channel-state'), 'Waiting');
  await text(page.locator('#flow-origin'), 'Nobody publishes');
  await text(page.locator('#sessions-note'), 'Sessions tell of people');
  await page.getByRole('button', { name: 'Enter a token' }).click();
  await useToken(page, READER_TOKEN);
  const session = page.locator('#sessions-rows tr', { hasText: 'receive' });
  await session.waitFor();
  assert.equal(await part(session, 'kick').getAttribute('data-locked'), 'true');
  await close(page);
});

test('where nobody may look without a token the page asks for it by itself', async () => {
  const page = await consoleOf(browser, closed);
  const dialog = page.getByRole('dialog', { name: 'Access' });
  await text(dialog, 'tells nothing without a token');
  await text(page.locator('#status-words'), 'tells nothing without a token');
  await useToken(page, 'this-token-is-wrong');
  await text(dialog, 'does not accept this token');
  await useToken(page, READER_TOKEN);
  await row(page, 'nodes', 'n1').waitFor();
  await page.locator('#status[data-tone="good"]').waitFor();
  await text(page.locator('#reach-events'), 'live');
  assert.equal(await dialog.count(), 0);
  await page.reload();
  await row(page, 'nodes', 'n1').waitFor();
  assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), [], 'the token is of this tab');
  assert.equal(await page.evaluate(() => document.cookie), '');
  await page.locator('#access').click();
  await page.getByRole('button', { name: 'Forget the token' }).click();
  await text(page.locator('#access-role'), 'No access');
  assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), []);
  await close(page);
});

test('a token that was taken away is told, and not asked for again and again', async () => {
  const page = await consoleOf(browser, closed, { token: 'a-token-of-yesterday' });
  const dialog = page.getByRole('dialog', { name: 'Access' });
  await text(dialog, 'does not accept the token of this tab');
  await page.keyboard.press('Escape');
  const asked = page.waitForResponse((response) => response.url().includes('/v1/nodes') && response.status() === 401);
  await asked;
  await page.waitForResponse((response) => response.url().includes('/v1/nodes'));
  assert.equal(await dialog.count(), 0);
  await close(page);
});

test('answers of a stream-manager cannot be framed by others, nor run what is not theirs', async () => {
  const answer = await fetch(open.page);
  const policy = answer.headers.get('content-security-policy');
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
    assert.ok(policy.includes(rule), rule);
  }
  assert.equal((await fetch(`${open.page}console/nothing.js`)).status, 404);
  const allowed = await fetch(`${open.page}console/access`, { headers: { Authorization: `Bearer ${READER_TOKEN}` } });
  assert.deepEqual(await allowed.json(), { read: true, read_private: true, operate: false, token: 'accepted' });
});
