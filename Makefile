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

# The whole workspace, where the peers' OpenSSL comes from, the multi-buffer library where it could be had, the etcd
# store, and AWS KMS. Clippy, build and tests name the same packages and features, so that cargo builds each dependency once.
WORKSPACE = --locked --workspace $(shell scripts/openssl-features) $(shell scripts/multibuffer --features) $(shell scripts/etcd --features) \
	--features key-manager/aws-kms
NEXTEST = $(if $(shell command -v cargo-nextest),$(CARGO) nextest,$(BIN)/cargo-nextest nextest)
DAEMONS := --locked --release -p crypto-service -p key-manager -p cryptoctl
# The same two sources as features of the benches; asked when the line runs, since `bench` fetches the first itself.
BENCHES := $$( (scripts/multibuffer --features; scripts/openssl-features) | sed 's,features [a-z-]*/,features benches/,')

.PHONY: help doctor tools multibuffer etcd softhsm moto run clean-dev build fmt lint test bench faults sim
.PHONY: need-run need-test stage-tools stage-lint stage-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

doctor: ## what is missing on this machine, with the line that brings it
	@scripts/doctor all && echo "doctor: nothing is missing"

tools: ## fill .tools/ (grpcurl, buf, cargo-deny, cargo-nextest, the peers) from the lock files
	@scripts/tools

multibuffer: ## fetch the multi-buffer library into .tools/ipp-crypto (x86-64 Linux)
	@scripts/multibuffer

etcd: ## fetch protoc and an etcd server, which the etcd store is built and tested with
	@scripts/tools
	@scripts/etcd

softhsm: ## fetch SoftHSM, which the tests of PKCS#11 stand on
	@scripts/softhsm

moto: ## fetch moto, which plays AWS KMS in the tests
	@scripts/tools
	@scripts/moto

run: need-run ## build, start both daemons, take a tour, print `ready`, stay up until Ctrl-C
	@scripts/multibuffer --if-possible
	@$(CARGO) build $(DAEMONS) $$(scripts/multibuffer --features)
	@exec $(RELEASE)/cryptoctl dev run

clean-dev: ## remove var/dev: the next `make run` starts over with new keys
	@scripts/clean-dev

build: ## build the workspace with the test profile
	@$(CARGO) build $(WORKSPACE) --all-targets

fmt: ## format the Rust code
	@$(CARGO) fmt --all

lint: need-test stage-tools stage-lint ## the tree, formatting, buf, cargo-deny, clippy

test: need-test stage-tools stage-lint stage-test ## lint, then every test, doc test and benchmark once

bench: need-test ## measure: one report, benches/results/latest.md (REPORT='--rounds 3' passes flags), and each layer
	@$(STAGE) tools scripts/tools
	@$(STAGE) multibuffer scripts/multibuffer --if-possible
	@$(STAGE) daemons $(CARGO) build $(DAEMONS) $$(scripts/multibuffer --features)
	@$(STAGE) programs $(CARGO) build --locked --release -p benches --bin report --bin allocations $(BENCHES)
	@$(STAGE) report $(RELEASE)/report --programs $(RELEASE) $(REPORT)
	@$(STAGE) layers $(CARGO) bench --locked -p benches --bench '*' $(BENCHES)

faults: need-test ## what is guaranteed, under faults: tests/results/faults.json (FAULTS='--only kills --seed 7' passes flags)
	@$(STAGE) tools scripts/tools
	@$(STAGE) etcd scripts/etcd
	@$(STAGE) multibuffer scripts/multibuffer --if-possible
	@$(STAGE) daemons $(CARGO) build $(DAEMONS) $$(scripts/multibuffer --features) $$(scripts/etcd --features)
	@$(STAGE) programs $(CARGO) build --locked --release -p faults --bins $$(scripts/etcd --features)
	@$(STAGE) faults $(RELEASE)/faults $(FAULTS)

sim: need-test ## weeks of rotation under faults, in virtual time (SIM='--seed 7 --steps 1000000 --bug dead-lease' passes flags)
	@$(STAGE) simulation $(CARGO) build --locked --release -p sim
	@$(RELEASE)/sim $(SIM)

need-run:
	@scripts/doctor run

need-test:
	@scripts/doctor test

stage-tools:
	@$(STAGE) tools scripts/tools
	@$(STAGE) etcd scripts/etcd
	@$(STAGE) softhsm scripts/softhsm
	@$(STAGE) moto scripts/moto
	@$(STAGE) multibuffer scripts/multibuffer --if-possible

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
