# make demo        relay, agent and viewer page on this machine: prints one URL to open
# make test        every test that needs no Raspberry Pi rig, in two halves at once: test-viewers those of
#                  sessions and page, test-others the others
# make test-rig    tests with the real picamera2 in the rig that PI_RIG names; test-rig-machine those
#                  that boot it, test-rig-camera the others
# make lint types  style and types
# make wheels      whether every dependency has a wheel for a 64-bit Pi
# make deb         the Debian package of the agent, in build/
# make bench       every benchmark; make bench-NAME runs one
#
# Each target sets up what it needs. VENV names the virtual environment.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BENCHES := $(patsubst tests/bench/bench_%.py,bench-%,$(wildcard tests/bench/bench_*.py))

.PHONY: venv demo test test-viewers test-others test-rig test-rig-machine test-rig-camera lint types format wheels deb bench packages clean
.DEFAULT_GOAL := demo

venv: $(BIN)/.installed

# picamera2 comes from the Pi's own packages, which only a venv with system packages sees.
$(BIN)/.installed: pyproject.toml
	@PYTHON=$(PYTHON) tests/install-packages venv
	@$(PYTHON) -c 'import picamera2' 2>/dev/null && options=--system-site-packages; \
	test -x $(BIN)/python || $(PYTHON) -m venv $$options $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

packages:
	@tests/install-packages tests

demo: venv
	$(BIN)/camagent demo $(ARGS)

# Both halves wait more than they work.
test: venv packages
	@$(MAKE) --jobs=2 --output-sync=target --no-print-directory test-viewers test-others

FIRST_HALF := tests/webrtc tests/end_to_end tests/signaling tests/check tests/snapshot \
	tests/server_stub/test_processes.py tests/server_stub/test_program.py

test-viewers:
	$(BIN)/python -m pytest $(FIRST_HALF) $(ARGS)

test-others:
	$(BIN)/python -m pytest $(addprefix --ignore=,tests/rig $(FIRST_HALF)) $(ARGS)

test-rig: venv packages
	@$(MAKE) --jobs=2 --output-sync=target --no-print-directory test-rig-machine test-rig-camera

test-rig-machine:
	$(BIN)/python -m pytest tests/rig -m machine $(ARGS)

test-rig-camera:
	$(BIN)/python -m pytest tests/rig -m "not machine" $(ARGS)

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheels: venv
	$(BIN)/python tests/resolve_wheels.py

deb: venv
	@tests/install-packages deb
	PYTHON=$(BIN)/python systemd/build-deb

bench: $(BENCHES)

bench-%: venv packages
	$(BIN)/python -m tests.bench.bench_$(subst -,_,$*) $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
