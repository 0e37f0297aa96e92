.PHONY: docs

docs: $(test_stamp) ## build the documentation into docs/_build/html; every warning is an error
	.venv/bin/python -m sphinx -n -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html
