# make demo         everything from a fresh clone to a report     make test     every test but those of the next two lines
# make lint         style and types                               make bench    the measurements behind the documentation's numbers
# make test-faults  a cluster, and what dies on it                make release  what is slow and rarely breaks
# make lock         resolve the requirements anew
.PHONY: demo test test-faults release test-spark test-parallel test-unit test-fast lint bench lock install install-dev clean
VENV := .venv
PYTHON := $(VENV)/bin/python

demo: install
	@$(VENV)/bin/hindcast demo

install:
	@requirements/install.sh $(VENV)

install-dev:
	@requirements/install.sh $(VENV) dev

# Three at a time on two cores: much of what starts ranks is waiting. The longest comes first.
test: install-dev
	$(MAKE) --keep-going --jobs 3 --output-sync=line $(SUITES)

SUITES := test-spark test-parallel test-unit

test-spark test-parallel: test-%: install-dev
	$(PYTHON) -m pytest tests/$*

# And whatever is in none of the others.
test-unit: install-dev
	$(PYTHON) -m pytest tests $(addprefix --ignore=tests/,cluster release spark parallel)

# A standalone cluster of several processes, or of several hosts, which lose each other.
test-faults: install-dev
	$(PYTHON) -m pytest tests/cluster

# Before a release, and before a change of what it tests is called done.
release: install-dev
	$(PYTHON) -m pytest tests/release

# What runs in one process, without Horovod's ranks, a cluster or a machine to install on.
test-fast: install-dev
	$(PYTHON) -m pytest -m "not parallel and not cluster and not release"

lint: install-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: install-dev
	if $(PYTHON) -c 'from numba import cuda; exit(not cuda.is_available())'; then $(PYTHON) benchmarks/hmm_on_gpu.py; fi
	$(PYTHON) benchmarks/hmm_e_step.py
	$(PYTHON) benchmarks/hmm_on_spark.py overhead
	$(PYTHON) benchmarks/hmm_on_spark.py cores
	$(PYTHON) benchmarks/hmm_on_spark.py workers
	$(PYTHON) benchmarks/hmm_on_spark.py table
	@mkdir -p out
	$(VENV)/bin/hindcast prep examples/etth1.toml out/bench.seq --overwrite --readings.path ../shared/data/ett/ETTh1.csv
	$(PYTHON) benchmarks/lstm_ranks.py out/bench.seq
	$(PYTHON) benchmarks/lstm_steps.py feed out/bench.seq
	$(PYTHON) benchmarks/lstm_steps.py scaling out/bench.seq
	$(PYTHON) benchmarks/lstm_partitions.py
	$(PYTHON) benchmarks/lstm_partitions.py --workers
	$(PYTHON) benchmarks/launching.py
	$(PYTHON) benchmarks/lstm_quality.py
	$(PYTHON) benchmarks/preparing.py rate
	$(PYTHON) benchmarks/preparing.py skew
	$(PYTHON) benchmarks/preparing.py series
	$(PYTHON) benchmarks/reading_blocks.py
	$(PYTHON) benchmarks/batch_forecasting.py --kind lstm
	$(PYTHON) benchmarks/batch_forecasting.py --kind hmm

# Addresses of package indexes stay out of the locks.
lock: install-dev
	cd requirements && for name in runtime gpu dev; do \
	  ../$(VENV)/bin/uv pip compile $$name.in -o $$name.txt --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet || exit 1; done
	cd requirements && ../$(VENV)/bin/uv pip compile horovod.in -o horovod.txt --no-deps --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
