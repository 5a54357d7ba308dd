# Every recipe that people and CI use. `make help` lists them.

# Nextest ends a test that hangs; plain `cargo test` does for those who lack it.
ifneq ($(shell command -v cargo-nextest),)
CARGO_TEST = cargo nextest run
else
CARGO_TEST = cargo test
endif

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
FUZZ_CRATES := proto services/edge services/media services/mqtt-bridge services/rtmp services/stream-manager
# Seconds per fuzz target.
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600

.PHONY: help run test check soak bench compare load-bridge load-cluster load-picks fuzz

help: ## Lists the recipes
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: ## Starts a node on 127.0.0.1:8080 with a demo channel and a page to watch it, and the console on :8081
	deploy/setup.sh run
	cargo run --release -p relaycast -- standalone --demo

test: ## Runs every test
	deploy/setup.sh test
	cargo build -p relaycast -p relaycast-loadtest
	$(CARGO_TEST) --workspace
	cd tests/browser && RELAYCAST_BIN="$(abspath $(TARGET_DIR))/debug/relaycast" npm test --silent

check: ## Formatting, lints, documentation, licences
	deploy/setup.sh check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --workspace --no-deps --document-private-items --quiet
	cargo deny --workspace --log-level error check bans licenses sources

fuzz: ## Fuzzes every parser of peer bytes, FUZZ_SECONDS (60) each
	deploy/setup.sh fuzz
	@set -e; for crate in $(FUZZ_CRATES); do for target in $$(cd $$crate && cargo +nightly fuzz list); do \
	    echo "== $$crate: $$target"; (cd $$crate && cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS)); \
	done; done

soak: ## Runs the mixed load, and the cluster whose parts fail, for SOAK_SECONDS (600) each instead of moments
	deploy/setup.sh test
	cargo build -p relaycast
	RELAYCAST_SOAK_SECONDS=$(SOAK_SECONDS) cargo nextest run --profile soak --no-capture -p relay-edge -p relay-tests \
	    -E 'binary(soak) + binary(chaos)'

bench: ## Measures the parts of the data path
	deploy/setup.sh run
	cargo bench -p relay-media
	cargo bench -p relay-edge --features bench

compare: ## Compares Relaycast with other servers under the same load; about half an hour
	loadtest/compare/setup.sh
	cargo build --release -p relaycast -p relaycast-loadtest --bins --examples
	$(TARGET_DIR)/release/relaycast-loadtest compare --out $(TARGET_DIR)/comparison

load-cluster: ## Measures what nodes cost each other, and what a killed one costs; about five minutes
	deploy/setup.sh test
	cargo build --release -p relaycast -p relaycast-loadtest --bins
	$(TARGET_DIR)/release/relaycast-loadtest cluster --nats-server tests/.venv/bin/nats-server --out $(TARGET_DIR)/cluster

load-bridge: ## Measures what thousands of cameras and docks cost a bridge; about two minutes
	deploy/setup.sh test
	cargo build --release -p relaycast -p relaycast-loadtest --bins
	$(TARGET_DIR)/release/relaycast-loadtest bridge --nats-server tests/.venv/bin/nats-server --out $(TARGET_DIR)/bridge

load-picks: ## Measures how many picks a stream-manager answers a second, and how soon; about two minutes
	deploy/setup.sh test
	cargo build --release -p relaycast -p relaycast-loadtest --bins
	$(TARGET_DIR)/release/relaycast-loadtest picks --nats-server tests/.venv/bin/nats-server --out $(TARGET_DIR)/picks
