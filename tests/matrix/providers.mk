.PHONY: providers

# With the Python of the environment that the tests have, so that all are of one version.
providers: $(test_stamp) ## every provider's package, really installed, against its wire format; some minutes
	.venv/bin/python tests/matrix/providers/run.py --write $(ARGS)
