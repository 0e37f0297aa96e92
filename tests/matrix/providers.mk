.PHONY: providers

providers: ## try every provider package against its wire format, and write docs/providers.md
	$(PYTHON) tests/matrix/providers/run.py --write $(ARGS)
