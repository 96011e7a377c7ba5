# make help lists the targets. Every target sets up what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The 90 novels behind the shipped tables and benchmarks, where they are at hand.
NOVELS ?= ../shared/corpora/novels
export NLTK_DATA ?= $(wildcard $(abspath ../shared/nltk_data))

.PHONY: help setup accuracy bayes perplexity convergence reasoning regularisation probes figures report test lint format tables models bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## create .venv, install, compile the search once

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	printf 'Uif rvjdl cspxo gpy' | $(BIN)/decipher solve > /dev/null
	touch $@

accuracy: $(READY) ## the main job: accuracy against ciphertext length, table and figure in results/
	$(BIN)/cipher-accuracy --ciphers 50 --out results/accuracy.csv --plot results/accuracy.png

bayes: $(READY) ## the exact Bayesian reference: accuracy, regret, calibration, certificates; results/bayes/
	$(BIN)/python -m analysis.bayes --out results/bayes

perplexity: $(READY) ## loss, perplexity gap and regret against context, from the shipped weights; results/perplexity/
	$(BIN)/python -m analysis.perplexity --out results/perplexity

convergence: $(READY) ## how fast the Bayes mixture becomes the model that it mixes, with the exact bound; results/convergence/
	$(BIN)/python -m analysis.convergence --out results/convergence

reasoning: $(READY) ## in-context reasoning, LookUp and Permutation, from the shipped weights; results/reasoning/
	$(BIN)/python -m analysis.reasoning --out results/reasoning

regularisation: $(READY) ## what a little lexinvariance costs and buys, from the shipped weights; results/regularisation/
	$(BIN)/python -m analysis.regularisation --out results/regularisation

probes: $(READY) ## what hidden states tell of the key, and how Bayesian the predictions are, from the shipped weights; results/probes/, results/implicit/
	$(BIN)/python -m analysis.probing --out results/probes
	$(BIN)/python -m analysis.implicit --out results/implicit

figures: $(READY) ## every figure of the toolkit, in results/figures/; what has not changed is reused
	$(BIN)/python -m analysis.studies --out results/figures

report: $(READY) ## all figures, tables and claims in one page: results/report.html
	$(BIN)/python -m analysis.report --out results/figures --page results/report.html

test: $(READY) ## run all tests
	$(BIN)/python -m pytest

lint: $(READY) ## ruff, the type checker, and the contract ciphers <- decipher <- analysis
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: $(READY) ## estimate the shipped n-gram tables anew from the novels and Brown
	$(BIN)/decipher fit $(NOVELS) brown --alphabet letters --order 5 --out decipher/data/letters.npz
	$(BIN)/decipher fit $(NOVELS) brown --alphabet letters-space --order 5 --out decipher/data/letters-space.npz

models: $(READY) ## train the shipped transformers anew from the novels and Brown (some hours)
	$(BIN)/decipher train --preset small --embedding lexinvariant --corpus $(NOVELS) brown --threads 1 --out runs/letters-space-lexinvariant --publish decipher/data/letters-space-lexinvariant.safetensors
	$(BIN)/decipher train --preset small --embedding learned --corpus $(NOVELS) brown --threads 1 --out runs/letters-space-standard --publish decipher/data/letters-space-standard.safetensors
	for model in 0:0 10:0.1 25:0.25 50:0.5 75:0.75 100:1; do \
		$(BIN)/decipher train --preset small --embedding mixed --random-share $${model#*:} --symbols 2500000 --corpus $(NOVELS) brown --threads 1 --out runs/letters-space-mixed-$${model%:*} --publish decipher/data/letters-space-mixed-$${model%:*}.safetensors || exit 1; \
	done

bench: $(READY) ## compare with peers, with the truth and with the machine's floor (hours); results/benchmarks/
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/versus_subbreaker.py
	$(BIN)/python benchmarks/lookups.py
	$(BIN)/python benchmarks/perplexity.py
	$(BIN)/python benchmarks/schedule.py
	$(BIN)/python benchmarks/agreement.py --methods smc tempering --budgets 0
	$(BIN)/python benchmarks/agreement.py --out results/benchmarks/agreement-budgets.csv
	$(BIN)/python benchmarks/annealing.py
	$(BIN)/python benchmarks/certificates.py
	$(BIN)/python benchmarks/homophonic.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/recipes.py
	$(BIN)/python benchmarks/probing.py

clean: ## remove .venv and results
	rm -rf $(VENV) .venv-bench results  # not runs: trainings take hours
