# `make demo` and `make test` set everything up on a machine with python3.11+, its venv module and make.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.qagate-setup

TOOLS := .venv-supply

.PHONY: help setup demo run test test-slow test-faults coverage lock sbom audit check screenshots bench bench-models bench-web fuzz fuzz-coverage soak texts train-default system-test-deps clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(STAMP) ## fill .venv; seconds when nothing changed

$(STAMP): setup.cfg pyproject.toml constraints.txt deploy/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh deploy/setup
	@touch $@

demo: setup ## the gate end to end on this machine; ONCE=1 ends by itself
	@$(BIN)/qagate demo $(if $(ONCE),--once)

run: setup ## the gate with ./qagate.toml (written when absent)
	@test -f qagate.toml || $(BIN)/qagate init qagate.toml
	@$(BIN)/qagate --config qagate.toml serve

test: setup ## the quick tests, then all that qagate printed meanwhile searched for the test patients
	@rm -rf .privacy && mkdir .privacy
	@QAGATE_TEST_LOGS=$(CURDIR)/.privacy $(BIN)/python -m pytest -m "not slow and not faults" -n 2 --dist loadfile
	@$(BIN)/python tests/privacy.py .privacy

coverage: setup ## the quick tests with the share of qagate's lines that they reach
	@$(BIN)/python -m pytest -m "not slow and not faults" -n 2 --dist loadfile --cov --cov-report=term:skip-covered

test-slow: setup ## crash and load tests
	@$(BIN)/python -m pytest -m "slow and not faults" -n 3 --dist loadfile --no-loadscope-reorder

test-faults: setup ## the crash matrix and every fault; the table, which is docs/reliability.md
	@rm -f $(VENV)/faults.jsonl
	@QAGATE_FAULTS_RESULTS=$(CURDIR)/$(VENV)/faults.jsonl $(BIN)/python -m pytest -m faults -n 3 --dist loadfile
	@cd tests/faults && $(CURDIR)/$(BIN)/python -m report $(CURDIR)/$(VENV)/faults.jsonl

check: setup ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

$(TOOLS)/bin/uv: deploy/supply-tools.txt
	@"$${PYTHON:-python3}" -m venv $(TOOLS)
	@$(TOOLS)/bin/pip --disable-pip-version-check -q install -r deploy/supply-tools.txt
	@touch $@

lock: $(TOOLS)/bin/uv ## the hashes of every pin, in deploy/requirements.lock
	@grep -vE '^torch(vision)?==' constraints.txt | $(TOOLS)/bin/uv pip compile -q --no-deps --generate-hashes \
		--no-header --no-annotate --python-version 3.11 --python-platform linux -o deploy/requirements.lock -

sbom: setup $(TOOLS)/bin/uv ## the bill of materials, deploy/sbom.cdx.json
	@$(TOOLS)/bin/python deploy/supply.py sbom $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

audit: setup $(TOOLS)/bin/uv ## installed = pinned = hashed, licences, known vulnerabilities
	@$(BIN)/python deploy/supply.py check
	@$(TOOLS)/bin/python deploy/supply.py advisories $(TOOLS)/bin/pip-audit

bench: setup ## measure speed; figures in bench/latest.json
	@$(BIN)/python bench/latency.py

bench-models: setup ## speed of the papers' networks; figures in bench/models-latest.json
	@$(BIN)/python bench/networks.py

fuzz: setup ## bad peers and mutated data sets; CASES=10000 DATA_SETS=100000 SEED=1, or REPLAY=FILE
	@CASES="$(CASES)" DATA_SETS="$(DATA_SETS)" SEED="$(SEED)" REPLAY="$(REPLAY)" $(BIN)/python tests/fuzz/fuzz_run.py

fuzz-coverage: setup ## coverage-guided fuzzing of the parsers; SECONDS_LONG=300
	@$(BIN)/pip install -q -e ".[fuzz]"
	@$(BIN)/python tests/fuzz/fuzz_coverage.py -max_total_time=$(or $(SECONDS_LONG),300) $(VENV)/fuzz-corpus

texts: setup ## gather the pages' texts into the German catalogue, where new ones wait for a translation
	@cd qagate/web && $(CURDIR)/$(BIN)/pybabel -q extract -F locale/babel.cfg --no-location --sort-output -k _ -k ngettext:1,2 -o $(CURDIR)/$(VENV)/qagate.pot .
	@cd qagate/web && $(CURDIR)/$(BIN)/pybabel -q update -i $(CURDIR)/$(VENV)/qagate.pot -D qagate -d locale -l de --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --no-wrap
	@rm -f $(CURDIR)/$(VENV)/qagate.pot

screenshots: setup ## pictures of every page in docs/screens; minutes
	@OMP_NUM_THREADS=1 $(BIN)/python docs/screenshots.py

bench-web: setup ## speed of the pages with 100,000 series; figures in bench/web-latest.json
	@$(BIN)/python bench/web.py

soak: setup ## a day of 20 scanners in MINUTES=30; DATABASE=postgres; docs/soak.md
	@$(BIN)/python bench/soak.py --minutes $(or $(MINUTES),30) --database $(or $(DATABASE),sqlite)

train-default: setup ## the shipped model anew into runs/default; REFERENCES: folder of the recipe's volumes
	@test -n "$(REFERENCES)" || { echo "say where the recipe's volumes are: make train-default REFERENCES=FOLDER"; exit 2; }
	@$(BIN)/python -m train.default train/recipes/default.toml --references "$(REFERENCES)" --out runs/default

system-test-deps: ## install what some tests use: dcmtk, orthanc, dicom3tools, PixelMed, PostgreSQL, Chromium, strace (Debian, Ubuntu)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		dcmtk orthanc dicom3tools libpixelmed-java default-jre-headless postgresql chromium strace

clean: ## remove .venv and caches
	rm -rf $(VENV) $(TOOLS) .privacy .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
