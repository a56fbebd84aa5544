# Every target sets up what it needs, from a bare checkout: a virtual environment in .venv and everything in it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PEERS  := $(VENV)/.installed-peers
DOCS   := $(VENV)/.installed-docs
SIMD   := $(CURDIR)/.venv/pillow-simd

.PHONY: help setup demo test chromium lint docs bench compare pillow-simd pillow-simd-headers test-pillow-simd clean
help:
	@echo "make setup    install everything into $(VENV)"
	@echo "make demo     from a bucket to a training Faster R-CNN, on this machine"
	@echo "make test     the whole test suite"
	@echo "make lint     ruff, mypy --strict, pyright, import layers"
	@echo "make docs     the pages of docs/ into build/docs"
	@echo "make bench    the benchmark cases"
	@echo "make compare  ours and the peers on the same server"
	@echo "make test-pillow-simd  the whole test suite with pillow-simd in Pillow's place"

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
test: $(STAMP) chromium
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

# The browser that a test looks at the page of `asyncio-loader report` with; where it cannot be had, the test says so and
# is skipped.
chromium:
	@command -v chromium >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			{ apt-get update && apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1; \
		fi; command -v chromium >/dev/null 2>&1 || echo "no chromium here: the test of the report page is skipped"; \
	}

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# What the tests of the pages do not need: they run the code on them, and this draws them.
$(DOCS): $(STAMP)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[docs]'
	@touch $@

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(PEERS)
	$(BIN)/python -m bench

compare: $(PEERS)
	$(BIN)/python bench/compare.py all --tls

# Pillow's files replaced by pillow-simd's. Needs a C compiler and the headers of libjpeg and zlib. torchvision requires
# Pillow by name, so this comes last; and anew each time, as whatever is installed after it may bring Pillow back.
pillow-simd: $(STAMP) pillow-simd-headers
	$(BIN)/uv pip uninstall --quiet --python $(BIN)/python pillow
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-binary pillow-simd --reinstall-package pillow-simd pillow-simd

pillow-simd-headers:
	@printf '#include <stdio.h>\n#include <jpeglib.h>\n#include <zlib.h>\n' | $(CC) -fsyntax-only -xc - 2>/dev/null || { \
		echo "pillow-simd is built from source: it needs a C compiler and the headers of libjpeg and zlib;" \
			"on Debian: apt-get install gcc libc6-dev libjpeg62-turbo-dev zlib1g-dev" >&2; exit 1; }

# The whole suite in an environment of its own, with pillow-simd in Pillow's place. PYTEST=… runs a part of it.
test-pillow-simd:
	$(MAKE) VENV=$(SIMD) pillow-simd
	OMP_WAIT_POLICY=PASSIVE ASYNCIO_LOADER_OTHER=$(SIMD)/other $(SIMD)/bin/python -m pytest $(PYTEST)

clean:
	rm -rf $(VENV) work_dirs
