# Included by the Makefile, which makes environments.
BENCH ?=
SOAK ?=
bench_stamp := .venv-bench/installed
bench_python := .venv-bench/bin/python

.PHONY: bench soak

bench: $(bench_stamp) ## what it costs, side by side with others; some 20 minutes, BENCH=--quick takes 4
	$(bench_python) -m benchmarks $(BENCH)

soak: $(bench_stamp) ## a million tokens over 10,000 calls in one process: does memory stay flat?
	$(bench_python) -m benchmarks.soak $(SOAK)

$(bench_stamp): pyproject.toml
	$(call install,.venv-bench,-e ".[openai$(comma)otlp]" --group bench,)
