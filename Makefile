# make run [CONFIG=FILE]  installs into .venv and trains
# make test               installs and runs lint and tests
# make docs               installs, runs the tutorials (one or two minutes) and builds the documentation into site/
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= config/regression/ekfac_concrete.json
# For two cores: the third worker uses the time in which the others wait for processes to start.
JOBS ?= 3

.PHONY: run test docs clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	$(VENV)/bin/python train.py --config $(CONFIG)

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	if [ -x $(VENV)/bin/mypy ]; then $(VENV)/bin/mypy; fi  # not on Python 3.7
	$(VENV)/bin/python -m pytest -n $(JOBS)

docs: $(VENV)/installed-docs
	@# not --quiet: without its warnings, --strict passes everything
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(VENV)/installed: requirements.txt requirements-base.txt requirements-tensorflow.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip
	$(VENV)/bin/pip install --quiet -r requirements.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(VENV)/bin/pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/installed-docs: $(VENV)/installed requirements-docs.txt
	$(VENV)/bin/pip install --quiet -r requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) site
