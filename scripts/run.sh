#!/usr/bin/env bash
# usage: scripts/run.sh PORT MODULE DATA_DIR
# Runs a server in the foreground: redis.conf.example, but with the module of this working tree.
set -euo pipefail
cd "$(dirname "$0")/.."

port=$1 module=$2 data=$3
server=${REDIS_SERVER:-redis-server}

# A directory per port: two servers must never write the same files.
mkdir -p "$data"

# Only the installed module's path goes; the command line supplies this tree's, and wins over the file in the rest.
sed '/^loadmodule[[:space:]]/d' redis.conf.example >"$data/redis.conf"

echo "$server with $module on 127.0.0.1:$port; data in $data; Ctrl-C stops it."
# exec: Ctrl-C and signals reach the server itself, which then saves and exits.
exec "$server" "$data/redis.conf" --port "$port" --bind 127.0.0.1 --dir "$data" --loadmodule "$module"
