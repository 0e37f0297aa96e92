.PHONY: phoenix

backends_stamp := .venv-phoenix/installed

# Not in CI: together they bring half a gigabyte. PICTURES=docs/images takes the pictures of the docs.
phoenix: $(test_stamp) $(backends_stamp) ## a real trace in a real Phoenix and a real MLflow
	PATH="$(CURDIR)/.venv-phoenix/bin:$$PATH" PICTURES="$(PICTURES)" \
	  .venv/bin/python -m pytest -q tests/matrix/phoenix/check_backends.py

$(backends_stamp): tests/matrix/phoenix.mk
	$(call install,.venv-phoenix,arize-phoenix mlflow,)
