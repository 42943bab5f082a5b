# demo: tune a small ResNet and write a report.   test, check: what CI runs.   bench: the figures in README.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
RESULTS := benchmarks/results

.PHONY: demo test test-on-ray test-others check bench format clean

demo: $(VENV)/.installed
	$(THREADS) $(BIN)/raytune-gp demo

test: $(VENV)/.installed-dev  # those on Ray wait more than they compute, and have the others beside them
	$(MAKE) --jobs=2 test-on-ray test-others

test-on-ray: $(VENV)/.installed-dev
	$(THREADS) $(BIN)/python -m pytest tests/execution tests/cluster --durations=15

test-others: $(VENV)/.installed-dev
	$(THREADS) $(BIN)/python -m pytest tests --ignore tests/execution --ignore tests/cluster -p no:cacheprovider --durations=15

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/core/test_layers.py

bench: $(VENV)/.installed-bench
	$(THREADS) $(BIN)/python -m benchmarks.synthetic --seeds 10 --out $(RESULTS)/synthetic.json
	$(THREADS) $(BIN)/python -m benchmarks.suggestions --out $(RESULTS)/suggestions.json
	$(THREADS) $(BIN)/python -m benchmarks.overhead --rounds 5 --out $(RESULTS)/overhead.json
	$(THREADS) $(BIN)/python -m benchmarks.throughput --out $(RESULTS)/throughput.json
	$(THREADS) $(BIN)/python -m benchmarks.startup --out $(RESULTS)/startup.json
	$(THREADS) $(BIN)/python -m benchmarks.fanin --out $(RESULTS)/fanin.json
	$(THREADS) $(BIN)/python -m benchmarks.scale --out $(RESULTS)/scale.json
	$(THREADS) $(BIN)/python -m benchmarks.idle --out $(RESULTS)/idle.json
	$(THREADS) $(BIN)/python -m benchmarks.cluster --out $(RESULTS)/cluster.json
	$(THREADS) $(BIN)/python -m benchmarks.coordinator_kills --out $(RESULTS)/coordinator_kills.json
	$(THREADS) $(BIN)/python -m benchmarks.soak --out $(RESULTS)/soak.json
	$(THREADS) $(BIN)/python -m benchmarks.chaos --out $(RESULTS)/chaos.jsonl
	$(THREADS) $(BIN)/python -m benchmarks.chaos.cluster --out $(RESULTS)/chaos-cluster.jsonl

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	touch $@
