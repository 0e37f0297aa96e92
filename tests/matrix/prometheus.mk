.PHONY: prometheus dashboards

dashboards: $(test_stamp) ## write the Grafana dashboards anew from the names of the telemetry
	.venv/bin/python -m tools.dashboards

# Debian's own; its service is not needed, and is not started where there is no init to start it.
prometheus: $(test_stamp) ## the dashboards' queries and the alert rules, against a real Prometheus
	@command -v promtool >/dev/null && command -v prometheus >/dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	       apt-get install -y -qq --no-install-recommends prometheus >/dev/null; } \
	  || { echo 'Needs Prometheus: https://prometheus.io/download/, or Debian, as root.' >&2; exit 1; }
	.venv/bin/python -m pytest -q tests/matrix/prometheus/check_prometheus.py
