# The commands of the project. Each one makes .venv if necessary, and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo serve test coverage test-all lint types fuzz mutants differential bench docs pictures screenshots check-az dist sbom audit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## the sample sites behind real TLS, and every kind of client against them
	@$(BIN)/python sample_sites/demo.py

serve: $(VENV)/demo ## the sample sites for your own browser and curl, until Ctrl-C
	@$(BIN)/python sample_sites/demo.py --serve

PYTEST := $(BIN)/python -m pytest -q -rs
# One process more than there are cores, because many tests wait for other processes.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
WHOLE := -n $(WORKERS) --dist worksteal
# coverage.py alone does not see the processes of -n, so pytest-cov measures.
MEASURED := $(WHOLE) --cov --cov-report=

test: $(VENV)/test ## the tests, in two minutes; one file: make test ONLY=tests/core/test_pins.py
ifdef ONLY
	@$(PYTEST) $(ONLY)
else
	@$(PYTEST) $(WHOLE) -m "not matrix"
	@echo 'Left out: the long end-to-end tests (servers, front ends, CAs, App Service build,'
	@echo 'Azure Functions, browser). Run them with: make test-all'
endif

coverage: $(VENV)/test ## the same tests, slower, and the branch coverage of each module with its floor
	@$(PYTEST) $(MEASURED) -m "not matrix"
	@$(BIN)/python -m tools.coverage_floor

test-all: $(VENV)/test-all ## all tests, on every server, front end, CA and browser that is installed
	@$(PYTEST) $(MEASURED)
	@$(BIN)/python -m tools.coverage_floor

lint: $(VENV)/lint ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/lint $(VENV)/test ## mypy --strict
	@$(BIN)/mypy

SECONDS := 60
fuzz: $(VENV)/fuzz ## coverage-guided fuzzing of all code that reads hostile bytes: make fuzz SECONDS=60
	@$(BIN)/python tools/fuzz/run.py $(if $(RUNS),--runs $(RUNS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

mutants: $(VENV)/test ## mutation testing of the modules that decide: make mutants ONLY=trust/pem
	@$(BIN)/python -m tools.mutants.run $(if $(JOBS),--jobs $(JOBS)) $(ONLY)

CHAINS := 10000
differential: $(VENV)/differential ## other implementations' verdicts on minted chains: make differential CHAINS=1000000
	@$(BIN)/python -m tools.differential.run --chains $(CHAINS) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/test ## what a decision and a protected request cost, as ratios; at most ten minutes
	@$(BIN)/python benchmarks/run.py

docs: $(VENV)/docs ## the documentation site, in site/; a broken link or any other warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(VENV)/demo ## the pictures of the documents, from real runs, in docs/images
	@$(BIN)/python -m tools.pictures

screenshots: $(VENV)/browser ## the sample sites' pages as pictures, in screenshots/; needs chromium
	@SCREENSHOTS=screenshots $(BIN)/python -m pytest -q tests/e2e/test_browser.py::test_picture
	@cp screenshots/flask-certificate-desktop-light.png screenshots/django-front-page-phone-dark.png docs/images

check-az: .venv-az/installed ## every az command of the documents through the Azure CLI's parser; 730 MB
	@.venv-az/bin/python tests/infra/check_az.py

RELEASE := .venv-release
dist: $(RELEASE)/installed ## the wheel and the source archive, in dist/
	@rm -rf dist
	@$(RELEASE)/bin/python -m build --outdir dist .

SBOM := build/arrcert.cdx.json
sbom: product ## a CycloneDX list of the dependencies of arrcert, in build/arrcert.cdx.json
	@mkdir -p $(dir $(SBOM))
	@$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library \
		--output-reproducible --output-file $(SBOM) $(PRODUCT)/bin/python
	@echo "Wrote $(SBOM)."

audit: product ## known vulnerabilities of the dependencies of arrcert; asks the package index
	@$(RELEASE)/bin/python -m pip --python $(PRODUCT)/bin/python freeze --exclude arrcert \
		> $(PRODUCT)/requirements.txt
	@$(RELEASE)/bin/pip-audit --strict --no-deps --disable-pip -r $(PRODUCT)/requirements.txt

clean: ## remove .venv and the files that tools write
	rm -rf $(VENV) .venv-az $(RELEASE) $(PRODUCT) build .coverage .differential .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	rm -rf screenshots site sample_sites/*/dist sample_sites/*/dist.zip

$(VENV)/pip:
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "arrcert needs Python 3.11 or newer; try: make PYTHON=python3.13")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade "pip>=25.1"
	@touch $@

$(VENV)/demo: $(VENV)/pip pyproject.toml
	@echo "Installing arrcert, Flask, Django, FastAPI and the local front end ..."
	@$(PIP) --editable ".[flask,django,fastapi,dev]" "whitenoise>=6.7"
	@touch $@

$(VENV)/test: $(VENV)/demo pyproject.toml
	@for program in curl openssl; do \
		command -v $$program >/dev/null || { echo "The tests need the program $$program."; exit 1; }; \
	done
	@echo "Installing what the tests need ..."
	@$(PIP) --group test
	@touch $@

$(VENV)/test-all: $(VENV)/test $(VENV)/browser pyproject.toml
	@echo "Installing servers, frameworks and CAs ..."
	@$(PIP) --group servers --group functions --group apps --group cas
	@touch $@

$(VENV)/fuzz: $(VENV)/demo pyproject.toml
	@echo "Installing the fuzzer ..."
	@$(PIP) --group fuzz
	@touch $@

$(VENV)/differential: $(VENV)/demo pyproject.toml
	@echo "Installing other implementations ..."
	@$(PIP) --group differential
	@touch $@

$(VENV)/browser: $(VENV)/test pyproject.toml
	@echo "Installing what drives a browser ..."
	@$(PIP) --group browser
	@touch $@

$(VENV)/docs: $(VENV)/pip pyproject.toml
	@echo "Installing what builds the documentation site ..."
	@$(PIP) --group docs
	@touch $@

$(VENV)/lint: $(VENV)/pip pyproject.toml
	@echo "Installing linter and type checker ..."
	@$(PIP) --group lint --group typing
	@touch $@

# A separate environment, because the Azure CLI pins its dependencies.
.venv-az/installed:
	@echo "Installing the Azure CLI, 730 MB ..."
	@$(PYTHON) -m venv .venv-az
	@.venv-az/bin/python -m pip install --quiet --disable-pip-version-check azure-cli
	@touch $@

# A separate environment, because these tools need other versions of packages of the tests.
$(RELEASE)/installed: pyproject.toml
	@echo "Installing what makes a release ..."
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(RELEASE)/bin/python -m pip install --quiet --group release
	@touch $@

# Only the packages that users install: no pip, no tools. It is made anew each time.
.PHONY: product
PRODUCT := .venv-product
product: $(RELEASE)/installed
	@rm -rf $(PRODUCT)
	@$(PYTHON) -m venv --without-pip $(PRODUCT)
	@$(RELEASE)/bin/python -m pip --python $(PRODUCT)/bin/python install --quiet \
		".[flask,django,fastapi,telemetry,dev]"
