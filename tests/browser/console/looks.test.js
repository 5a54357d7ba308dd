// The console for everybody, and with much to show. What the API answers is made up here, so that there is much of it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { close, launch, open } from '../support/browser.js';
import { Cluster } from '../support/cluster.js';
import { event } from '../support/console.js';
import { endAll } from '../support/process.js';

const NODES = 1000;
const CHANNELS = 10_000;
const SESSIONS = 60;
const MARKUP = '<img src=x onerror=window.wasRun=1>';

const number = (i) => String(i).padStart(5, '0');
const LONG = 'a-name-that-is-as-long-as-names-may-be-'.repeat(4).slice(0, 128);

const nodes = Array.from({ length: NODES }, (_, i) => ({
  node: `n${number(i)}`,
  url: `ws://n${i}.example:8080`,
  region: ['eu-west', 'us-east'][i % 2],
  state: i % 50 === 1 ? 'draining' : 'in_service',
  silent: i % 50 === 2,
  roles: ['publish', 'receive'],
  capacity: { sessions: 16_384, processors: 8, egress: 1e10 },
  load: { sessions: 9000 + i, publications: 12, receivers: 8900, upstreams: 40, egress: 8e9, accepted: 1, cpu_permille: 700, memory_permille: 200 },
  reserved: 3,
  channels: 52,
  version: '0.1.0',
  started_at: '2026-01-01T00:00:00Z',
  age_ms: 300,
}));

const channels = Array.from({ length: CHANNELS }, (_, i) => ({
  name: i === 0 ? LONG : `cam-${number(i)}`,
  state: 'live',
  origin: nodes[i % NODES].node,
  epoch: 1_764_000_000_000_000,
  started_at: '2026-01-01T00:00:00Z',
  container: 'fmp4',
  tracks: [{ kind: 'video', codec: 'avc1.64001f', width: 1280, height: 720 }, { kind: 'audio', codec: 'mp4a.40.2', sample_rate: 48_000 }],
  bitrate: 2_500_000,
  receivers: 1200,
  nodes: Array.from({ length: 40 }, (_, j) => ({ node: nodes[(i + j) % NODES].node, part: j === 0 ? 'origin' : 'edge', receivers: 30 })),
})).sort((a, b) => (a.name < b.name ? -1 : 1));

const sessions = Array.from({ length: SESSIONS }, (_, i) => ({
  node: 'n00000', session: String(1000 + i), kind: 'receive', channel: LONG, sent_bytes: 1e9, started_at: '2026-01-01T00:00:00Z',
}));

const sources = Array.from({ length: 40 }, (_, i) => ({
  id: `kerberos/${'hub'.repeat(20)}/camera-${number(i)}`,
  channel: `source-kerberos-camera-${number(i)}-0123456789`,
  kind: 'kerberos',
  state: ['idle', 'starting', 'live', 'stopping', 'external'][i % 5],
  ...(i % 5 === 1 ? { reason: 'decrypt_failed' } : {}),
  ...(i % 5 === 2 ? { node: 'n00001' } : {}),
}));

const EVENTS = [
  { type: 'admission.refused', channel: 'cam-00001', node: 'n00001', role: 'receive', reason: MARKUP },
  { type: MARKUP },
  { type: 'channel.started', channel: LONG, node: 'n00001' },
];

let browser;
let manager;

before(async () => {
  let cluster;
  [browser, cluster] = await Promise.all([launch(), Cluster.start()]);
  manager = await cluster.manager();
});

after(async () => {
  await browser?.close();
  await endAll();
});

const text = (locator, pattern) => locator.filter({ hasText: pattern }).waitFor();

/** What the API answers to a path, or null for what is not asked here. */
function answerOf(url) {
  const { pathname, searchParams: query } = url;
  const page = (list, name, key) => {
    const after = query.get('after');
    const rest = after === null ? list : list.filter((item) => item[key] > after);
    const part = rest.slice(0, Number(query.get('limit')));
    return { [name]: part, ...(part.length < rest.length ? { next: part.at(-1)[key] } : {}) };
  };
  const view = { registry: 'up', backbone: 'up', age_ms: 200 };
  if (pathname === '/v1/nodes') return { ...page(nodes, 'nodes', 'node'), view };
  if (pathname === '/v1/channels') return page(channels.filter(({ name }) => name.startsWith(query.get('prefix') ?? '')), 'channels', 'name');
  if (pathname === '/v1/sessions') return { ...page(sessions, 'sessions', 'session'), missing: ['n00002'] };
  if (pathname === '/v1/sources') return page(sources, 'sources', 'id');
  if (pathname === '/v1/capacity') {
    return {
      nodes: 960, draining: 20, silent: 20, sessions: { used: 9_500_000, capacity: 15_728_640 }, egress: { used: 8e12, capacity: 1e13 },
      channels_live: CHANNELS, receivers: 12_000_000, utilization: 0.81, utilization_target: 0.7, desired_nodes: 1111,
    };
  }
  const [, list, name] = /^\/v1\/(nodes|channels)\/([^/]+)$/.exec(pathname) ?? [];
  if (list === 'nodes') return nodes.find(({ node }) => node === name);
  if (list === 'channels') return channels.find((channel) => channel.name === name);
  return null;
}

/** The console of a large cluster. */
async function large(view, { viewport = { width: 1440, height: 900 }, ...context } = {}) {
  const page = await open(browser, 'about:blank', { viewport, ...context });
  await page.route('**/v1/**', async (route) => {
    const url = new URL(route.request().url());
    if (url.pathname === '/v1/events') {
      const body = EVENTS.map((event, i) => `id: 5-${i}\ndata: ${JSON.stringify({ id: `5-${i}`, at: '2026-01-01T00:00:00Z', sequence: i, ...event })}\n\n`).join('');
      return route.fulfill({ contentType: 'text/event-stream', body });
    }
    const answer = answerOf(url);
    return answer ? route.fulfill({ json: answer }) : route.fulfill({ status: 404, json: {} });
  });
  await page.goto(`${manager.page}${view}`);
  return page;
}

const VIEWS = [
  ['#nodes', '#nodes-rows tr'],
  ['#channels', '#channels-rows tr'],
  ['#sources', '#sources-rows tr'],
  ['#events', '#events li'],
  ['#node=n00004', '#node-channels-rows tr'],
  [`#channel=${LONG}`, '#sessions-rows tr'],
];

for (const [view, ready] of VIEWS) {
  test(`${view.slice(0, 20)} fits a phone of 360 pixels, and every control of it has a name and room for a finger`, async () => {
    const page = await large(view, { viewport: { width: 360, height: 780 } });
    await page.locator(ready).first().waitFor();
    const { width, wide } = await page.evaluate(() => ({
      width: document.documentElement.scrollWidth,
      wide: [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility() && !element.closest('.unseen, thead, .skip, svg')
        && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map((element) => element.outerHTML.slice(0, 120)),
    }));
    assert.ok(width <= 360, `${width} wide`);
    assert.deepEqual(wide, []);
    const poor = await page.evaluate(() => {
      const shown = [...document.querySelectorAll('button, input, select')].filter((element) => element.checkVisibility());
      const nameOf = (element) => element.getAttribute('aria-label') || element.labels?.[0]?.textContent.trim() || element.textContent.trim();
      return shown.filter((element) => !nameOf(element) || element.getBoundingClientRect().height < 38).map((element) => element.outerHTML);
    });
    assert.deepEqual(poor, []);
    await close(page);
  });
}

for (const width of [1101, 1280, 1440, 1720]) {
  test(`at ${width} pixels every column has room for what is in it`, async () => {
    for (const [view, ready] of VIEWS.filter(([view]) => view !== '#events')) {
      const page = await large(view, { viewport: { width, height: 900 } });
      await page.locator(ready).first().waitFor();
      const cut = await page.evaluate(() => [...document.querySelectorAll('.rows :is(th, td)')].filter((cell) => {
        if (!cell.checkVisibility()) return false;
        // A name of 128 characters is cut anywhere, and a list of codecs may be.
        if (cell.matches('tbody :is(.c-name, .c-media)')) return cell.clientWidth < 100;
        return cell.scrollWidth > cell.clientWidth;
      }).map((cell) => `${cell.className} ${cell.clientWidth}/${cell.scrollWidth}: ${cell.textContent.trim()}`));
      assert.deepEqual([...new Set(cut)], [], view);
      await close(page);
    }
  });
}

test('of a thousand nodes and ten thousand channels a hundred are shown at a time', async () => {
  const page = await large('#nodes');
  await page.locator('#nodes-rows tr').first().waitFor();
  assert.equal(await page.locator('#nodes-rows tr').count(), 100);
  await text(page.locator('#nodes-range'), '1–100, more follow');
  const next = page.locator('#nodes-pages').getByRole('button', { name: 'Next' });
  for (let i = 2; i <= 10; i += 1) {
    await next.click();
    await text(page.locator('#nodes-range'), `${(i - 1) * 100 + 1}–`);
  }
  assert.equal(await next.getAttribute('aria-disabled'), 'true', 'the tenth page is the last');
  await page.locator('#nodes-pages').getByRole('button', { name: 'Previous' }).click();
  await text(page.locator('#nodes-range'), '801–900, more follow');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'nodes-title');

  await page.goto(`${manager.page}#channels`);
  await page.locator('#channels-rows tr').first().waitFor();
  assert.equal(await page.locator('#channels-rows tr').count(), 100);
  await page.getByLabel('Name begins with').fill('cam-0999');
  await text(page.locator('#channels-range'), /^10$/);
  await page.getByLabel('Name begins with').fill('../');
  await page.getByText('Names of channels have letters').waitFor();
  await close(page);
});

test('rows stay the same elements, so that focus and what is selected stay', async () => {
  const page = await large('#nodes');
  const link = page.getByRole('link', { name: 'n00003', exact: true });
  await link.focus();
  await page.evaluate(() => {
    window.before = document.activeElement;
  });
  nodes.splice(1, 1, { ...nodes[1], node: 'n00001b' });
  await page.getByRole('link', { name: 'n00001b', exact: true }).waitFor();
  assert.ok(await page.evaluate(() => document.activeElement === window.before && window.before.isConnected));
  const names = await page.locator('#nodes-rows [data-part="name"]').allTextContents();
  assert.deepEqual(names.slice(0, 3), ['n00000', 'n00001b', 'n00002']);
  await close(page);
});

test('what events tell is text, whatever it looks like', async () => {
  const page = await large('#events');
  await event(page, `was refused on n00001: ${MARKUP}`).waitFor();
  assert.equal(await event(page, MARKUP).count(), 2);
  assert.equal(await page.locator('img').count(), 1);
  assert.equal(await page.evaluate(() => window.wasRun), undefined);
  await page.getByLabel('Which events').selectOption('channels');
  assert.equal(await page.locator('#events li').count(), 1);
  await close(page);
});

test('events that were missed are told, but not those from before the page', async () => {
  const page = await large('#events');
  const url = page.url();
  // Whose connections would be counted.
  await page.goto('about:blank');
  await page.unroute('**/v1/events');
  const gap = 'event: gap\ndata: {"after":"4-0"}\n\n';
  let connections = 0;
  let goOn;
  const looked = new Promise((resolve) => (goOn = resolve));
  await page.route('**/v1/events', async (route) => {
    const number = (connections += 1);
    // The second comes as soon as it likes.
    if (number > 1) await looked;
    return route.fulfill({ contentType: 'text/event-stream', body: `${gap}id: 9-${number}\ndata: {"id":"9-${number}","type":"node.lost","node":"n${number}","at":"2026-01-01T00:00:00Z"}\n\n` });
  });
  await page.goto(url);
  await event(page, 'n1 has vanished').waitFor();
  assert.equal(await event(page, 'Events were missed').count(), 0);
  goOn();
  await event(page, /n\d has vanished/).nth(1).waitFor();
  assert.equal(await event(page, 'Events were missed').first().isVisible(), true);
  await close(page);
});

test('of many nodes that carry a channel those that matter are drawn', async () => {
  const page = await large('#channel=cam-00001');
  await page.locator('#flow-others li').first().waitFor();
  assert.equal(await page.locator('#flow-others li').count(), 8);
  await text(page.locator('#flow-others li').last(), /^\s*32 more nodes960 viewers\s*$/);
  assert.equal(await page.locator('#flow-lines path').count(), 8);
  await text(page.locator('#flow-words'), 'From n00001 to 39 other nodes; together 1,200 viewers.');
  await close(page);
});

test('data that updates moves nothing', async () => {
  const page = await large('#nodes');
  await page.locator('#nodes-rows tr').first().waitFor();
  await page.locator('#reach-events[data-reach]').waitFor();
  await page.evaluate(() => {
    window.shifts = [];
    const told = ({ sources }) => sources.map(({ node }) => (node.outerHTML ?? `${node.data} in ${node.parentElement.outerHTML}`).slice(0, 120));
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().flatMap(told))).observe({ type: 'layout-shift' });
  });
  for (let i = 0; i < 3; i += 1) {
    nodes[0].load.sessions *= 10;
    nodes[0].reserved *= 10;
    const { sessions: count } = nodes[0].load;
    await text(page.locator('#nodes-rows tr').first().locator('[data-part="sessions"]'), new Intl.NumberFormat('en').format(count));
  }
  assert.deepEqual(await page.evaluate(() => window.shifts), []);
  await close(page);
});

test('every heading, region and table is named, and text stands out in both schemes', async () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const [view, ready] of VIEWS) {
      const page = await large(view, { colorScheme });
      await page.locator(ready).first().waitFor();
      const poor = await page.evaluate(contrastsBelow, 4.5);
      assert.deepEqual(poor, [], `${colorScheme} ${view}`);
      const nameless = await page.evaluate(() => [...document.querySelectorAll('section, table, nav, dl, dialog')]
        .filter((element) => {
          const by = element.getAttribute('aria-labelledby');
          return !(element.getAttribute('aria-label') || (by && document.getElementById(by)));
        }).map((element) => element.outerHTML.slice(0, 80)));
      assert.deepEqual(nameless, []);
      await close(page);
    }
  }
});

/** Runs in the page: texts that stand out less than this from what is behind them. */
function contrastsBelow(least) {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
  const groundOf = (element) => {
    const grounds = [];
    for (let at = element; at; at = at.parentElement) grounds.push(rgba(getComputedStyle(at).backgroundColor));
    return grounds.reduceRight((under, ground) => (ground[3] > 0 ? over(ground, under) : under), [255, 255, 255]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = new Map();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    // What cannot be used may be faint (WCAG 2.2, 1.4.3).
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('[aria-disabled="true"], .unseen, thead .unseen, noscript')) continue;
    const ground = groundOf(element);
    const [light, dark] = [luminance(over(rgba(getComputedStyle(element).color), ground)), luminance(ground)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < least) poor.set(`${element.className || element.id || element.tagName}: ${element.textContent.slice(0, 30)}`, contrast.toFixed(2));
  }
  return [...poor];
}
