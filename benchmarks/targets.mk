# Included by the Makefile, which makes environments.
BENCH ?=
SOAK ?=
bench_stamp := .venv-bench/installed
bench_python := .venv-bench/bin/python

storage_stamp := .venv-storage/installed

.PHONY: bench figures outage soak storage

bench: $(bench_stamp) ## what it costs, side by side with others; some 20 minutes, BENCH=--quick takes 4
	$(bench_python) -m benchmarks $(BENCH)

soak: $(bench_stamp) ## a million tokens over 10,000 calls in one process: does memory stay flat?
	$(bench_python) -m benchmarks.soak $(SOAK)

# Half an hour, on a machine that does nothing else. TEMPO=/path/to/tempo as below.
figures: ## measure everything, and write the figures into docs/performance.md
	$(MAKE) bench BENCH="--json benchmarks/measured/bench.json"
	$(MAKE) outage OUTAGE="--json benchmarks/measured/outage.json"
	$(MAKE) storage STORAGE="--json benchmarks/measured/storage.json"
	$(bench_python) -m benchmarks.merging --json benchmarks/measured/merging.json
	$(bench_python) -m benchmarks.page

outage: $(bench_stamp) ## nobody listens for a minute: what arrives?
	$(bench_python) -m benchmarks.outage $(OUTAGE)

# TEMPO=/path/to/tempo measures Tempo, too. Phoenix has an environment of its own: half a gigabyte.
storage: $(bench_stamp) $(storage_stamp) .venv-phoenix/installed ## what a call takes in Phoenix's, ClickHouse's and Tempo's stores
	.venv-storage/bin/python -m benchmarks.storage --phoenix "$(CURDIR)/.venv-phoenix/bin/phoenix" \
	  $(if $(TEMPO),--tempo "$(TEMPO)") $(STORAGE)

$(storage_stamp): pyproject.toml
	$(call install,.venv-storage,-e ".[otlp]" "chdb>=26",)

$(bench_stamp): pyproject.toml
	$(call install,.venv-bench,-e ".[openai$(comma)otlp]" --group bench,)
