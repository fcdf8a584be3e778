# Needs Rust and make; `setup` installs the rest (Debian, Ubuntu).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PORT ?= 6379
TEST ?=
BENCH ?=
MATRIX ?= redis-7.0 redis-8.2 valkey-8
SOAK_MINUTES ?= 10
FUZZ_COMMANDS ?= 1000000
FUZZ_SEED ?=
# What talks to servers in every way that the module knows. The rest asks for times that memcheck cannot keep, or for dozens of servers.
VALGRIND_TESTS ?= audit canaries cdc fence idempotency index_sets jobs leases limits lists memory raw_clients revocation rows scoped_keys \
	tasks unload

# A fresh Rust installation is on PATH only after the next login.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
MODULE := $(TARGET)/release/libmiroir.so
DEBUG_MODULE := $(TARGET)/debug/libmiroir.so

# All that starts servers. Only the debug module has MIROIR.DEBUG, for the tests of the panic boundary; all others run against the
# release module.
SERVER_TESTS := MIROIR_MODULE='$(MODULE)' MIROIR_DEBUG_MODULE='$(DEBUG_MODULE)' \
	cargo test --locked --features debug-command --test '*'

COMMANDS_DOC := cargo run --quiet --locked --example commands_doc

.PHONY: help build debug-module run test matrix clients soak fuzz valgrind bench bench-catalog lint deploy-check docs book demo top exporter clean setup setup-matrix port-free

help: ## show this help
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-15s %s\n' "$$name" "$$text"; done
	@echo 'Variables:'
	@echo '  PORT=6379             the port of run, demo, top and exporter, on 127.0.0.1'
	@echo '  REDIS_SERVER=path     the server that run starts: a redis-server (7.0 or later) or valkey-server (8 or later)'
	@echo '  TEST=name             test, matrix, clients: only the tests whose name contains this'
	@echo '  MATRIX=servers        matrix: some of redis-7.0 redis-8.2 valkey-8, or paths of servers (the three)'
	@echo '  SOAK_MINUTES=10       soak: how long'
	@echo '  FUZZ_COMMANDS=n       fuzz: how many calls (1000000)'
	@echo '  FUZZ_SEED=n           fuzz: which calls; the seed of a run repeats its calls (a new one each time)'
	@echo '  VALGRIND_TESTS=files  valgrind: which files of tests/, by their names without .rs'
	@echo '  BENCH=options         bench, bench-catalog: such as --rows 20000 or --write; --help lists them'
	@echo '  CARGO_TARGET_DIR=dir  where cargo builds, and where run keeps its data (target)'

build: ## build the module: target/release/libmiroir.so
	@scripts/setup.sh
	cargo build --release --locked

# `cargo test` alone leaves no module in target/debug.
debug-module: build
	cargo build --locked --features debug-command

run: port-free setup build ## run a server with the module in the foreground; its data: target/run/PORT
	@exec scripts/run.sh '$(PORT)' '$(MODULE)' '$(TARGET)/run/$(PORT)'

test: setup build debug-module ## run all tests, the ones against real servers last
	cargo test --locked --features debug-command --lib $(TEST)
	$(SERVER_TESTS) $(TEST)

# Every server is asked, whatever the others said. The tests of the pure rooms have no server.
matrix: setup-matrix build debug-module ## run the tests against real servers on every supported server, or on those of MATRIX
	$(SERVER_TESTS) --no-run
	@scripts/matrix.sh '$(TARGET)/matrix' "$(SERVER_TESTS) --no-fail-fast $(TEST)" $(MATRIX)

# The tests that `make test` leaves out, since they need Python and Node.js.
clients: setup build ## run the example clients, in Rust, Python and Node.js, and look at what they did
	@scripts/clients.sh
	cargo build --locked --features debug-command --example client --example clients
	MIROIR_MODULE='$(MODULE)' cargo test --locked --features debug-command --test clients -- --ignored $(TEST)

# With its output, as the figures are what it is for.
soak: setup build ## let clients work for SOAK_MINUTES while servers come and go: flat memory, no drift
	SOAK_MINUTES='$(SOAK_MINUTES)' MIROIR_MODULE='$(MODULE)' \
		cargo test --locked --features debug-command --test soak -- --nocapture

# The calls are made and judged faster by an optimized test.
fuzz: setup build ## call the module with hostile input a million times, and look what it does
	MIROIR_MODULE='$(MODULE)' MIROIR_FUZZ_COMMANDS='$(FUZZ_COMMANDS)' MIROIR_FUZZ_SEED='$(FUZZ_SEED)' \
		cargo test --release --locked --test fuzz -- --nocapture

# With the debug module: it gives every block back to the server at once, so that the checker sees what happens to each. Nodes of a
# cluster are too slow under it to take each other for alive, and what is in use looks idle.
valgrind: setup-valgrind debug-module ## run VALGRIND_TESTS with every server under valgrind
	@scripts/valgrind.sh '$(TARGET)/valgrind' "MIROIR_MODULE='$(DEBUG_MODULE)' MIROIR_DEBUG_MODULE='$(DEBUG_MODULE)' \
		cargo test --locked --features debug-command --no-fail-fast $(addprefix --test ,$(VALGRIND_TESTS)) -- --skip cluster --skip idle"

# Neither fails when a target is missed: the figures of a busy machine are no defect.
bench: setup build ## measure the module beside scripts, functions and raw commands, on servers of its own
	MIROIR_MODULE='$(MODULE)' cargo bench --locked --bench compare -- $(BENCH)

bench-catalog: setup build ## measure the catalog against its targets, on servers of its own
	MIROIR_MODULE='$(MODULE)' cargo bench --locked --bench catalog -- $(BENCH)

lint: ## check format, lints, shell scripts, and that docs/commands.md is current
	@scripts/setup.sh lint
	cargo fmt --check
	cargo clippy --locked --all-targets --all-features -- -D warnings
	for script in scripts/*.sh deploy/kubernetes/*.sh .ci/run; do bash -n "$$script"; done
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh deploy/kubernetes/*.sh .ci/run; fi
	@mkdir -p '$(TARGET)'
	$(COMMANDS_DOC) > '$(TARGET)/commands.md'
	@diff -u docs/commands.md '$(TARGET)/commands.md' || { echo 'docs/commands.md is not what the command registry says: run `make docs` and commit it.' >&2; exit 1; }

deploy-check: ## check the manifests, the Dockerfile, the alerts and the dashboard
	@scripts/deploy-check.sh

# By way of another file, so that a failure leaves the old page alone.
docs: ## write docs/commands.md from the command registry
	@scripts/setup.sh
	@mkdir -p '$(TARGET)' docs
	$(COMMANDS_DOC) > '$(TARGET)/commands.md'
	@mv '$(TARGET)/commands.md' docs/commands.md

book: ## make the pages of docs/ into a book: target/book/index.html
	@command -v mdbook >/dev/null || { echo 'Missing: mdbook. Installing it now, which takes some minutes.'; cargo install --locked mdbook; }
	mdbook build --dest-dir '$(TARGET)/book'

demo: ## load the reference workload into a running server and measure it
	@scripts/setup.sh
	cargo run --locked --example demo -- --port '$(PORT)'

top: ## watch a running server in the terminal: tables, jobs, leases, CDC buffers
	@scripts/setup.sh
	cargo run --locked --example top -- --port '$(PORT)'

exporter: ## export the metrics of a running server for Prometheus, on 127.0.0.1:9721
	@scripts/setup.sh
	cargo run --locked --example exporter -- --port '$(PORT)'

clean: ## remove everything built, and the data of `make run`
	cargo clean
	rm -rf .cache examples/clients/python/.venv examples/clients/node/node_modules

setup: ## install what is missing: redis-server, libclang, a C compiler
	@scripts/setup.sh server

setup-valgrind:
	@REDIS_SERVER= scripts/setup.sh valgrind

# Before the build, which may take minutes: what is misspelt or cannot be fetched should not be told after it.
setup-matrix:
	@scripts/setup.sh cli
	@for server in $(MATRIX); do scripts/server.sh "$$server" >/dev/null; done

# Before the build, for the same reason.
port-free:
	@scripts/port-free.sh '$(PORT)'
