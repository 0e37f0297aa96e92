# Each target makes the environment it needs; nothing has to be installed first but Python and make.

.DEFAULT_GOAL := help
.PHONY: help demo test seek chromium clean

# The first of these that is new enough.
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3 python,\
  $(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)))

comma := ,
own_model := $(OPENAI_API_KEY)$(findstring --base-url,$(ARGS))$(findstring --help,$(ARGS))
extras := openai,cli$(if $(own_model),,$(comma)local)$(if $(OTEL_EXPORTER_OTLP_ENDPOINT),$(comma)otlp)
demo_stamp := .venv-demo/installed-$(subst $(comma),-,$(extras))
test_stamp := .venv/installed
test_needs := -e ".[openai,otlp,cli,local,viewer,analysis,instrument]" --group lint --group test --group docs

help: ## what can be made (this)
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(demo_stamp) ## watch a real model answer, with its confidence; ARGS="--help" shows how to choose another
	@.venv-demo/bin/python examples/quickstart.py $(ARGS)

test: $(test_stamp) chromium ## lint, types, architecture, tests with coverage
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

# Elsewhere the properties are tried with the same examples each time.
seek: $(test_stamp) ## the property tests with other examples each time, and ten times as many
	.venv/bin/python -m pytest -m hypothesis --hypothesis-profile=seek $(ARGS)

# The viewer is tested in a real browser. As root on Debian, which is what CI often is, it is installed.
chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	  || { echo 'The viewer is tested in Chromium. On Debian and Ubuntu: sudo apt install chromium' >&2; exit 1; }

clean: ## remove the environments and whatever was built or measured
	rm -rf .venv .venv-bench .venv-demo .venv-phoenix .venv-storage docs/_build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist

$(demo_stamp): pyproject.toml
	$(call install,.venv-demo,-e ".[$(extras)]",$(demo_help))

$(test_stamp): pyproject.toml
	$(call install,.venv,$(test_needs),)

define no_python
Python 3.11 or newer is needed, and none was found. Install one, or name it: make PYTHON=/path/to/python3
endef

define no_venv
This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv
endef

define no_install
Not everything could be installed; the reason is above. It takes a network, or an index that pip is told of.
endef

define demo_help
Where only the local model is missing (it has no build for this platform), choose another:\n\
  OPENAI_API_KEY=... make demo\n\
  make demo ARGS="--base-url http://localhost:11434/v1 --model llama3.2"
endef

# Makes an environment ($1), installs something into it ($2), and says what to do if it cannot ($3).
# uv is faster; where it is missing, or not set up for this network, pip does the same.
define install
@test -n "$(PYTHON)" || { echo '$(no_python)' >&2; exit 1; }
@echo "Installing into $1, for the first time or since pyproject.toml has changed ..."
@{ command -v uv >/dev/null \
    && uv venv --quiet --allow-existing --python "$(PYTHON)" $1 \
    && uv pip install --python $1/bin/python $2; } \
  || { { "$(PYTHON)" -m venv $1 || { echo '$(no_venv)' >&2; exit 1; }; } \
    && $1/bin/python -m pip install --quiet --upgrade "pip>=25.1" \
    && $1/bin/python -m pip install $2; } \
  || { printf '%b\n' '$(no_install)' '$3' >&2; exit 1; }
@touch $@
endef

include $(wildcard benchmarks/*.mk docs/*.mk tests/matrix/*.mk)
