#!/usr/bin/env bash
# usage: scripts/valgrind.sh LOG_DIR 'TEST COMMAND'
# Runs the command with every server under valgrind's memcheck, and fails if it fails, or if a server made an error or lost memory
# in a way that scripts/valgrind.supp does not know. LOG_DIR holds a log for each process then.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
logs=$(cd "$1" && pwd) run=$2
rm -f "$logs"/*.log

# Memcheck makes a server some 20 to 50 times slower, and a machine that runs several of them slower still.
status=0
REDIS_SERVER=$PWD/scripts/valgrind-server.sh VALGRIND_LOGS=$logs MIROIR_TEST_GENTLE=1 MIROIR_TEST_SLOWNESS=${SLOWNESS:-20} \
    bash -c "$run" || status=1

if ! compgen -G "$logs/*.log" >/dev/null; then
    echo "No server has run under valgrind: is VALGRIND_TESTS right?" >&2
    exit 1
fi

# A log is a list of paragraphs; those of faults begin with one of these lines. A server that a test has killed told of its errors, but
# could not tell what it had lost.
awk '
    BEGIN {
        fault = "^(Invalid |Conditional jump|Use of uninit|Syscall param|Source and destination|Mismatched|Argument |Process terminat|Jump to)"
        lost = " (definitely|indirectly) lost in loss record "
    }
    function close_paragraph() {
        if (paragraph != "" && (first ~ fault || first ~ lost)) {
            count[paragraph ~ /miroir/ ? "module" : "server"]++
            if (!(paragraph in seen)) {
                seen[paragraph] = 1
                print file ":\n" paragraph
            }
        }
        paragraph = first = ""
    }
    FNR == 1 { close_paragraph(); processes++; file = FILENAME }
    /ERROR SUMMARY/ { told++ }
    {
        sub(/^==[0-9]+== ?/, "")
        if ($0 ~ /^ *$/ || $0 ~ /^Command: /) { close_paragraph(); next }
        if (paragraph == "") first = $0
        # The same fault at another address is the same fault.
        line = $0
        gsub(/0x[0-9A-Fa-f]+/, "0x", line)
        gsub(/in loss record .*/, "in loss record", line)
        paragraph = paragraph line "\n"
    }
    END {
        close_paragraph()
        printf "valgrind: %d servers, %d of them ended by themselves; faults: %d with the module on the stack, %d without it\n", \
            processes, told, count["module"], count["server"]
        exit count["module"] + count["server"] > 0
    }
' "$logs"/*.log || status=1
exit $status
