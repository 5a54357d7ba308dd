#!/usr/bin/env bash
# nginx with the nchan module as a relay, in the foreground:
#
#   nchan.sh PORT            as nginx does it: small chunks wait for acknowledgements and leave together (Nagle), which
#                            saves much work and costs up to 40 ms
#   nchan.sh PORT nodelay    each chunk leaves at once, as with every other server here
#
#   ws://127.0.0.1:PORT/pub/CHANNEL    each binary message is published
#   ws://127.0.0.1:PORT/sub/CHANNEL    receives them
#
# nginx is a master and one worker. The worker, the only child of this process, does all the work.
set -euo pipefail

usage='usage: nchan.sh PORT [nodelay]'
port=${1:?$usage}
case "${2:-}" in '' | nodelay) ;; *) echo "$usage" >&2; exit 2 ;; esac
# What nginx writes: its process id, and folders for request bodies that it makes but never uses here.
prefix=$(cd "$(dirname "$0")" && pwd)/.nchan/$port
mkdir -p "$prefix"

cat > "$prefix/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile $(ulimit -Hn);
pid nginx.pid;
error_log stderr error;

events {
    use epoll;
    worker_connections 16384;
    multi_accept on;
    accept_mutex off;
}

http {
    access_log off;
    gzip off;
    client_max_body_size 16m;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    # Chunks wait here for slow receivers, without another bound; when it is full, nchan closes the publisher. Memory is
    # taken only as it is used.
    nchan_shared_memory_size 1024m;
    nchan_message_buffer_length 0;

    server {
        listen 127.0.0.1:$port backlog=16384;

        # A location that only publishes answers each message with a text. One that subscribes too does not, so it
        # subscribes to a channel on which nothing is ever said.
        location ~ ^/pub/([A-Za-z0-9_-]+)\$ {
            nchan_pubsub websocket;
            nchan_publisher_channel_id chunks/\$1;
            nchan_subscriber_channel_id silence/\$1;
        }

        location ~ ^/sub/([A-Za-z0-9_-]+)\$ {
            nchan_subscriber websocket;
            nchan_subscriber_first_message newest;
            nchan_channel_id chunks/\$1;
        }
    }
}
CONF

PATH=$PATH:/usr/sbin
run=(nginx -p "$prefix" -c nginx.conf -e stderr)
[ "${2:-}" = nodelay ] || exec "${run[@]}"

# nginx has no setting for this: its `tcp_nodelay` does not reach the websockets of a module. But connections inherit the
# option from the socket that accepts them, and nginx takes over a socket that listens already.
exec python3 - "$port" "${run[@]}" <<'PYTHON'
import os, socket, sys

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(16384)
listener.setblocking(False)
listener.set_inheritable(True)
os.execvpe(sys.argv[2], sys.argv[2:], os.environ | {"NGINX": f"{listener.fileno()};"})
PYTHON
