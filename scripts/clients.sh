#!/usr/bin/env bash
# usage: scripts/clients.sh
# Installs what the example clients in Python and Node.js need, beside them. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# With its messages only if it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        sed 's/^/    /' "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Whether what a folder names is what was installed there. `done` is written last.
is_current() { cmp -s "$1" "$2/done"; }

scripts/setup.sh clients

python=examples/clients/python
if ! is_current $python/requirements.txt $python/.venv; then
    echo 'Installing redis-py with pip.'
    rm -rf $python/.venv
    python3 -m venv $python/.venv
    quietly $python/.venv/bin/pip install --disable-pip-version-check --requirement $python/requirements.txt
    cp $python/requirements.txt $python/.venv/done
fi

node=examples/clients/node
major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
if ((major < 18)); then
    echo "Node.js 18 or later is needed; $(command -v node) is $(node --version)." >&2
    exit 1
fi
if ! is_current $node/package.json $node/node_modules; then
    echo 'Installing node-redis with npm.'
    rm -rf $node/node_modules
    quietly npm --prefix $node install --no-package-lock --no-audit --no-fund
    cp $node/package.json $node/node_modules/done
fi
