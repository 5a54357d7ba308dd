#!/usr/bin/env bash
# Installs what a fresh Debian lacks to run, test or check Relaycast. Does nothing where everything is there.
#
#   deploy/setup.sh run     ffmpeg, for the demo channel
#   deploy/setup.sh test    for the tests: ffmpeg, Chromium, redis-server, Mosquitto, openssl, iproute2 and iptables, playwright-core
#                           from the npm registry, and nats-server and schemathesis from PyPI, into tests/.venv: Debian's are
#                           years old or missing, and its Python takes nothing from elsewhere but into a folder like that
#   deploy/setup.sh check   cargo-deny, for licences and duplicate dependencies
#   deploy/setup.sh fuzz    cargo-fuzz
#
# The tests start servers of their own, on ports of their own; that Debian starts the Redis it installs matters to none.
#
# Needs a Rust toolchain, and for the tests Node.js; it cannot choose those for you.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

need() {
    command -v "$1" >/dev/null || { say "$1 is missing: $2"; exit 1; }
}

# Debian packages that are missing, in one transaction. $1 is the command a package brings, $2 the package.
missing=()
want() { command -v "$1" >/dev/null || missing+=("$2"); }
install_missing() {
    [ ${#missing[@]} -eq 0 ] && return
    need apt-get "install ${missing[*]} with your package manager"
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Whether the folder $1 was made from the file $2 as it is now. Compared by content, so that a second run costs nothing.
is_current() { [ "$(cat "$1/.made-from" 2>/dev/null)" = "$(cksum < "$2")" ]; }
is_made() { cksum < "$2" > "$1/.made-from"; }

cargo_tool() {
    command -v "$1" >/dev/null && return
    say "building $1 (once, takes minutes)"
    cargo install --quiet --locked "$1"
}

need cargo 'install Rust from https://rustup.rs'
want cc gcc

case "${1:-run}" in
    run)
        want ffmpeg ffmpeg
        install_missing
        ;;
    test)
        need npm 'install Node.js 20 or newer'
        want ffmpeg ffmpeg
        want chromium chromium
        want redis-server redis-server
        want redis-cli redis-tools
        want mosquitto mosquitto
        want openssl openssl
        want ip iproute2
        want iptables iptables
        python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
        install_missing
        if ! is_current tests/browser/node_modules tests/browser/package-lock.json; then
            say 'installing playwright-core'
            npm ci --prefix tests/browser --no-audit --no-fund --silent
            is_made tests/browser/node_modules tests/browser/package-lock.json
        fi
        if ! is_current tests/.venv tests/requirements.txt; then
            say 'installing nats-server and schemathesis'
            python3 -m venv --clear tests/.venv
            tests/.venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
            is_made tests/.venv tests/requirements.txt
        fi
        ;;
    check)
        install_missing
        cargo_tool cargo-deny
        ;;
    fuzz)
        install_missing
        cargo_tool cargo-fuzz
        ;;
    *)
        say "unknown purpose '$1': run, test, check or fuzz"
        exit 2
        ;;
esac
