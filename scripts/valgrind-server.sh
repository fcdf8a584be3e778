#!/usr/bin/env bash
# usage: REDIS_SERVER=scripts/valgrind-server.sh VALGRIND_LOGS=DIR <what starts servers>
# A redis-server under valgrind's memcheck, with a log for each process.
#
# Debian's server: its jemalloc is a library of its own, which memcheck replaces by its own allocator. Where jemalloc is linked into
# the server, memcheck sees no block at all.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec valgrind \
    --soname-synonyms=somalloc='libjemalloc*' \
    --keep-debuginfo=yes \
    --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
    --num-callers=40 \
    --child-silent-after-fork=yes \
    --suppressions="$root/scripts/valgrind.supp" \
    --log-file="$VALGRIND_LOGS/%p.log" \
    redis-server "$@"
