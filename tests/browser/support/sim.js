// Simulated cameras and docks: `relaycast-loadtest sim`, and what it tells of them.

import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

import { RELAYCAST } from './node.js';
import { start } from './process.js';

// One build makes both.
const LOADTEST = RELAYCAST.includes('/') ? join(dirname(RELAYCAST), 'relaycast-loadtest') : 'relaycast-loadtest';

const HANG_MS = 30_000;

export class Sim {
  #child;
  #happened = [];
  #waiting = new Set();

  /**
   * @param {'dock' | 'kerberos'} device
   * @param {string} mqtt where its broker is
   * @param {string[]} flags more of them
   */
  constructor(device, mqtt, flags) {
    this.#child = start(LOADTEST, ['sim', device, '--json', '--mqtt', mqtt, ...flags], ['ignore', 'pipe', 'inherit']);
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#happened.push({ ...JSON.parse(line), heardAt: performance.now() });
      for (const look of this.#waiting) look();
    });
  }

  /** Everything of this kind that has happened. */
  events(name) {
    return this.#happened.filter(({ event }) => event === name);
  }

  /** Resolves to the last of them when this has happened so often. */
  async until(name, count = 1) {
    let timer;
    let look;
    const happens = new Promise((resolve, reject) => {
      look = () => {
        const happened = this.events(name)[count - 1];
        if (happened) resolve(happened);
      };
      const told = () => this.#happened.map(({ event }) => event).join(', ');
      timer = setTimeout(() => reject(new Error(`${name} did not happen ${count} times, but: ${told()}`)), HANG_MS);
    });
    this.#waiting.add(look);
    look();
    try {
      return await happens;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(look);
    }
  }

  /** It keeps its connections and does nothing, until it is resumed. */
  pause() {
    this.#child.kill('SIGSTOP');
  }

  resume() {
    this.#child.kill('SIGCONT');
  }
}
