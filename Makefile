# The one vocabulary for people and CI. `make help` lists it.
#
# make never calls apt and never needs git. What it fetches stays in target/, .tools/ and cargo's own cache.

.DEFAULT_GOAL := help
# the parts of `test` run in the order in which they are named, whatever -j says: cargo has a job server of its own
.NOTPARALLEL:
unexport MAKEFLAGS

CARGO ?= cargo
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
STAGE := scripts/stage
BIN := .tools/venv/bin

# The whole workspace, and where the peers' OpenSSL comes from. Clippy, build and tests name the same packages and
# features, so that cargo builds each dependency once.
WORKSPACE = --locked --workspace $(shell scripts/openssl-features)
NEXTEST = $(if $(shell command -v cargo-nextest),$(CARGO) nextest,$(BIN)/cargo-nextest nextest)
DAEMONS := --locked --release -p crypto-service -p key-manager -p cryptoctl

.PHONY: help doctor tools run clean-dev build fmt lint test bench
.PHONY: need-run need-test stage-tools stage-lint stage-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

doctor: ## what is missing on this machine, with the line that brings it
	@scripts/doctor all && echo "doctor: nothing is missing"

tools: ## fill .tools/ (grpcurl, buf, cargo-deny, cargo-nextest, the peers) from the lock files
	@scripts/tools

run: need-run ## build, start both daemons, take a tour, print `ready`, stay up until Ctrl-C
	@$(CARGO) build $(DAEMONS)
	@exec $(RELEASE)/cryptoctl dev run

clean-dev: ## remove var/dev: the next `make run` starts over with new keys
	@scripts/clean-dev

build: ## build the workspace with the test profile
	@$(CARGO) build $(WORKSPACE) --all-targets

fmt: ## format the Rust code
	@$(CARGO) fmt --all

lint: need-test stage-tools stage-lint ## the tree, formatting, buf, cargo-deny, clippy

test: need-test stage-tools stage-lint stage-test ## lint, then every test, doc test and benchmark once

bench: need-test ## measure: criterion per layer, the load generator, allocations per request
	@$(STAGE) criterion $(CARGO) bench --locked -p benches --bench '*'
	@$(STAGE) daemons $(CARGO) build $(DAEMONS)
	@$(STAGE) load $(CARGO) run --locked --release -p benches --bin load
	@$(STAGE) allocations $(CARGO) run --locked --release -p benches --bin allocations

need-run:
	@scripts/doctor run

need-test:
	@scripts/doctor test

stage-tools:
	@$(STAGE) tools scripts/tools

stage-lint:
	@$(STAGE) tree scripts/check-tree
	@$(STAGE) fmt $(CARGO) fmt --all --check
	@$(STAGE) buf $(BIN)/buf lint proto
	@$(STAGE) deny $(BIN)/cargo-deny --log-level error --locked check bans licenses sources
	@$(STAGE) clippy $(CARGO) clippy $(WORKSPACE) --all-targets -- -D warnings

# The daemons and cryptoctl are built before the tests run: the black-box tests start them from the same folder.
stage-test:
	@$(STAGE) peers $(BIN)/python tests/peers-scripts/check_peers.py --quiet
	@$(STAGE) build $(CARGO) build $(WORKSPACE) --all-targets
	@$(STAGE) tests $(NEXTEST) run $(WORKSPACE)
	@$(STAGE) doctests $(CARGO) test $(WORKSPACE) --doc --quiet
	@$(STAGE) bench-smoke $(CARGO) test $(WORKSPACE) --bench '*' --quiet
