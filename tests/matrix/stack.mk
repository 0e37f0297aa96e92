.PHONY: stack

# Not in CI: none of the three is in a package registry in these versions.
stack: $(test_stamp) ## the files of examples/observability in a real collector, Tempo and Prometheus, all on the PATH
	TEMPO="$(TEMPO)" OTELCOL="$(OTELCOL)" PROMETHEUS="$(PROMETHEUS)" \
	  .venv/bin/python -m pytest -q tests/matrix/stack/check_stack.py
