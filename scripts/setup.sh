#!/usr/bin/env bash
# usage: scripts/setup.sh [server | valgrind | cli | lint | wheel | clients]
# Installs what is missing: for a build; with `server` also for running a server; with `valgrind` also for one under valgrind; with
# `cli` also redis-cli; with `lint` also rustfmt and clippy; with `wheel` also what can fetch and unpack a Python package; with
# `clients` that, and what fetches and runs programs of Node.js.
# Says first what it will install. Prints nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-build}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null; }

exists() { compgen -G "$1" >/dev/null; }

check_rust() {
    has cargo || fail \
        'Rust is missing: there is no cargo on PATH, nor in ~/.cargo/bin.' \
        'Install it with rustup (https://rustup.rs), then run make again.'
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(cargo --version | cut -d' ' -f2)
    # An old cargo may stumble over Cargo.lock before it comes to the version, and its message then helps nobody.
    if [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n1) != "$wanted" ]]; then
        fail "Rust $wanted or later is needed; $(command -v cargo) is $found." \
            'With rustup: rustup update stable. Without: see https://rustup.rs.'
    fi
}

check_lint_tools() {
    local tool
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 && continue
        has rustup || fail "cargo $tool is missing. Install it the way Rust was installed."
        echo "Missing: cargo $tool. Installing it now."
        rustup component add "${tool/#fmt/rustfmt}"
    done
}

# bindgen needs the library and, beside it, the compiler's own headers (stddef.h and its like).
has_libclang() {
    [[ -n ${LIBCLANG_PATH:-} ]] && return
    local lib
    for lib in /usr/lib/llvm-*/lib /usr/local/lib /usr/lib64 /usr/lib; do
        exists "$lib/libclang.so*" || exists "$lib/libclang-[0-9]*.so*" || continue
        exists "$lib/clang/*/include/stddef.h" && return
    done
    return 1
}

# A server that the user names is the user's to install.
check_named_server() {
    [[ -z ${REDIS_SERVER:-} ]] || has "$REDIS_SERVER" || fail "REDIS_SERVER: there is no program '$REDIS_SERVER'."
}

# Sets `missing` to the Debian packages that hold what is missing.
find_missing() {
    missing=()
    has cc || missing+=(gcc libc6-dev)
    has_libclang || missing+=(libclang-dev)
    if [[ $purpose == valgrind ]]; then
        has valgrind || missing+=(valgrind)
    fi
    if [[ $purpose =~ ^(server|valgrind)$ && -z ${REDIS_SERVER:-} ]]; then
        has redis-server || missing+=(redis-server)
    fi
    if [[ $purpose == server || $purpose == cli ]]; then
        has redis-cli || missing+=(redis-tools)
    fi
    if [[ $purpose == wheel || $purpose == clients ]]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    fi
    if [[ $purpose == clients ]]; then
        has node || missing+=(nodejs)
        has npm || missing+=(npm)
    fi
}

has_systemd() { [[ -d /run/systemd/system ]]; }

# Debian's redis-server package starts a service on port 6379 and enables it for every boot. Nobody who types `make run` asked
# for that. True when such a service would come with what is missing; one that is there already is not ours to touch.
brings_service() {
    [[ " ${missing[*]} " == *' redis-server '* ]] && ! has_service
}

has_service() {
    if has_systemd; then
        systemctl cat redis-server.service >/dev/null 2>&1
    else
        [[ -e /etc/init.d/redis-server ]]
    fi
}

# Without root all that can be done is to say what to type.
explain() {
    local command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if has_systemd && brings_service; then
        command+=' && systemctl disable --now redis-server'
    fi
    if has sudo; then
        command="sudo sh -c '$command'"
    else
        command="su -c '$command'"
    fi
    fail 'To install that, root is needed. Type this, then run make again:' "    $command"
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# While it stands, packages may start their services, all but redis-server. Where there is a policy already, that one decides.
deny_service_start() {
    [[ -e /usr/sbin/policy-rc.d ]] && return
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    as_root tee /usr/sbin/policy-rc.d >/dev/null <<'POLICY'
#!/bin/sh
for word; do
    case $word in redis-server*) exit 101 ;; esac
done
POLICY
    as_root chmod 755 /usr/sbin/policy-rc.d
}

switch_service_off() {
    if has_systemd; then
        as_root systemctl disable --now --quiet redis-server.service
    else
        as_root update-rc.d redis-server disable
    fi
    echo "The service that comes with redis-server is left switched off."
}

install_missing() {
    local service=no
    if brings_service; then
        service=yes
        deny_service_start
    fi
    as_root apt-get update
    # A machine that has just booted may be busy with its own updates: wait for the lock.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}"
    if [[ $service == yes ]]; then
        switch_service_off
    fi
}

check_rust
if [[ $purpose == lint ]]; then
    check_lint_tools
elif [[ $purpose == server ]]; then
    check_named_server
fi

find_missing
if ((${#missing[@]} == 0)); then
    exit 0
fi
echo "Missing: ${missing[*]}"
has apt-get || fail 'These are Debian package names; there is no apt-get here. Install their like with your package manager.'
if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    explain
fi
echo 'Installing with apt-get now.'
install_missing
find_missing
if ((${#missing[@]} > 0)); then
    fail "Still missing after installing: ${missing[*]}"
fi
