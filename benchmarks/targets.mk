# Included by the Makefile, which sets PYTHON to the environment's interpreter.
PYTHON ?= python3
BENCH ?=
SOAK ?=

.PHONY: bench soak

bench: ## Measure what it costs, side by side with others, in a few minutes
	$(PYTHON) -m benchmarks.dispatch $(BENCH)
	$(PYTHON) -m benchmarks.dispatch --modes sync --tokens 1000 16000 --rounds 3 \
		--json benchmarks/results/growth.json
	$(PYTHON) -m benchmarks.delivery
	$(PYTHON) -m benchmarks.merging

soak: ## A million tokens over 10,000 calls in one process: does memory stay flat?
	$(PYTHON) -m benchmarks.soak $(SOAK)
