// A Chromium without a head, and what a person would look at in it.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream',
];

const TIMEOUT_MS = 20_000;

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: ARGS });
}

/** A page in a context of its own, with these options. Errors of its scripts fail the test that uses it. */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => {
    // Chromium itself reports every connection that a node refused or a policy blocked; only the latter is our fault.
    if (message.type() === 'error' && /Content.Security.Policy|Uncaught/i.test(message.text())) page.errors.push(message.text());
  });
  await page.goto(address);
  return page;
}

export async function close(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}

export const watch = (node, channel, key) => `${node.page}#watch=${channel}&key=${key}`;

export const textOf = (page, id) => page.locator(`#${id}`).textContent();

/** Resolves when the page says so. */
export async function untilText(page, id, pattern) {
  const { source, flags } = pattern;
  await page.waitForFunction(
    ([id, source, flags]) => new RegExp(source, flags).test(document.getElementById(id).textContent),
    [id, source, flags],
  );
}

/**
 * Resolves when decoded pictures have changed twice: first to one that is not blank, then to another. Where a timeline
 * exists, it must have moved too.
 */
export async function untilPlaying(page) {
  await untilText(page, 'screen-state', /^Live$/);
  const first = await nextPicture(page, null);
  const second = await nextPicture(page, first.pixels);
  if (first.time !== null) assert.ok(second.time > first.time, `the timeline stands at ${first.time}`);
}

async function nextPicture(page, previous) {
  const handle = await page.waitForFunction((previous) => {
    const video = document.getElementById('video');
    const isVideo = video.videoWidth > 0;
    const shown = isVideo ? video : document.getElementById('still');
    if (!isVideo && shown.hidden) return null;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [64, 36];
    const context = canvas.getContext('2d');
    context.drawImage(shown, 0, 0, 64, 36);
    const pixels = [...context.getImageData(0, 0, 64, 36).data];
    const green = pixels.filter((_, i) => i % 4 === 1);
    const spread = Math.max(...green) - Math.min(...green);
    const changed = previous ? pixels.filter((value, i) => Math.abs(value - previous[i]) > 24).length : Infinity;
    return spread > 60 && changed > 40 ? { pixels, time: isVideo ? video.currentTime : null } : null;
  }, previous, { polling: 100 });
  return handle.jsonValue();
}
