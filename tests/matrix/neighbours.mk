.PHONY: neighbours
<<<<<<< HEAD
neighbours: ## beside every other instrumentation, really installed; some ten minutes
	$(or $(PYTHON),python3) tests/matrix/neighbours/run.py --write
=======
neighbours:
	$(or $(PYTHON),python3) tests/matrix/neighbours/run.py --write $(ARGS)
>>>>>>> neighbours
