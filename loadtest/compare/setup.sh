#!/usr/bin/env bash
# Installs the servers that Relaycast is compared with. Does nothing where everything is there.
#
#   nginx with nchan    from Debian
#   ws                  from the npm registry, into node_modules
#   uWebSockets         from PyPI, into .venv; its bindings for Python are called socketify, and need Debian's libuv
#
# Needs Node.js; it cannot choose that for you.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf 'setup: %s\n' "$*" >&2; }

need() {
    command -v "$1" >/dev/null || { say "$1 is missing: $2"; exit 1; }
}

# Whether $1 was made from the file $2 as it is now. Compared by content, so that a second run costs nothing.
is_current() { [ "$(cat "$1/.made-from" 2>/dev/null)" = "$(cksum < "$2")" ]; }
is_made() { cksum < "$2" > "$1/.made-from"; }

need npm 'install Node.js 20 or newer'

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)

missing=()
nginx_is_new=
# Debian keeps it out of the PATH of those who are not root.
[ -x /usr/sbin/nginx ] || { missing+=(nginx); nginx_is_new=yes; }
[ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=(libnginx-mod-nchan)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
python3 -c 'import ctypes; ctypes.CDLL("libuv.so.1")' 2>/dev/null || missing+=(libuv1)

if [ ${#missing[@]} -gt 0 ]; then
    need apt-get "install ${missing[*]} with your package manager"
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Debian starts what it installs. A web server on port 80 is not what anybody asked for here.
if [ -n "$nginx_is_new" ]; then
    "${as_root[@]}" service nginx stop >/dev/null 2>&1 || true
    "${as_root[@]}" update-rc.d nginx disable >/dev/null 2>&1 || true
fi

if ! is_current node_modules package-lock.json; then
    say 'installing ws'
    # No scripts: bufferutil brings its binary, and ws does without where there is none for the machine.
    npm ci --ignore-scripts --no-audit --no-fund --silent
    is_made node_modules package-lock.json
fi

if ! is_current .venv requirements.txt; then
    say 'installing uWebSockets'
    python3 -m venv --clear .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
    is_made .venv requirements.txt
fi
