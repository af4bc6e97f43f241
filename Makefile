# Every recipe is one command. make puts the variables that its user types into the environment, and
# `python -m tuning` reads them there (tuning/cli/make.py), so no value is printed: it may contain a
# password. An empty variable leaves the default to the command.
BOOTSTRAP ?= python3
VENV      = .venv
PYTHON    := $(VENV)/bin/python

# Otherwise the first search would compile them. TensorFlow 2.21 prints lines at its import with any
# TF_CPP_MIN_LOG_LEVEL, so the output is printed only if the command fails.
compile_kernels = output=$$(KERAS_BACKEND=tensorflow $(PYTHON) -c \
                  "from tuning.kernels.fuse import compile_kernels; compile_kernels()" 2>&1) \
                  || { status=$$?; printf '%s\n' "$$output" >&2; exit $$status; }
# requirements.lock has the versions and hashes of the packages of all extras, and pyproject.toml
# the names that an installation needs. pip installs uv, which is several times as fast.
uv          = $(VENV)/bin/uv
uv_install  = $(uv) pip install --quiet --python $(PYTHON) --require-hashes --compile-bytecode \
              --constraint requirements.lock --requirement pyproject.toml

# $(call flag,VARIABLE,--name) gives the flag with the variable's value as the user typed it, quoted
# for the shell, or nothing if the variable is empty.
quote = '$(subst ','\'',$(1))'
flag  = $(if $(value $(1)),$(2) $(call quote,$(value $(1))))

trackers    = $(if $(value LOG_TO),$(VENV)/.installed-trackers)
own_preset  = $(if $(findstring ://,$(value PRESET)),,$(filter %.keras,$(value PRESET)))
pretrained  = $(if $(value PRESET),$(if $(own_preset),,$(VENV)/.installed-pretrained))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help tune confirm compare dashboard report export-best enqueue
.PHONY: predict serve status data-card spaces pictures
.PHONY: notebooks docs bench bench-throughput bench-time-to-accuracy bench-step bench-scale
.PHONY: bench-confirmation bench-samplers bench-serving bench-whole-run bench-curves bench-search
.PHONY: install install-serve install-pretrained install-trackers test test-journeys test-nightly
.PHONY: check faults soak fuzz format lock clean

## help: list the targets
help:
	@awk '/^## [a-z-]+: / {target = substr($$2, 1, length($$2) - 1); sub(/^## [a-z-]+: /, ""); \
	                       text[target] = $$0} \
	     /^##  / {sub(/^## +/, ""); text[target] = text[target] " " $$0} \
	     END {for (target in text) printf "  make %-22s %s\n", target, text[target]}' Makefile | sort

## tune: search for the best configuration and confirm it; the same command continues a stopped
##   study
tune: $(VENV)/.installed $(pretrained) $(trackers)
	$(PYTHON) -m tuning tune

## confirm: train the best configurations and the baseline again on fresh seeds
confirm: $(VENV)/.installed
	$(PYTHON) -m tuning confirm

## compare: search each of SPACES for the same MINUTES, confirm the best of each, and name the best
compare: $(VENV)/.installed $(trackers)
	$(PYTHON) -m tuning compare

## dashboard: serve Optuna Dashboard on 127.0.0.1, without a password, and open it at STUDY
dashboard: $(VENV)/.installed
	$(PYTHON) -m tuning dashboard

## report: write results/STUDY/report.html and trials.csv
report: $(VENV)/.installed
	$(PYTHON) -m tuning report

## export-best: retrain the best configuration and write results/STUDY/best/
export-best: $(VENV)/.installed $(trackers)
	$(PYTHON) -m tuning export-best

## enqueue: queue the configurations of the CSV file FILE, or the best of the study FROM, in a study
enqueue: $(VENV)/.installed
	$(PYTHON) -m tuning enqueue

## predict: label TEXT, or write the labels of column TEXT of FILE to OUTPUT, with the exported
##   model
predict: $(VENV)/.installed
	$(PYTHON) -m tuning predict

## serve: serve the exported model on 127.0.0.1, as an HTTP interface and a page
serve: $(VENV)/.installed-serve
	$(PYTHON) -m tuning serve

## status: print a study's best trials, its counts and its times
status: $(VENV)/.installed
	$(PYTHON) -m tuning status

## data-card: describe the data: rows, classes, lengths, duplicates, unknown tokens
data-card: $(VENV)/.installed
	$(PYTHON) -m tuning data-card

## spaces: list the search spaces with their hyperparameters
spaces: $(VENV)/.installed
	$(PYTHON) -m tuning spaces

## pictures: draw the documents' pictures of the report and the Dashboard, from STUDY or from
##   made-up reviews, then also of the figure that bench-search has written
pictures: $(VENV)/.installed
	$(PYTHON) docs/pictures.py $(call flag,STUDY,--study)

## notebooks: run the notebooks again, which takes 15 minutes, and keep their outputs
notebooks: $(VENV)/.installed-dev $(VENV)/.installed-bench
	$(PYTHON) -m tests.notebooks

## docs: write the tables of docs/ that are made from the code, and build the site of the documents
##   in site/, with a warning as an error
docs: $(VENV)/.installed-docs
	$(PYTHON) docs/command_table.py
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

## bench: run every benchmark below and print one table
bench: $(VENV)/.installed-serve $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks all

## bench-throughput: measure finished trials per hour, against KerasTuner and a plain Optuna script
bench-throughput: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks throughput

## bench-time-to-accuracy: measure the time to the accuracy that KerasTuner reaches in MINUTES, and
##   the test accuracy beside fastText's
bench-time-to-accuracy: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks time-to-accuracy

## bench-step: measure a training step, against Keras' LSTM and the matrix products alone
bench-step: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks step

## bench-scale: measure time and memory up to a million reviews and 5,000 trials
bench-scale: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks scale

## bench-confirmation: check a confirmation's intervals and claims in 2,400 searches over tabulated
##   trainings
bench-confirmation: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks confirmation

## bench-samplers: compare the samplers with random draws in searches over tabulated trainings
bench-samplers: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks samplers

## bench-serving: measure reviews per second of serve and predict, and the latency of a request
bench-serving: $(VENV)/.installed-serve $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks serving

## bench-whole-run: measure tune and export-best with an empty results folder, for the default space
##   and the notebook's model
bench-whole-run: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks whole-run

## bench-curves: train 400 random configurations of the default space, for make bench-search; hours
bench-curves: $(VENV)/.installed-bench
	$(PYTHON) -m benchmarks.curves

## bench-search: replay searches of this program and others on the tables of make bench-curves
bench-search: $(VENV)/.installed-bench
	PYTHONHASHSEED=0 $(PYTHON) -m benchmarks.search results/bench/curves-*.json

## install: create .venv and install the locked packages
install: $(VENV)/.installed

## install-serve: install the packages of the server; make serve does that too
install-serve: $(VENV)/.installed-serve

## install-pretrained: install the packages of a pretrained encoder; make tune PRESET= does that too
install-pretrained: $(VENV)/.installed-pretrained

## install-trackers: install the packages of the trackers; LOG_TO= does that too
install-trackers: $(VENV)/.installed-trackers

## test: run the fast tests
test: $(VENV)/.installed-dev
	$(PYTHON) -m pytest -m "not (slow or nightly or journey)" --numprocesses logical \
	  --maxprocesses 4 --dist worksteal

## test-journeys: run each way of a user through the whole program once: search, kill, resume,
##   confirm, export, serve, compare
test-journeys: $(VENV)/.installed-dev $(VENV)/.installed-serve $(VENV)/.installed-docs
	$(PYTHON) -m pytest -m journey --numprocesses 3 --dist loadscope --durations 0

## test-nightly: run the tests that CI leaves out: all that train for long, need seconds or memory
##   for themselves, or run a benchmark or a notebook
test-nightly: $(VENV)/.installed-dev $(VENV)/.installed-bench $(VENV)/.installed-trackers \
              $(VENV)/.installed-docs
	$(PYTHON) -m pytest -m "(slow or nightly) and not (alone or journey)" --numprocesses 3 \
	  --dist loadscope --durations 60
	$(PYTHON) -m pytest -m "alone and not journey" --durations 0

## faults: inject FAULTS faults (default 200) into a real study, and check it after each fault
faults: $(VENV)/.installed-dev
	$(PYTHON) -m tests.faults $(call flag,FAULTS,--n-faults)

## soak: send good, slow, half and hostile requests to a server for MINUTES (default 60), and check
##   each answer
soak: $(VENV)/.installed-dev
	$(PYTHON) -m tests.soak $(call flag,MINUTES,--minutes)

## fuzz: read 230,000 made-up data files, study files and exports, 120,000 of them guided by code
##   coverage
fuzz: $(VENV)/.installed-dev
	FUZZ_EXAMPLES=10000 $(PYTHON) -m pytest --timeout 3600 tests/test_fuzz.py
	$(PYTHON) -m tests.fuzz_atheris --runs 10000

## check: run the linter, the format check and the type checker
check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

## format: format the code and apply ruff's automatic fixes
format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

## lock: resolve the dependencies of pyproject.toml again and write requirements.lock
lock: $(VENV)/.installed
	$(uv) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-header --no-annotate pyproject.toml $(addprefix --extra ,$(locked)) \
	  --output-file requirements.lock

## clean: remove .venv, the site and the tools' caches; results are kept
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis test-output site

$(VENV)/bin/python:
	@$(BOOTSTRAP) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit( \
	  "Python 3.11 to 3.13 is needed; $(BOOTSTRAP) is " + sys.version.split()[0] + \
	  ". Name another one: make install BOOTSTRAP=python3.12")'
	@$(BOOTSTRAP) -m venv $(VENV)

$(uv): requirements.lock | $(VENV)/bin/python
	@awk '/^[^ ]/ {own = /^uv==/} own' $< > $(VENV)/uv.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement $(VENV)/uv.lock
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml | $(uv)
	@echo "Installing the packages of $< in $(VENV), 3.2 GB: up to 2 minutes, once."
	@$(uv_install)
	@$(compile_kernels)
	@touch $@

trackers_extras = mlflow tensorboard wandb
locked          = dev serve pretrained bench docs $(trackers_extras)
extras          = $(addprefix $(VENV)/.installed-,dev serve pretrained bench trackers docs)
$(extras): $(VENV)/.installed-%: requirements.lock pyproject.toml | $(VENV)/.installed
	@echo "Installing what the extra $* adds to $(VENV): seconds, once."
	@$(uv_install) $(addprefix --extra ,$(or $($*_extras),$*))
	@touch $@
