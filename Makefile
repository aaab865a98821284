# The face for people: each line calls cargo or `cargo xtask`, which prints what it runs.

.DEFAULT_GOAL := help
.PHONY: help setup model run dev ui test unit black-box ui-test openai-tests quality-checks lint fmt tidy deny bench dist install clean compiler

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

run: compiler ## build, bring a small real model, start the router with a node, and say how to call it
	cargo xtask run

test: compiler ## install what is needed and run all tests
	cargo xtask test

dev: compiler ## debug build on 127.0.0.1:8000, authentication off
	cargo xtask dev

setup: compiler ## install missing system packages
	cargo xtask setup

model: compiler ## download and check the small model
	cargo xtask model

ui: compiler ## build the dashboard (Node.js 20.19 or later)
	cargo xtask ui

ui-test: compiler ## the dashboard's tests: lint, logic, every page in a browser
	cargo xtask ui-test

unit: compiler ## the tests of all crates without C++
	cargo xtask unit

black-box: compiler ## tests of the release executables with the real model
	cargo xtask black-box

openai-tests: compiler ## the official OpenAI SDK against the running program
	cargo xtask openai-tests

quality-checks: compiler ## formatting, clippy, tidy, licences, Markdown, workspace tests, openai-tests
	cargo xtask quality-checks

lint: compiler ## the checks of quality-checks that run no tests
	cargo xtask lint

fmt: compiler ## format the code
	cargo xtask fmt

tidy: compiler ## the rules about the tree: layers, sizes, words, links
	cargo xtask tidy

deny: compiler ## licences, bans and sources of the dependencies
	cargo xtask deny

bench: compiler ## what can be measured: `cargo xtask bench --help` has the arguments
	cargo xtask bench --help

dist: compiler ## the router as it is published, into target/dist: optimised when linked, trained under load
	cargo xtask dist

install: compiler ## put the programs into PREFIX/bin (default /usr/local for root, else ~/.local)
	cargo xtask install

clean: ## remove what was built
	cargo clean

# cargo cannot link, not even its own build scripts, without a C compiler; everything else is `cargo xtask setup`'s.
compiler:
	@command -v cc >/dev/null 2>&1 || { \
	  command -v apt-get >/dev/null 2>&1 || { echo 'Please install a C compiler (cc) first.' >&2; exit 1; }; \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; set -x; \
	  $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends build-essential; }
