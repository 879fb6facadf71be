# make demo   set up everything, then the three stages on this machine, then outputs/demo/report.html
# make test   set up everything, then every test
# make lab    set up everything, then JupyterLab on the notebooks
# make help   the rest

VENV     ?= .venv
RUN      ?= demo
PROFILE  ?= laptop
ARGS     ?=
# Python 3.11: the layout packages have no wheels for later ones
PYTHON   ?= $(shell for p in python3.11 python3 python; do $$p -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN      := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1
.DEFAULT_GOAL := help
.PHONY: help demo test test-notebooks test-slow lab setup readme notebooks clean distclean

help:                       ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: setup                 ## the main job: run the laptop profile (a second call goes on where the first stopped)
	$(BIN)/grpo-lab run --profile $(PROFILE) --run-id $(RUN) $(ARGS)

lab: setup                  ## JupyterLab on the notebooks
	$(BIN)/grpo-lab lab $(ARGS)

setup: $(VENV)/.made-user $(VENV)/.made-layout   ## only set up

test: $(VENV)/.made-dev $(VENV)/.made-layout test-notebooks     ## every test but the slow ones
	$(BIN)/python -m pytest -q tests $(ARGS)

test-notebooks: $(VENV)/.made-dev $(VENV)/.made-layout          ## the chapters' own examples
	$(BIN)/nbdev_test --n_workers 1

test-slow: $(VENV)/.made-dev $(VENV)/.made-layout               ## the slow ones
	$(BIN)/python -m pytest -q -m slow tests $(ARGS)

readme: $(VENV)/.made-dev   ## README.md from nbs/index.ipynb
	$(BIN)/python -m nbconvert --log-level ERROR --to markdown --stdout --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags hide nbs/index.ipynb | sed 's#](images/#](nbs/images/#g' > README.md.new
	test -s README.md.new && mv README.md.new README.md

notebooks: $(VENV)/.made-dev  ## modules from the notebooks, and the notebooks cleaned
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

clean:                      ## caches and build leftovers; runs and environments stay
	rm -rf build dist .pytest_cache .hypothesis grpo_lab.egg-info README.md.new
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean            ## also the environment (outputs/ stays)
	rm -rf $(VENV)

# ---- the environments. A stamp is newer than what it was made from, so a second call starts at once.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "grpo_lab needs Python 3.11 (the layout packages have no wheels for later ones): install it, or say make PYTHON=/path/to/python3.11"; exit 3; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.made-user: settings.ini setup.py constraints.txt | $(BIN)/python
	@echo "installing torch, transformers and the rest into $(VENV): some minutes the first time, nothing later"
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	$(BIN)/python -m pip check
	@touch $@

$(VENV)/.made-dev: $(VENV)/.made-user
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip check
	@touch $@

$(VENV)/.made-layout: grpo_lab/layout/requirements.txt $(VENV)/.made-user
	$(BIN)/python -W ignore -m grpo_lab.layout.env
	@touch $@
