// A relay on ws, the usual websocket library of Node.js, in the foreground:
//
//   node ws.mjs PORT
//
//   ws://127.0.0.1:PORT/CHANNEL/KEY/publish    each binary message is published
//   ws://127.0.0.1:PORT/CHANNEL/KEY/receive    receives them
//
// A chunk is framed once for all receivers, and chunks that came in one read leave in one write.

import { createServer } from 'node:http';
import { Sender, WebSocketServer } from 'ws';

const CHUNK_BYTES_MAX = 16 << 20;
// A receiver that has more than this ahead of it misses chunks: as much as a node of Relaycast caches per channel.
const LAG_BYTES_MAX = 32 << 20;

const PATH = /^\/([A-Za-z0-9_-]{1,128})\/[A-Za-z0-9_-]{1,128}\/(publish|receive)$/;

class Channel {
  #sockets = new Set();
  #frames = [];
  #flush = () => {
    const bytes = this.#frames.length === 1 ? this.#frames[0] : Buffer.concat(this.#frames);
    this.#frames = [];
    for (const socket of this.#sockets) {
      if (socket.writableLength <= LAG_BYTES_MAX) socket.write(bytes);
    }
  };

  publish(chunk) {
    if (this.#frames.length === 0) process.nextTick(this.#flush);
    this.#frames.push(...Sender.frame(chunk, { opcode: 2, fin: true, mask: false, rsv1: false, readOnly: true }));
  }

  join(websocket, socket) {
    this.#sockets.add(socket);
    websocket.on('close', () => this.#sockets.delete(socket));
  }
}

const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, new Channel());
  return channels.get(name);
}

const websockets = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  maxPayload: CHUNK_BYTES_MAX,
  perMessageDeflate: false,
  skipUTF8Validation: true,
});

const server = createServer((_, response) => response.writeHead(426).end());

server.on('upgrade', (request, socket, head) => {
  const [, name, kind] = PATH.exec(request.url) ?? [];
  if (!name) {
    socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
    return;
  }
  websockets.handleUpgrade(request, socket, head, (websocket) => {
    websocket.on('error', () => websocket.terminate());
    if (kind === 'publish') {
      const to = channel(name);
      websocket.on('message', (chunk, isBinary) => isBinary && to.publish(chunk));
    } else {
      channel(name).join(websocket, socket);
    }
  });
});

server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 16384 });
