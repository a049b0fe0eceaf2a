# Needs python3 (3.10 or newer, with venv) and make; everything else goes into .venv.
#   make demo        cut the example model to 30 % of its MACs; accuracy before, naive, repaired
#   make test        the whole test suite
#   make check       lint, types, and the tests that a change is likely to break: a minute and a half
#   make lint        ruff and mypy --strict
#   make zoo         shrink about fifty torchvision architectures, write docs/zoo.md (installs PyTorch, takes long);
#                    make zoo ZOO=folder takes folder/script/*.onnx and folder/dynamo/*.onnx and needs no PyTorch
#   make bench-self  how fast onnxprune itself is, write docs/benchmarks.md
#   make bench-honesty  whether the verdicts of onnxprune bench hold on a busy machine, write docs/honesty.md (half an hour)
#   make eval        accuracy that real models keep, write docs/accuracy.md; EVAL=folder holds models and data
#   make criteria    compare all criteria on some of them, write docs/criteria.md
#   make native      build the library with the sparse operators again
#   make bench-sparse   how fast sparse operators are, write docs/sparse-benchmarks.md; RIVAL="--rival LIBRARY
#                    --rival-models FOLDER" runs other operators beside ours (benchmarks/README.md)
#   make test-runtimes  the sparse operators in several releases of ONNX Runtime; RUNTIMES="1.17.3 newest"
#   make test-arm    the kernels of the sparse operators on an emulated ARM processor (Zig and Qiling from PyPI)
#   make wheels      source archive and manylinux wheels in dist/, tried in fresh environments (Zig, build, twine from PyPI)
#   make asan        the sparse operators with address and undefined-behaviour sanitizers (g++)
#   make bench-channels latency of layers against their channels, write docs/channels.md
#   make bench-latency  latency asked and found, write docs/latency.md; MODELS=folder holds exported architectures
#   make sparsity-accuracy   accuracy that real models keep with most weights zero, write docs/sparsity-accuracy.md
#   make bench-gains what default widths gain in time, write docs/gains.md; MODELS="folder ..." holds models
#   make bench-equal-time  accuracy at a time, write docs/equal-time.md and .svg; EVAL=folder as for eval
#   make bench-quantize  int8 beside ONNX Runtime's quantiser, write docs/quantize-benchmarks.md; EVAL=folder as for eval
#   make bench-efforts  accuracy against effort, write docs/efforts.md; EVAL=folder as for eval
#   make bench-compress  accuracy that compress leaves at a latency, write docs/compress-benchmarks.md; EVAL as for eval
#   make bench-pack  sizes and scores of packed models, write docs/pack-benchmarks.md; EVAL=folder as for eval
#   make downstream  whether other tools take what shrink writes, write docs/downstream.md; EVAL as for eval,
#                    MODELS=folder holds other .onnx files
#   make docs        regenerate what README.md and the pages in docs/ show
#   make operators   regenerate docs/operators.md only; make commands: docs/commands.md
#   make options     what follows from options: docs/commands.md, docs/onnxprune.schema.json, onnxprune/__init__.pyi
#   make architecture   draw the rooms of the package from its imports, write docs/architecture.svg
#   make site        the documentation as a site in out/site, strictly (MkDocs from PyPI)
#   make equal-time-picture  draw docs/equal-time.svg from what bench-equal-time kept; RESULTS=folder
#   make clean       remove everything that the other targets made
# Paths are relative throughout, so that a folder with spaces in its name works.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Models and labelled data for eval, criteria and sparsity-accuracy (benchmarks/README.md); it may be missing.
EVAL ?= eval
RESULTS ?= out/equal-time-results
PIP := -m pip install --quiet --disable-pip-version-check --no-input

.PHONY: help demo test check lint zoo bench-self bench-honesty bench-channels bench-latency bench-gains bench-equal-time bench-quantize eval criteria native bench-sparse test-runtimes test-arm wheels asan sparsity-accuracy bench-compress bench-efforts bench-pack downstream docs operators commands options architecture equal-time-picture site clean
.DELETE_ON_ERROR:

help:
	@sed -n '2,/^# Paths/{/^# Paths/!s/^# //p;}' Makefile

demo: $(VENV)/installed
	@echo
	@$(BIN)/python scripts/demo.py

test: $(VENV)/installed-test
	@echo 'The whole test suite: about 9 minutes on two cores'
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/installed-dev
	@$(BIN)/python scripts/check.py

lint: $(VENV)/installed-dev
	@$(BIN)/python scripts/lint.py

ifdef ZOO
zoo: $(VENV)/installed
	$(BIN)/python benchmarks/zoo.py "$(ZOO)"
else
zoo: .venv-zoo/installed
	.venv-zoo/bin/python benchmarks/zoo_models.py out/zoo
	.venv-zoo/bin/python benchmarks/zoo.py out/zoo
endif

bench-self: $(VENV)/installed
	$(BIN)/python benchmarks/bench_self.py --report docs/benchmarks.md

bench-honesty: $(VENV)/installed
	$(BIN)/python benchmarks/bench_honesty.py --report docs/honesty.md

eval: $(VENV)/installed
	@$(BIN)/python benchmarks/accuracy.py --eval "$(EVAL)" --report docs/accuracy.md

criteria: $(VENV)/installed
	@$(BIN)/python benchmarks/criteria.py --eval "$(EVAL)" --report docs/criteria.md

native: $(VENV)/installed
	$(BIN)/python onnxprune/native/build.py

bench-sparse: $(VENV)/installed
	$(BIN)/python benchmarks/sparse.py $(RIVAL) --report docs/sparse-benchmarks.md

test-runtimes: $(VENV)/installed-test
	$(BIN)/python scripts/runtimes.py $(RUNTIMES)

test-arm: $(VENV)/installed
	$(BIN)/python scripts/arm.py $(ARM_PYTHON)

wheels: $(VENV)/installed
	$(BIN)/python scripts/wheels.py

asan: $(VENV)/installed-test
	$(BIN)/python scripts/sanitize.py

bench-channels: $(VENV)/installed-test
	$(BIN)/python benchmarks/channels.py --report docs/channels.md

bench-latency: $(VENV)/installed
	$(BIN)/python benchmarks/latency.py "$(MODELS)" --report docs/latency.md

bench-gains: $(VENV)/installed
	$(BIN)/python benchmarks/gains.py $(MODELS) --report docs/gains.md

bench-equal-time: $(VENV)/installed-test
	@$(BIN)/python benchmarks/equal_time.py --eval "$(EVAL)" --report docs/equal-time.md

bench-quantize: $(VENV)/installed-test
	@$(BIN)/python benchmarks/quantize.py --eval "$(EVAL)" --report docs/quantize-benchmarks.md

sparsity-accuracy: $(VENV)/installed
	@$(BIN)/python benchmarks/sparsity.py --eval "$(EVAL)" --report docs/sparsity-accuracy.md

bench-compress: $(VENV)/installed-test
	@$(BIN)/python benchmarks/compress.py --eval "$(EVAL)" --report docs/compress-benchmarks.md

bench-efforts: $(VENV)/installed
	@$(BIN)/python benchmarks/efforts.py --eval "$(EVAL)" --report docs/efforts.md

bench-pack: $(VENV)/installed-test
	@$(BIN)/python benchmarks/pack.py --eval "$(EVAL)" --report docs/pack-benchmarks.md

downstream: .venv-downstream/installed
	.venv-downstream/bin/python benchmarks/downstream.py --eval "$(EVAL)" $(if $(MODELS),--models "$(MODELS)") \
	  --report docs/downstream.md

docs: $(VENV)/installed
	$(BIN)/python scripts/docs.py

operators: $(VENV)/installed
	$(BIN)/python scripts/docs.py --operators

commands: $(VENV)/installed
	$(BIN)/python scripts/docs.py --commands

options: $(VENV)/installed
	$(BIN)/python scripts/docs.py --commands --schema --stub

architecture: $(VENV)/installed-test
	$(BIN)/python scripts/architecture_picture.py

equal-time-picture: $(VENV)/installed-test
	$(BIN)/python benchmarks/equal_time_picture.py --results "$(RESULTS)"

site: .venv-site/installed
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/python -m mkdocs build --strict

clean:
	rm -rf .venv .venv-zoo .venv-downstream .venv-site out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments: a stamp inside each says what is installed; pyproject.toml renews it -------------------------------

$(VENV)/installed: pyproject.toml
	@$(call environment,$(VENV))
	@$(BIN)/python $(PIP) -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@$(BIN)/python $(PIP) -e '.[test]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	@$(BIN)/python $(PIP) -e '.[test,dev]'
	@touch $@

.venv-zoo/installed: pyproject.toml
	@$(call environment,.venv-zoo)
	@.venv-zoo/bin/python $(PIP) -e '.[zoo]'
	@touch $@

.venv-site/installed: pyproject.toml
	@$(call environment,.venv-site)
	@.venv-site/bin/python $(PIP) -e '.[site]'
	@touch $@

.venv-downstream/installed: pyproject.toml
	@$(call environment,.venv-downstream)
	@.venv-downstream/bin/python $(PIP) -e '.[downstream]'
	@touch $@

define environment
if ! command -v $(PYTHON) >/dev/null; then echo 'make: $(PYTHON) was not found: install Python 3.10 or newer' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
  echo "make: onnxprune needs Python 3.10 or newer, found $$($(PYTHON) --version 2>&1)." >&2; \
  echo '  Another one: make PYTHON=python3.12 ...' >&2; exit 1; fi; \
if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
  echo 'make: this Python cannot make virtual environments: venv or ensurepip is missing.' >&2; \
  echo '  Debian and Ubuntu: apt install python3-venv' >&2; exit 1; fi; \
echo 'Installing into $(1): once, about a minute ...'; \
$(PYTHON) -m venv $(1)
endef
