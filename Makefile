# make demo: the main job on songs it synthesises.   make test: all tests.   Both need Python 3.11 or 3.12 only.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/ready
DEMO ?= demo
SCALE ?= scale
# uv brings certificates of its own; those of the system, which pip takes, also hold the one of a company's proxy
export UV_SYSTEM_CERTS ?= true

.PHONY: env demo scale test soak check coverage gpu bench audit sbom clean-demo

env: $(STAMP)

$(STAMP): requirements.lock requirements-uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "genrescale needs Python 3.11 or 3.12; found neither (set PYTHON=/path/to/python)"; exit 1; }
	@echo "[env] $(PYTHON) -> $(VENV): 3 GB to download, 6.5 GB on disk (PyTorch comes with CUDA, also for CPUs); once, 1 to 5 minutes"
	@echo "[env] songs are decoded by the ffmpeg on your PATH (6.0 or newer), else by the one of imageio-ffmpeg, a build under the GPL"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@# every file that is downloaded must have the hash of the lock, also what builds the packages that come as source
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@# Ray starts many short processes: without bytecode each of them compiles every module that it imports
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes --build-constraints requirements.lock \
		-r requirements.lock
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: env
	@$(BIN)/python jobs/scale_sweep.py sweep=demo out=$(DEMO)

scale: env
	@echo "[scale] 102,500 songs of 3 s, sizes of 100 to 100k: 38 GB of disk and hours on two cores; stop and run again at will"
	@$(BIN)/python jobs/scale_sweep.py sweep=scale out=$(SCALE)

test: env
	@# clusters wait much: the tests without Ray run meanwhile, on one thread, and tell of themselves at the end
	@$(BIN)/python -m pytest tests/gpu -rs
	@log=$$(mktemp); OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit tests/golden tests/browser -m "not soak" > $$log 2>&1 & \
	others=$$!; trap "kill $$others 2> /dev/null" EXIT; \
	$(BIN)/python -m pytest tests/cluster -m "not soak"; failed=$$?; \
	wait $$others || failed=1; cat $$log; rm -f $$log; exit $$failed

soak: env
	@$(BIN)/python -m pytest tests/soak tests/cluster tests/unit -m soak -s

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit tests/golden -m "not soak"

coverage: env
	@# processes that the tests start are counted too, Ray's workers among them: pyproject.toml, tool.coverage
	@rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m pytest tests/unit tests/golden -m "not soak"
	$(BIN)/coverage run -m pytest $(addprefix tests/cluster/test_,sweep.py training.py sharding.py stream.py)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

gpu: env
	@$(BIN)/python tests/gpu/run.py build/gpu.json

bench: env
	@for benchmark in benchmarks/[a-z]*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark || exit 1; done

audit: env
	@# known faults of the packages in the lock; asks a database on the internet
	@$(BIN)/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --disable-pip --require-hashes --strict -r requirements.lock \
		|| { echo "[audit] not passed: known faults, or packages that the database could not tell about (above)"; exit 1; }

sbom: env
	@mkdir -p build
	@$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py environment --pyproject pyproject.toml \
		--output-format JSON --output-file build/sbom.json $(BIN)/python
	@echo build/sbom.json

clean-demo:
	rm -rf $(DEMO)
