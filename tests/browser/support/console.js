// What a person looks at in the console.

import { open } from './browser.js';

export const row = (page, list, name) => page.locator(`#${list}-rows tr`, { has: page.getByRole('link', { name, exact: true }) });

/** A cell of a row, by what the template calls it. */
export const part = (row, name) => row.locator(`[data-part="${name}"]`);

export const event = (page, text) => page.locator('#events li', { hasText: text });

/** With room for events beside everything. */
const WIDE = { viewport: { width: 1500, height: 900 } };

/** Opens the console, with a token if there is one. */
export async function consoleOf(browser, manager, { token = null, view = '' } = {}) {
  const page = await open(browser, 'about:blank', WIDE);
  if (token) await page.context().addInitScript((token) => sessionStorage.setItem('relaycast.token', token), token);
  await page.goto(manager.page + view);
  return page;
}

/** Presses Tab until this element has the focus. */
export async function tabTo(page, locator, presses = 60) {
  const target = await locator.elementHandle();
  for (let press = 0; press < presses; press += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`Tab does not lead to ${locator}`);
}
