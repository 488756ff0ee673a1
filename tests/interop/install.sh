#!/usr/bin/env bash
# Installs what the interoperation tests need: Python with websockets, httpx-sse and cent, Node with ws, eventsource and
# playwright-core, Chromium, curl, nginx, haproxy.
# Quick when that is done already; safe to call from several processes at once. Everything but Debian's packages
# goes to .cache/interop of this checkout. Never touches the server.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/../../.cache/interop
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

exec 9>"$cache/lock"
flock 9

# The Debian packages of the commands that are missing.
missing_packages() {
    local browser
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then echo python3 python3-venv; fi
    if ! command -v node >/dev/null; then echo nodejs; fi
    if ! command -v npm >/dev/null; then echo npm; fi
    if ! command -v curl >/dev/null; then echo curl; fi
    # Administrators' commands: not on everybody's PATH.
    if ! PATH=$PATH:/usr/sbin command -v nginx >/dev/null; then echo nginx; fi
    if ! PATH=$PATH:/usr/sbin command -v haproxy >/dev/null; then echo haproxy; fi
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null; then return; fi
    done
    # Without these two a screenshot shows boxes in the place of letters and emoji.
    echo chromium fonts-dejavu-core fonts-noto-color-emoji
}

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "install.sh: missing: $*" >&2
        echo "install.sh: install them as root (Debian: apt-get install $*) and run the tests again" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "$@" >"$cache/apt.log" 2>&1 || {
        cat "$cache/apt.log" >&2
        exit 1
    }
}

read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
if [ "${#packages[@]}" -gt 0 ]; then install_packages "${packages[@]}"; fi

# What was installed from which pins; a folder that was moved or half made does not count.
stamp=$(cat "$here/requirements.txt" "$here/package.json"; echo "$cache"; python3 --version; node --version)
if [ "$stamp" = "$(cat "$cache/stamp" 2>/dev/null)" ]; then exit 0; fi
rm -rf "$cache/stamp" "$cache/python" "$cache/node"

python3 -m venv "$cache/python"
"$cache/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

mkdir "$cache/node"
cp "$here/package.json" "$cache/node/"
npm install --prefix "$cache/node" --silent --no-package-lock --no-audit --no-fund --ignore-scripts

printf '%s' "$stamp" >"$cache/stamp"
