// A cluster: Redis, NATS, a broker, nodes, stream-managers and bridges as processes.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Node, RELAYCAST, announced } from './node.js';
import { end, start } from './process.js';

export const OPERATOR_TOKEN = 'operator-token-of-a-test';
export const READER_TOKEN = 'reader-token-of-a-test';

const OPERATOR = { Authorization: `Bearer ${OPERATOR_TOKEN}` };

const SECRET = 'the-secret-of-the-cluster';

/** Short, so that what expires does so within a test. */
const INTERVAL = '500ms';

/** How long a source goes on after its last viewer. */
export const GRACE_MS = 1500;

/** Somebody can take a port between the draw and the start. */
const ATTEMPTS_MAX = 5;

const installed = fileURLToPath(new URL('../../.venv/bin/nats-server', import.meta.url));
const NATS = existsSync(installed) ? installed : 'nats-server';

// Where packages put it is often not in the PATH of people.
const packaged = '/usr/sbin/mosquitto';
const MOSQUITTO = existsSync(packaged) ? packaged : 'mosquitto';

export class Cluster {
  #redis;
  #nats;
  #mqtt = null;

  static async start() {
    const cluster = new Cluster();
    [cluster.#redis, cluster.#nats] = await Promise.all([
      onFreePort((port) => ['redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', '', '--dir', tmpdir()], /Ready to accept connections/]),
      onFreePort((port) => [NATS, ['--addr', '127.0.0.1', '--port', port], /Server is ready/]),
    ]);
    return cluster;
  }

  get #flags() {
    const links = [`--redis=redis://127.0.0.1:${this.#redis}/`, `--nats=nats://127.0.0.1:${this.#nats}`];
    return [...links, `--registry-interval=${INTERVAL}`, `--cluster-secret=${SECRET}`];
  }

  /** The key to watch the channel of a source, as every node makes it. */
  watchKey(channel) {
    return createHmac('sha256', SECRET).update(`/source/watch/${channel}`).digest('hex').slice(0, 32);
  }

  /** Publishes on a subject of the cluster, as a bridge does. */
  async tell(subject, message) {
    const socket = connect(this.#nats, '127.0.0.1');
    const payload = Buffer.from(JSON.stringify(message));
    socket.write(`CONNECT {"verbose":false}\r\nPUB relaycast.${subject} ${payload.length}\r\n`);
    socket.write(Buffer.concat([payload, Buffer.from('\r\nPING\r\n')]));
    // Its answer to the ping says that the server has taken what came before.
    for await (const bytes of socket) if (/PONG/.test(bytes)) break;
    socket.destroy();
  }

  /** Answers what is asked on a subject of the cluster, as a bridge does, until it is closed. Resolves once it listens. */
  async answer(subject, answer) {
    const socket = connect(this.#nats, '127.0.0.1');
    const listens = new Promise((resolve) => {
      let ahead = '';
      socket.on('data', (bytes) => {
        ahead += bytes;
        for (;;) {
          const [line, length] = /^MSG [^\r]* (\d+)\r\n/.exec(ahead) ?? /^[^\r]*\r\n/.exec(ahead) ?? [];
          const end = length === undefined ? line?.length : line.length + Number(length) + 2;
          if (line === undefined || ahead.length < end) return;
          const [, , , reply] = line.split(' ');
          const asked = ahead.slice(line.length, end - 2);
          ahead = ahead.slice(end);
          if (line.startsWith('PING')) socket.write('PONG\r\n');
          if (line.startsWith('PONG')) resolve();
          if (length === undefined) continue;
          const payload = JSON.stringify(answer(JSON.parse(asked)));
          socket.write(`PUB ${reply} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`);
        }
      });
    });
    socket.write(`CONNECT {"verbose":false}\r\nSUB relaycast.${subject} 1\r\nPING\r\n`);
    await listens;
    return { close: () => socket.destroy() };
  }

  node(name, flags = []) {
    return Node.start('127.0.0.1:0', [...this.#flags, `--node-id=${name}`, ...flags]);
  }

  /** @param {string} [listen] a test that restarts a stream-manager passes the address it had */
  manager(flags = [], listen = '127.0.0.1:0') {
    return Manager.start(listen, [...this.#flags, ...flags]);
  }

  /** Starts the broker, and resolves to where devices connect. Without a file of settings it lets everybody of this machine in. */
  async broker() {
    this.#mqtt = await onFreePort((port) => [MOSQUITTO, ['-p', port], / running$/]);
    return `mqtt://127.0.0.1:${this.#mqtt}`;
  }

  /**
   * A bridge between the broker and the nodes of a stream-manager. It hears devices when this resolves: a dock tells only once
   * what it can show.
   */
  async bridge(manager, flags = []) {
    const links = [`--mqtt=mqtt://127.0.0.1:${this.#mqtt}`, `--manager=http://${manager.address}`];
    const addresses = ['--listen=127.0.0.1:0', '--admin-listen=127.0.0.1:0', '--log-format=json'];
    const args = ['bridge', ...addresses, ...this.#flags, ...links, `--stop-grace=${GRACE_MS}ms`, ...flags];
    const admin = await announced(start(RELAYCAST, args, ['ignore', 'ignore', 'pipe']), 'admin');
    while (!(await fetch(`http://${admin}/readyz`)).ok) await soon();
  }
}

export class Manager {
  #child;

  static async start(listen, flags) {
    const manager = new Manager();
    const args = ['manager', '--listen', listen, '--admin-listen', '127.0.0.1:0', '--log-format', 'json', ...flags];
    manager.#child = start(RELAYCAST, args, ['ignore', 'ignore', 'pipe']);
    manager.address = await announced(manager.#child);
    return manager;
  }

  get page() {
    return `http://${this.address}/`;
  }

  async kill() {
    await end(this.#child);
  }

  /** Resolves when it knows of so many nodes. */
  async untilNodes(count) {
    for (;;) {
      const answer = await fetch(`${this.page}v1/capacity`);
      if ((await answer.json()).nodes === count) return;
      await soon();
    }
  }

  /** Where an operator watches a source, once some bridge has told of it. */
  async pageOf(source) {
    for (;;) {
      const answer = await fetch(`${this.page}v1/pick?source=${source}&role=receive`, { headers: OPERATOR });
      if (answer.ok) return (await answer.json()).picks[0].urls.page;
      assert.ok([404, 503].includes(answer.status), await answer.text());
      await soon();
    }
  }

  /** An operator does something with a source. */
  async command(source, verb, body = {}) {
    const headers = { ...OPERATOR, 'Content-Type': 'application/json' };
    const path = `${this.page}v1/sources/${source}:${verb}`;
    const answer = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.ok(answer.ok, `${verb}: ${await answer.text()}`);
  }
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 50));

/** Starts a server on a port that nobody has, and resolves to the port once it says that it serves. */
async function onFreePort(launch) {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = await freePort();
    const [command, args, ready] = launch(String(port));
    const child = start(command, args, ['ignore', 'pipe', 'pipe']);
    const serves = Promise.race([said(child, ready), once(child, 'exit').then(() => false)]);
    if (await serves) return port;
  }
  throw new Error(`a server did not start ${ATTEMPTS_MAX} times`);
}

function said(child, ready) {
  return new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => ready.test(line) && resolve(true));
    }
  });
}

async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
