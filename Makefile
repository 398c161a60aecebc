# certhook's own chores. Each works on a clean machine with a Rust toolchain; `test` and `demo` install
# what they need with apt-get when it is missing, and are quiet when it is there.

.PHONY: help test demo fmt lint unit release tools simulator clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 14

test: tools fmt lint unit ## everything that must hold, quickest first

demo: tools ## the main job, played on this machine: three renewals from the file to the portal
	cargo build --quiet --workspace --bins
	target/debug/demo --certhook target/debug/certhook

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings

unit:
	cargo test --workspace --quiet

release: ## the program, as it is shipped
	cargo build --release --locked

simulator: ## the portal's simulator, to play with by hand
	cargo run --quiet -p certhook-test-support --bin portal-simulator

tools:
	@packaging/tools.sh

clean:
	cargo clean
