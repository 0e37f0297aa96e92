# Beside each other instrumentation, really installed: some ten minutes, outside of CI.
.PHONY: neighbours
neighbours:
	$(or $(PYTHON),python3) tests/matrix/neighbours/run.py --write $(ARGS)
