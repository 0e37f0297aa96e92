.PHONY: docs

docs_stamp := .venv/installed-docs

docs: $(docs_stamp) ## build the documentation into docs/_build/html; every warning is an error
	.venv/bin/python -m sphinx -n -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

$(docs_stamp): $(test_stamp)
	$(call install,.venv,-e ".[openai$(comma)otlp$(comma)cli$(comma)local]" --group lint --group test --group docs,)
