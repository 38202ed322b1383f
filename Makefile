# Two commands on a fresh machine: `make demo` (scans to report) and `make test`.
# Each makes .venv from requirements.lock if it is missing or if the lock has changed.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A run: the folder is checked, the workflow runs with our progress lines, a summary closes it
# (in place of the hook that would print the same, but not when there is nothing to do).
define run
	$(BIN)/lungitude check $(1)
	$(BIN)/snakemake --cores $(CORES) --logger lungitude --quiet all --no-hooks --configfile config/$(1)/config.yaml
	@$(BIN)/lungitude summary $(1)
endef

.PHONY: demo paper public test lint lock clean validate-statistics validate-imaging validate-network benchmarks
demo: .venv/imaging.done
	$(call run,demo)

paper: .venv/tables.done
	$(call run,paper)

public: .venv/imaging.done
	$(call run,public)

# Two files of tests at once where there are two cores; the tests of a file share what they set up.
test: .venv/dev.done
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# About an hour of one core; what is finished is kept, so that a stopped run goes on.
validate-statistics: .venv/tables.done
	$(BIN)/snakemake validate_statistics --cores $(CORES) --logger lungitude --quiet all --no-hooks --configfile config/paper/config.yaml

# Half an hour of two cores, in blocks that are kept, too.
validate-imaging: .venv/imaging.done
	$(BIN)/snakemake validate_imaging --cores $(CORES) --logger lungitude --quiet all --no-hooks --configfile config/paper/config.yaml

# Hours of two cores: 88 unseen patients, from scan to biomarker; in blocks that are kept.
validate-network: .venv/imaging.done
	$(BIN)/snakemake evaluate_network --cores $(CORES) --logger lungitude --quiet all --no-hooks --configfile config/paper/config.yaml

benchmarks: .venv/imaging.done
	$(BIN)/python benchmarks/statistics.py
	$(BIN)/python benchmarks/imaging.py
	$(BIN)/python benchmarks/registration.py

lint: .venv/dev.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo/config.yaml

# Each environment is the one before it and some more; a stamp is written when it is whole.
.venv/python.done: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint requirements.lock setuptools
	touch $@

.venv/tables.done: .venv/python.done
	$(PIP) install --quiet --no-build-isolation --constraint requirements.lock --editable .
	touch $@

.venv/imaging.done: .venv/python.done
	$(PIP) install --quiet --no-build-isolation --constraint requirements.lock --editable ".[imaging]"
	touch $@ .venv/tables.done

.venv/dev.done: .venv/python.done
	$(PIP) install --quiet --no-build-isolation --constraint requirements.lock --editable ".[imaging,dev]"
	touch $@ .venv/imaging.done .venv/tables.done

clean:
	rm -rf .venv .snakemake
