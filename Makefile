# The book's handles. `make help` lists them; CONTRIBUTING.md says what each is for.
# Without make (Windows): the same in plain commands stands in README.md.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
STAMP  := $(VENV)/.setup-done
BEAM   := .venv-beam
NBVAL  := --nbval --nbval-current-env --nbval-cell-timeout 600 --nbval-sanitize-with tests/nbval_sanitize.cfg \
          -p no:cacheprovider --dist loadscope
JOBS   ?= 2
TESTS  ?= tests
NB     ?=
EXERCISES ?=
SITE   ?=
SUBMISSIONS ?=
PLATFORM ?=
PYTHONS  ?=

export TF_CPP_MIN_LOG_LEVEL := 3
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup data book html html-class pdf lab lab-solutions lint test test-slow test-beam backends refresh released-model assignments course autograde quiz slides classroom-bundle links status faults bench fuzz clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with the tested versions, and this package in it
	@echo "==> environment ready in $(VENV)"

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:3]; sys.exit(0 if (3, 11, 5) <= v < (3, 14) else \
	  f"error: Python {v[0]}.{v[1]}.{v[2]} found, 3.11.5 to 3.13 is needed (make setup PYTHON=python3.12)")'
	@echo "==> environment in $(VENV) (3.4 GB, a few minutes the first time)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || { echo "error: venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PY) -m pip install --disable-pip-version-check --prefer-binary -r requirements.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@

data: $(STAMP)  ## make the embedded data set (MiniDome) in _data/
	@echo "==> embedded data"
	$(PY) -m posekit.minidome

book: data  ## everything: data, chapters run and compared with their committed outputs, HTML
	@echo "==> chapters: run from data to score, and compared with their committed outputs"
	$(PY) -m pytest $(NBVAL) -n $(JOBS) -v chapters
	@$(MAKE) --no-print-directory html

html: $(STAMP)  ## build _build/html from the committed outputs; runs no notebook
	@echo "==> HTML"
	$(PY) book/tools/build.py

html-class: $(STAMP)  ## _build/class/_build/html: the book without solutions
	$(PY) book/tools/build.py --for-class

pdf: $(STAMP)  ## _build/pdf: the whole book as one PDF, printed by Chromium
	$(PY) book/tools/pdf.py

lab: data  ## JupyterLab with the chapters and the students' copies of the exercises, in workspace/
	$(PY) book/tools/workspace.py

lab-solutions: data  ## JupyterLab with the chapters and the solved exercises, to read or to edit them
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/chapters

lint: $(STAMP)  ## ruff: code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: data  ## everything but slow and gpu tests: units, notebooks, book, browser
	@echo "==> tests"
	$(PY) -m pytest -n $(JOBS) --dist loadscope --durations 10 $(TESTS)
	@echo "==> notebooks against their committed outputs"
	$(PY) -m pytest $(NBVAL) -n $(JOBS) -q chapters

test-slow: data  ## the slow tests, and those that need a GPU where there is one
	$(PY) -m pytest -m "slow or gpu" $(TESTS)

test-beam: $(BEAM)/.setup-done  ## records through Apache Beam, in an environment of its own
	@echo "==> records through Apache Beam"
	$(BEAM)/bin/python -m pytest tests/records/test_beam.py

$(BEAM)/.setup-done: tests/requirements-beam.txt pyproject.toml
	@echo "==> environment in $(BEAM) (0.8 GB, half a minute the first time)"
	@test -x $(BEAM)/bin/python || $(PYTHON) -m venv $(BEAM) || { echo "error: venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(BEAM)/bin/python -m pip install --disable-pip-version-check --quiet --prefer-binary -r tests/requirements-beam.txt
	$(BEAM)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@

backends: $(VENV)/.backends-done  ## JAX and PyTorch into .venv, so that the tests of all three backends run

$(VENV)/.backends-done: tests/requirements-backends.txt $(STAMP)
	@echo "==> JAX and PyTorch (1.1 GB)"
	$(PY) -m pip install --disable-pip-version-check --quiet --prefer-binary -r tests/requirements-backends.txt
	@touch $@

refresh: data  ## run notebooks in place and write them normalised: make refresh NB="chapters/01*.ipynb"
	$(PY) book/tools/refresh.py $(NB)

released-model: $(STAMP)  ## train and package stage1 from the photos of POSEKIT_DATA (hours; call again to continue)
	$(PY) -m posekit experiment stage1 --keep _data/released
	$(PY) -m posekit export --model _data/released/stage1 --package stage1
	$(PY) book/tools/card_pictures.py

assignments: $(STAMP)  ## the chapters and the students' copies of the exercises, to hand out, in _assignments/
	$(PY) book/tools/assignments.py

course: $(STAMP)  ## a course for nbgrader in _course/: make course EXERCISES="ex01 ex06" SITE=https://...
	$(PY) book/tools/course.py $(EXERCISES) $(if $(SITE),--site $(SITE))

autograde: data  ## marks as CSV and HTML, without nbgrader: make autograde SUBMISSIONS=FOLDER
	@test -n "$(SUBMISSIONS)" || { echo "error: make autograde SUBMISSIONS=FOLDER, with one folder per student" >&2; exit 2; }
	$(PY) book/tools/autograde.py "$(SUBMISSIONS)" $(if $(EXERCISES),--exercises $(EXERCISES)) --jobs $(JOBS)

quiz: $(STAMP)  ## write the quiz as a question bank for Moodle (GIFT) into _build/quiz/
	$(PY) book/tools/quiz.py

slides: $(STAMP)  ## a deck of slides per chapter, for lectures without a network, in _build/slides/
	$(PY) book/tools/slides.py

classroom-bundle: data html-class  ## one archive that installs offline: make classroom-bundle PLATFORM=windows-x86_64 PYTHONS="3.12 3.13"
	$(PY) book/tools/bundle.py $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(PYTHONS),--python $(PYTHONS))

links: $(STAMP)  ## do the addresses that pages and chapters link to still answer? needs the network
	$(PY) book/tools/build.py --links

status: data  ## run the chapters one by one and write versions and times into book/status.json
	mkdir -p _build
	-$(PY) -m pytest $(NBVAL) -n 0 -q --junit-xml=_build/chapters.xml chapters  # differences are shown on the page
	$(PY) book/tools/status.py _build/chapters.xml

faults: data  ## the tests of faults (half an hour), and their counts for the page on reliability
	mkdir -p _build
	$(PY) -m pytest -m fault -n 0 -o junit_family=xunit1 --junit-xml=_build/faults.xml tests
	$(PY) book/tools/faults.py _build/faults.xml

bench: data  ## the measured claims, each as JSON
	@for script in $(wildcard benchmarks/*.py); do echo "==> $$script"; $(PY) $$script --json || exit 1; done

fuzz: $(STAMP)  ## damaged files and messages to every parser, 100,000 each and 1,000 models: hours
	$(PY) tests/fuzz/fuzz.py --out _build/fuzz.json

clean:  ## remove what was built; keeps .venv and _data
	rm -rf _build _assignments .pytest_cache .ruff_cache .hypothesis
	find posekit tests data_scripts book benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
