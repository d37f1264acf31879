# The only entry points a person must know. Each sets the machine up by itself (dev/setup) and says what it does.

.DEFAULT_GOAL := help
.PHONY: help demo test test-firecracker faults check bench bench-firecracker fuzz soak-boot setup build install clean advisories

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build an image, pull it from a local registry, start it, reach it over SSH and HTTP, remove it
	@dev/setup demo
	@cargo xtask demo

test: ## every test, with real microVMs; a summary of suites, times and skipped tests at the end
	@dev/setup test
	@cargo xtask test

test-firecracker: ## the tests that a real Firecracker must pass, with emulated KVM where there is none (FIRECRACKER=path)
	@dev/setup firecracker
	@cargo xtask test-firecracker

faults: ## every fault at every step of a command, and ten minutes of disorder twice; hours (FAULTS=100 takes so many of each)
	@dev/setup test
	@FAULTS=$${FAULTS:-all} INTERLEAVINGS_SECONDS=$${DISORDER_SECONDS:-600} CROWD_SECONDS=$${DISORDER_SECONDS:-600} cargo xtask test knaller-cli/e2e -- faults:: --nocapture

check: ## formatting, clippy, docs, licences and bans, unused dependencies, fuzz targets build
	@dev/setup check
	@cargo xtask check

bench: ## measure, print ratios, write docs/benchmarks.md
	@dev/setup bench
	@cargo xtask bench

bench-firecracker: ## the same for machines on a real Firecracker, with emulated KVM (FIRECRACKER=path); half an hour
	@dev/setup bench
	@dev/setup firecracker
	@cargo xtask bench-firecracker

fuzz: ## run every fuzz target for a minute (FUZZ_SECONDS=60)
	@dev/setup fuzz
	@cargo xtask fuzz

soak-boot: ## boot 1,000 guests in a row with all cores busy; none may hang (BOOTS=1000)
	@dev/setup demo
	@cargo xtask soak-boot

advisories: ## known vulnerabilities in dependencies (needs a network that reaches the advisory database)
	@dev/setup check
	@target/tools/bin/cargo-deny check advisories

setup: ## only install what the other targets need
	@dev/setup all

build: ## release binaries in target/release and the guest's init in target/guest
	@dev/setup demo
	@cargo xtask build

PREFIX ?= $(HOME)/.local
install: build ## copy the release binaries to PREFIX (default ~/.local)
	@cargo xtask install $(PREFIX)

clean: ## delete what was built (never your images or machines)
	cargo clean
