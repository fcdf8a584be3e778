#!/usr/bin/env bash
# usage: scripts/matrix.sh LOG_DIR 'TEST COMMAND' SERVER…
# Runs the command once for each server, which it finds in REDIS_SERVER, and ends with a table. Fails if any run failed; all are
# run whatever becomes of the others. Servers: see scripts/server.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=$1 run=$2
shift 2

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

(($# > 0)) || fail "MATRIX: no server is named. Leave it out, or name some of redis-7.0 redis-8.2 valkey-8."

# All of them before the first run, which takes minutes.
programs=()
for name; do
    program=$(scripts/server.sh "$name")
    programs+=("$program")
done

# "Redis 8.2.3", from "Redis server v=8.2.3 sha=…".
version() { "$1" --version | sed -E 's/^([A-Za-z]+) server v=([^ ]+).*/\1 \2/'; }

# The sum of a column of cargo's closing lines: "test result: ok. 12 passed; 0 failed; 0 ignored; …".
sum() { sed -nE "s/^test result: .* ([0-9]+) $2;.*/\1/p" "$1" | awk '{ sum += $1 } END { print sum + 0 }'; }

mkdir -p "$logs"
status=0 rows=()
for program in "${programs[@]}"; do
    server=$(version "$program")
    log=$logs/${server/ /-}.log
    printf '\n== %s: %s ==\n' "$server" "$program"
    SECONDS=0 outcome=passed
    REDIS_SERVER=$program bash -c "$run" 2>&1 | tee "$log" || outcome=FAILED status=1
    passed=$(sum "$log" passed) failed=$(sum "$log" failed)
    # A run without a single test has shown nothing.
    if ((passed + failed == 0)); then
        outcome=FAILED status=1
    fi
    rows+=("$(printf '%-16s %7d %7d %5d:%02d  %-7s %s' \
        "$server" "$passed" "$failed" $((SECONDS / 60)) $((SECONDS % 60)) "$outcome" "$log")")
done

printf '\n%-16s %7s %7s %8s  %-7s %s\n' server passed failed time outcome log
printf '%s\n' "${rows[@]}"
exit $status
