.PHONY: docs pictures

docs: $(test_stamp) ## build the documentation into docs/_build/html; every warning is an error
	.venv/bin/python -m sphinx -n -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

pictures: $(test_stamp) chromium ## take the pictures of the documentation anew, from the local model (minutes)
	.venv/bin/python -m tools.pictures docs/images
