# Everything runs in .venv, made on first use.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
WORKDIR ?= runs/demo
# A file's tests share what they compile; conftest.py says which files are begun first.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder
SOURCES := albef_jax benchmarks configs docs/hooks notebooks tools tests

.PHONY: help demo world pretrained test test-slow test-extras accelerators parity lint format docs notebooks clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# uv resolves and installs in a fraction of pip's time; pip does the same where uv is not to be had.
%/bin/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python %d.%d is too old: albef_jax needs 3.11 or newer; try make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check uv || true
	if [ -x $*/bin/uv ]; then $*/bin/uv pip install --quiet --compile-bytecode --python $*/bin/python -e '.[$(EXTRAS)]'; \
	else $*/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'; fi
	touch $@

demo: $(BIN)/installed  ## train a small model on the built-in world and write a report (8 minutes)
	$(BIN)/python -m albef_jax.main --config configs/pretrain.py --workdir $(WORKDIR)

world: $(BIN)/installed  ## the same for two hours: the model in the package
	$(BIN)/python -m albef_jax.main --config configs/pretrain.py:world --workdir runs/world

# What `albef_jax.load("scenes")` loads; trained only if runs/world is not there yet.
pretrained: world  ## put that model into the package
	$(BIN)/python -m tools.convert_checkpoint runs/world albef_jax/pretrained/scenes --release --overwrite
	cp LICENSE albef_jax/pretrained/scenes/LICENSE

test: $(BIN)/installed  ## the test suite
	$(BIN)/python -m pytest -q $(WORKERS)

test-slow: $(BIN)/installed  ## the tests that take long
	$(BIN)/python -m pytest -q -m slow

# Gradio and Beam want older packages than the rest is tested with.
.venv-extras/bin/installed: EXTRAS = test,demo,beam,tensorboard,browser
test-extras: .venv-extras/bin/installed  ## the page in a real Chromium, Beam and TensorBoard, in .venv-extras
	.venv-extras/bin/python -m pytest -q $(WORKERS) -m 'slow or not slow' tests/apps/demo/test_page.py \
		tests/tools/test_pack_dataset_beam.py tests/observability/test_metrics.py

# Several GB of CUDA libraries and libtpu, no card: jax compiles for devices that are only described.
.venv-accelerators/bin/installed: EXTRAS = test,gpu,tpu
accelerators: .venv-accelerators/bin/installed  ## compile steps for accelerators that are not there, in .venv-accelerators
	.venv-accelerators/bin/python -m pytest -q $(WORKERS) tests/accelerators

parity: $(BIN)/installed  ## replay the official system; ALBEF_GOLDEN_DIRS names further golden sets
	$(BIN)/python -m pytest -q tests/parity

lint: $(BIN)/installed  ## formatting, lint, types, and the direction of imports
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy albef_jax benchmarks configs docs/hooks tools
	$(BIN)/lint-imports

format: $(BIN)/installed  ## format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

# Without --quiet, which would hide from --strict what it counts; the variable silences the theme's news.
docs: $(BIN)/installed  ## build the site into build/site; a dead link or a page without a place fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open build/site/index.html, or: $(BIN)/python -m http.server --bind 127.0.0.1 -d build/site"

notebooks: $(BIN)/installed  ## execute the notebooks in place, training included (half an hour on 2 idle cores)
	$(BIN)/python -m tools.run_notebooks

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-extras .venv-accelerators .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
