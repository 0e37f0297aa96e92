.PHONY: neighbours
neighbours: ## beside every other instrumentation, really installed; some twenty minutes
	$(or $(PYTHON),python3) tests/matrix/neighbours/run.py --write $(ARGS)
