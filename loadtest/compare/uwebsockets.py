"""A relay on uWebSockets, by its bindings for Python, in the foreground:

    .venv/bin/python uwebsockets.py PORT

    ws://127.0.0.1:PORT/CHANNEL/KEY/publish    each binary message is published
    ws://127.0.0.1:PORT/CHANNEL/KEY/receive    receives them

Python runs once per chunk, whatever the number of receivers; the fan-out is a topic of uWebSockets.
"""

import signal
import sys

from socketify import App, CompressOptions, OpCode

CHUNK_BYTES_MAX = 16 << 20
# A receiver that has more than this ahead of it misses chunks: as much as a node of Relaycast caches per channel.
LAG_BYTES_MAX = 32 << 20

# A port that is taken is an error, rather than shared.
LISTEN_EXCLUSIVE_PORT = 1


def main(port):
    app = App(lifespan=False)

    def upgrade(response, request, context):
        response.upgrade(
            request.get_header("sec-websocket-key"),
            request.get_header("sec-websocket-protocol"),
            request.get_header("sec-websocket-extensions"),
            context,
            request.get_parameter(0).encode(),
        )

    def publish(websocket, chunk, opcode):
        if opcode == OpCode.BINARY:
            app.publish(websocket.get_user_data(), chunk)

    def receive(websocket):
        websocket.subscribe(websocket.get_user_data())

    options = {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": CHUNK_BYTES_MAX,
        "max_backpressure": LAG_BYTES_MAX,
        "idle_timeout": 0,
        "upgrade": upgrade,
    }
    app.ws("/:channel/:key/publish", options | {"message": publish})
    app.ws("/:channel/:key/receive", options | {"open": receive})
    listening = []
    app.listen({"host": "127.0.0.1", "port": port, "options": LISTEN_EXCLUSIVE_PORT}, listening.append)
    if not listening:
        sys.exit(f"cannot listen on port {port}")

    # The loop of libuv alone, which sleeps in the kernel. `app.run` would turn it from within asyncio, without sleep.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    app.loop.uv_loop.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
