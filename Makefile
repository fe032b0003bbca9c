# Everything happens in .venv and .venv-compiled of this folder; nothing else on the machine is touched.

VENV := .venv
BIN := $(VENV)/bin
# .venv runs the sources as they are; this has the package as others install it: compiled, where there is a C compiler.
COMPILED_VENV := .venv-compiled
# Each stamp says that pyproject.toml as it is now has been installed, with or without an extra.
RUNTIME := $(VENV)/.runtime-installed
DEMO := $(VENV)/.demo-installed
DEV := $(VENV)/.dev-installed
# The TypeScript client, and the file that says what of package-lock.json is installed.
TYPESCRIPT := clients/typescript
NODE_MODULES := $(TYPESCRIPT)/node_modules/.package-lock.json
SERVED := sigbridge.js sigbridge-call.js
SERVED_IN := adapters/sigbridge_server
# And this one that the sources as they are now have been.
COMPILED := $(COMPILED_VENV)/.installed
PACKAGED := pyproject.toml hatch_build.py $(shell find core adapters compat_tests/sigbridge_compat bench/pyproject.toml bench/sigbridge_bench \
	-type f ! -path '*/__pycache__/*')
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# The first python that is new enough; PYTHON=… chooses another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)

# Tests start interpreters by the hundred, and each worker reads every file of tests: both take twice as long where Python may
# not keep what it has compiled, which lies in __pycache__ beside its source; `make clean` removes it.
unexport PYTHONDONTWRITEBYTECODE

N ?= 10000
SEED ?=
PAIRING ?= grpc-websocket
PYTEST_ARGS ?=
BENCH_ARGS ?=
# How many tests run at once, which is more than a machine of two cores has: much of the time is waiting for processes.
WORKERS ?= 7
PYTEST := $(BIN)/python -m pytest -ra
AT_ONCE := --numprocesses $(WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve demo test test-fast coverage square soak scripts chaos fuzz fuzz-corpus autobahn proxies lint format types walls proto check-proto settings-page check-settings-page typescript-messages check-typescript-messages traces check-traces typescript check-typescript compiled bench bench-report clean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python $(COMPILED_VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "sigbridge needs Python 3.11 or later; none is on the PATH (PYTHON=… names one)" >&2; exit 1; fi
	@$(PYTHON) -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME): pyproject.toml | $(BIN)/python
	@echo "installing sigbridge into $(VENV)"
	@$(PIP_INSTALL) --editable .
	@touch $@

$(DEMO): pyproject.toml | $(BIN)/python
	@echo "installing sigbridge with its demo into $(VENV)"
	@$(PIP_INSTALL) --editable '.[demo]'
	@touch $@ $(RUNTIME)

$(DEV): pyproject.toml bench/pyproject.toml | $(BIN)/python
	@echo "installing sigbridge and the tools of its development into $(VENV)"
	@$(PIP_INSTALL) --editable '.[dev]' --editable bench
	@touch $@ $(DEMO) $(RUNTIME)

$(COMPILED): $(PACKAGED) | $(COMPILED_VENV)/bin/python
	@echo "compiling sigbridge and installing it into $(COMPILED_VENV), which takes a minute"
	@$(COMPILED_VENV)/bin/python -m pip --disable-pip-version-check --quiet install . ./bench
	@$(COMPILED_VENV)/bin/sigbridge version | grep -F '(compiled)' || echo "it is not compiled: pip wheel --no-deps --verbose . says why"
	@touch $@

serve: $(RUNTIME)  ## serve gRPC on 127.0.0.1:50051 and WebSocket on 127.0.0.1:8080, metrics on 127.0.0.1:9090
	@GRPC_BIND_ADDRESS="$${GRPC_BIND_ADDRESS:-127.0.0.1:50051}" WS_BIND_ADDRESS="$${WS_BIND_ADDRESS:-127.0.0.1:8080}" \
		exec $(BIN)/sigbridge serve

demo: $(DEMO)  ## let two WebRTC peers, one on each protocol, call each other (PAIRING=grpc-grpc, …; browser-grpc: a page and a backend)
	@$(BIN)/sigbridge demo --pairing $(PAIRING)

test: $(DEV)  ## run the tests: all but the longest, which .ci/run plays too: the full square of ways in, soaking, fuzzing, most of Autobahn's
	$(PYTEST) $(AT_ONCE) $(PYTEST_ARGS)

test-fast: $(DEV)  ## run the tests that start no process and open no socket, in some seconds
	$(PYTEST) --numprocesses auto --hypothesis-profile=quick --dist worksteal -o faulthandler_timeout=0 -m "fast and not (thorough or square or soak or fuzz$(if $(SIGBRIDGE_FAST_PATHS), or fast_paths))" $(PYTEST_ARGS)

coverage: $(DEV)  ## run what `test` does, and show the lines that nothing has run
	$(PYTEST) $(AT_ONCE) --cov --cov-report=term $(PYTEST_ARGS)

square: $(DEV)  ## play the scenarios on every pairing of two ways in that `test` leaves out, and the calls of WebRTC stacks
	$(PYTEST) $(AT_ONCE) -m square tests/stacks compat_tests $(PYTEST_ARGS)

soak: $(DEV)  ## play many times what `test` plays a few times, such as a hundred calls that cross
	$(PYTEST) $(AT_ONCE) -m soak $(PYTEST_ARGS)
	$(PYTEST) $(AT_ONCE) --hypothesis-profile=soak -o faulthandler_timeout=600 -m "hypothesis and not (square or soak or fuzz or autobahn)" $(PYTEST_ARGS)

scripts: $(DEV)  ## compare N random scripts on every way in with the bare hub (N=10000; SEED=… plays the same again)
	$(PYTEST) --numprocesses auto compat_tests/test_random_scripts.py --scripts=$(N) $(if $(SEED),--seed=$(SEED)) $(PYTEST_ARGS)

chaos: KILLS = $(if $(filter command line environment,$(origin N)),$(N),1000)
chaos: $(DEV)  ## kill sessions at N random points, for each engine of gRPC and kind of client (N=1000; SEED=… plays the same kills again)
	$(PYTEST) --numprocesses 2 compat_tests/test_chaos.py --kills=$(KILLS) $(if $(SEED),--seed=$(SEED)) $(PYTEST_ARGS)

fuzz: SECONDS ?= 60
fuzz: $(DEV)  ## fuzz HTTP/2, the gRPC wire, WebSocket's handshake and frames, JSON-RPC and JWTs, each for so long (SECONDS=60)
	SIGBRIDGE_FUZZ_SECONDS=$(SECONDS) $(PYTEST) --numprocesses 2 -m fuzz tests/fuzz $(PYTEST_ARGS)

fuzz-corpus: SECONDS ?= 300
fuzz-corpus: $(DEV)  ## fuzz for so long (SECONDS=300), and make the inputs anew that each fuzzer begins with
	PYTHONPATH=tests/shared $(BIN)/python tests/fuzz/make_corpus.py $(SECONDS)

autobahn: $(DEV)  ## play every case of Autobahn's test suite against an echo on our WebSocket
	$(PYTEST) $(AT_ONCE) -m "" tests/foreign/test_autobahn.py $(PYTEST_ARGS)

proxies: $(DEV)  ## run every proxy of deploy/, and write what was seen into docs/proxies.md
	PYTHONPATH=tools $(PYTEST) $(AT_ONCE) -p write_proxies_page tests/deploy/test_proxies.py $(PYTEST_ARGS)

lint: $(DEV) check-settings-page check-traces check-typescript-messages  ## check style, format and prose
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_prose.py

format: $(DEV)  ## format the code and mend what can be mended without thought
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)  ## check types, strictly
	$(BIN)/mypy
	$(BIN)/mypy hatch_build.py tools bench/baselines/*.py examples/answer_over_grpc.py examples/call_over_websocket.py

walls: $(DEV)  ## check which package imports which
	$(BIN)/lint-imports

proto: $(DEV)  ## make the generated code from protos/
	$(BIN)/python tools/generate_protos.py

check-proto: $(DEV)  ## check that the generated code is current
	$(BIN)/python tools/generate_protos.py --check

settings-page: $(DEV)  ## make docs/settings.md from the settings
	$(BIN)/python tools/generate_settings_page.py

typescript-messages: $(DEV)  ## make the messages of the TypeScript client from the OpenRPC document
	$(BIN)/python tools/generate_typescript.py

check-typescript-messages: $(DEV)  ## check that these messages are current
	$(BIN)/python tools/generate_typescript.py --check

traces: $(DEV)  ## make the list in docs/architecture.md of the functions that a message passes
	$(BIN)/python tools/trace_requests.py

check-traces: $(DEV)  ## check that this list is current
	$(BIN)/python tools/trace_requests.py --check

check-settings-page: $(DEV)  ## check that docs/settings.md is current
	$(BIN)/python tools/generate_settings_page.py --check

$(NODE_MODULES): $(TYPESCRIPT)/package-lock.json
	@command -v npm >/dev/null || { echo "the TypeScript client is built with Node 20 or later, and npm is not on the PATH" >&2; exit 1; }
	cd $(TYPESCRIPT) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

typescript: $(DEV) $(NODE_MODULES)  ## make the TypeScript client, with its generated code and the files of it that servers serve
	$(BIN)/python tools/generate_typescript.py
	$(BIN)/python tools/generate_typescript_protos.py
	cd $(TYPESCRIPT) && npm run --silent types && npm run --silent build
	cp $(addprefix $(TYPESCRIPT)/dist/,$(SERVED)) $(SERVED_IN)

check-typescript: $(DEV) $(NODE_MODULES)  ## check the TypeScript client's types, and that what is made of it is current
	$(BIN)/python tools/generate_typescript.py --check
	$(BIN)/python tools/generate_typescript_protos.py --check
	cd $(TYPESCRIPT) && npm run --silent types && npm run --silent build
	@for script in $(SERVED); do cmp $(TYPESCRIPT)/dist/$$script $(SERVED_IN)/$$script || { echo "$(SERVED_IN)/$$script is not current: run 'make typescript'" >&2; exit 1; }; done

compiled: $(COMPILED)  ## install the package as others do, compiled, into .venv-compiled

bench: $(COMPILED)  ## measure what signaling costs, beside baselines on Node where npm is there (BENCH_ARGS=--quick)
	@if command -v npm >/dev/null; then cd bench/baselines && npm install --silent --no-audit --no-fund --ignore-scripts; fi
	$(COMPILED_VENV)/bin/sigbridge bench $(BENCH_ARGS)

bench-report: $(DEV)  ## make a page of the last run of bench-results.jsonl, plots included: bench-report.html
	$(BIN)/sigbridge bench report bench-results.jsonl --html bench-report.html

clean:  ## remove what was made: the environments, caches and reports
	rm -rf $(VENV) $(COMPILED_VENV) .cache .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov bench/baselines/node_modules $(addprefix $(TYPESCRIPT)/,node_modules dist .build .driver)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
