# Two commands for a fresh machine: `make demo` and `make test`.  Everything goes into .venv and build.

PYTHON ?= python3
CC ?= cc
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test check fuzz clean

# Installs clgen with an OpenCL from PyPI, builds and verifies the digits network, and runs it from C, by OpenCL and
# without; then the times of both.
demo: $(INSTALLED)
	$(BIN)/clgen build specs/digits.toml
	$(BIN)/clgen verify generated/digits
	mkdir -p build
	$(CC) -std=c99 -O2 -o build/digits generated/digits/example.c generated/digits/digits.c -ldl
	eval "$$($(BIN)/clgen devices --env)" && ./build/digits
	$(BIN)/clgen build specs/digits.toml --backend c -o build/c
	$(CC) -O3 -march=native -o build/digits_c build/c/digits/example.c build/c/digits/digits.c -lm
	./build/digits_c
	@for folder in generated/digits build/c/digits; do $(BIN)/clgen bench $$folder | grep -e " on " -e "end to end"; done

# Style, types and every test; tests that need a tool which is not here say what to install.
test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Damaged files of every kind; `make fuzz COUNT=1000` tries so many of each.
COUNT ?= 100
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.programs.fuzz --count $(COUNT)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[opencl,test]"
	touch $@

clean:
	rm -rf build $(VENV)
