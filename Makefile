# certhook's own chores. Each works on a clean machine with a Rust toolchain; `test` and `demo` install
# what they need with apt-get when it is missing, and are quiet when it is there.

.PHONY: help test demo fmt lint unit slow writers soak bench fuzz release deb rpm packages lifecycle windows windows-zip manuals tools simulator clean
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14

test: tools fmt lint unit slow ## everything that must hold, quickest first
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory lifecycle; else echo "skipped: make lifecycle, which only root can"; fi
	packaging/windows/test.sh --if-possible

demo: tools ## the main job, played on this machine: three renewals from the file to the portal
	cargo build --quiet --workspace --bins
	$(TARGET)/debug/demo --certhook $(TARGET)/debug/certhook

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo clippy --test slow --quiet -- -D warnings

unit:
	cargo test --workspace --quiet

slow:
	cargo test --test slow --quiet

writers: tools ## every way a certificate is written, and what came of it, as tables
	@out=$$(CERTHOOK_TEST_MANY=1000 cargo test --quiet --test slow writers:: -- --nocapture 2>&1) || { echo "$$out"; exit 1; }; \
	echo "$$out" | grep '^|\|^$$'

MINUTES ?= 20
soak: tools ## MINUTES=20 of renewals while the portal, the disk and nginx fail at random (as root)
	CERTHOOK_SOAK_MINUTES=$(MINUTES) cargo test --quiet --release --test slow -- --nocapture soak::

bench: tools ## what it costs: pure parts, hosts of many sites, and beside the floor where ../shared/bench is (as root)
	cargo build --quiet --workspace --bins
	cargo build --quiet --release
	cargo bench --quiet --bench pure -- --quick
	cargo bench --quiet --bench host
	tests/bench/harness.sh

FUZZ_SECONDS ?= 60
fuzz: ## each fuzz target for FUZZ_SECONDS=60; what is found stays in fuzz/artifacts
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	@for target in pem config portal vhosts; do \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/corpus/$$target tests/corpus/$$target -- -dict=fuzz/$$target.dict \
			-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=1500 || exit 1; \
	done

release: ## the program, as it is shipped
	cargo build --release --locked

deb: ## the Debian package, for every distribution since glibc 2.28, into target/packages
	packaging/package.sh deb

rpm: ## the same as an rpm
	packaging/package.sh rpm

packages: ## both, the same as a tarball, and their sums
	packaging/package.sh all

lifecycle: ## the packages in booted Debian 11, 12 and 13: install, upgrade, purge, the main job (as root)
	packaging/lifecycle.sh

windows: ## certhook.exe built here, and its tests under wine, with what was left out (installs mingw and wine)
	packaging/windows/test.sh

windows-zip: ## certhook.exe with its sample, hooks and install.cmd, as a zip in target/packages
	packaging/windows/package.sh

manuals: ## the manual pages and completions anew, from --help and the sample configuration
	cargo run --quiet -p certhook-manual -- packaging

simulator: ## the portal's simulator, to play with by hand
	cargo run --quiet -p certhook-test-support --bin portal-simulator

tools:
	@packaging/tools.sh

clean:
	cargo clean
