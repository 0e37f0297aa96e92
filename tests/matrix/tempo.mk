.PHONY: tempo

# Not in CI: Tempo is in no package registry. Its releases are programs that need nothing else.
tempo: $(test_stamp) ## the Tokens dashboard's queries, against a real Tempo; TEMPO=path if not on the PATH
	@command -v "$(or $(TEMPO),tempo)" >/dev/null \
	  || { echo 'Needs Tempo 3: https://github.com/grafana/tempo/releases, then make tempo TEMPO=path' >&2; exit 1; }
	TEMPO="$(TEMPO)" .venv/bin/python -m pytest -q tests/matrix/tempo/check_tempo.py
