#!/usr/bin/env bash
# Installs what a fresh Debian lacks to run, test or check Relaycast. Does nothing where everything is there.
#
#   deploy/setup.sh run     ffmpeg, for the demo channel
#   deploy/setup.sh test    ffmpeg, Chromium, Redis, OpenSSL, and playwright-core from the npm registry, for the tests
#   deploy/setup.sh check   cargo-deny, for licences and duplicate dependencies
#   deploy/setup.sh fuzz    cargo-fuzz
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
        want openssl openssl
        want redis-cli redis-tools
        want redis-server redis-server
        install_missing
        # Compared by content, so that a second run costs nothing.
        stamp=tests/browser/node_modules/.package-lock.sum
        sum=$(cksum < tests/browser/package-lock.json)
        if [ "$(cat "$stamp" 2>/dev/null)" != "$sum" ]; then
            say 'installing playwright-core'
            npm ci --prefix tests/browser --no-audit --no-fund --silent
            echo "$sum" > "$stamp"
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
