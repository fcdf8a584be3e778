#!/usr/bin/env bash
# usage: scripts/port-free.sh PORT
# Fails with advice when a server of ours could not listen on 127.0.0.1:PORT.
set -euo pipefail

port=${1:-}

if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
    echo "PORT must be a number from 1 to 65535, not '$port'." >&2
    exit 1
fi

# A connection that succeeds is a port that somebody listens on.
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    other=$((port < 65535 ? port + 1 : port - 1))
    echo "Port $port on 127.0.0.1 is taken, perhaps by another Redis. Stop that one, or choose another port:" >&2
    echo "    make run PORT=$other" >&2
    exit 1
fi
