# Every target sets up what it needs, from a bare checkout: a virtual environment in .venv and everything in it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.installed-peers

.PHONY: help setup demo test lint bench compare pillow-simd clean
help:
	@echo "make setup    install everything into $(VENV)"
	@echo "make demo     from a bucket to a training Faster R-CNN, on this machine"
	@echo "make test     the whole test suite"
	@echo "make lint     ruff, mypy --strict, import layers"
	@echo "make bench    the benchmark cases"
	@echo "make compare  ours and the peers on the same server"

# uv (itself from pip) resolves and installs in a fraction of pip's time; it lives in the same environment. Byte code is
# compiled once, here: where PYTHONDONTWRITEBYTECODE is set each process would compile torch anew, for seconds.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[train,demo,test]'
	# Beside it, for the tests of the plug-in: the last release of the original mmengine, under the same import name.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(VENV)/other/mmengine-0.10.7 mmengine==0.10.7
	@touch $@

# What we are measured against: dozens of packages that neither the library nor its tests need.
$(PEERS): $(STAMP)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[bench]'
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/asyncio-loader demo

# PASSIVE: OpenMP threads that wait for work sleep instead of spinning on cores that servers and decoders need.
test: $(STAMP)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(PEERS)
	$(BIN)/python -m bench

compare: $(PEERS)
	$(BIN)/python bench/compare.py all --tls

# Pillow's files replaced by pillow-simd's. Needs a C compiler and the headers of libjpeg and zlib
# (Debian: libjpeg62-turbo-dev zlib1g-dev). torchvision requires Pillow by name, so this comes last.
pillow-simd: $(STAMP)
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python pillow
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-binary pillow-simd pillow-simd

clean:
	rm -rf $(VENV) work_dirs
