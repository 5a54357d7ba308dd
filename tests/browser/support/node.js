// A node: the real binary, on addresses that the system chose.

import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { end, start } from './process.js';

export const RELAYCAST = process.env.RELAYCAST_BIN ?? 'relaycast';

export class Node {
  #child;

  /**
   * @param {string} listen port 0 for any; a test that restarts a node passes the address it had
   * @param {string[]} flags more of them
   */
  static async start(listen = '127.0.0.1:0', flags = []) {
    const args = ['edge', '--listen', listen, '--admin-listen', '127.0.0.1:0', '--log-format', 'json', ...flags];
    const child = start(RELAYCAST, args, ['ignore', 'ignore', 'pipe']);
    const node = new Node();
    node.#child = child;
    node.address = await announced(child);
    return node;
  }

  get page() {
    return `http://${this.address}/`;
  }

  stream(channel, key) {
    return `ws://${this.address}/${channel}/${key}`;
  }

  /** As a machine ends that loses power. */
  async kill() {
    await end(this.#child);
  }

  async channel(name) {
    const answer = await fetch(`${this.page}v1/channels`);
    const { channels } = await answer.json();
    return channels.find((channel) => channel.name === name) ?? null;
  }
}

/** The address in the log of a process: it is there once the process accepts. `admin` is that of its readiness. */
export async function announced(child, name = 'listen') {
  const lines = createInterface({ input: child.stderr });
  const seen = [];
  const address = new Promise((resolve) => {
    lines.on('line', (line) => {
      seen.push(line);
      const address = field(line, name);
      if (address) resolve(address);
    });
  });
  const exit = once(child, 'exit').then(([code]) => {
    throw new Error(`it ended with ${code}:\n${seen.join('\n')}`);
  });
  return Promise.race([address, exit]);
}

function field(line, name) {
  try {
    return JSON.parse(line)[name] ?? null;
  } catch {
    return null;
  }
}
