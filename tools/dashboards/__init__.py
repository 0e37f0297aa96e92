"""Makes the Grafana dashboards in `langchain_logprobs/dashboards` from the names of the telemetry.

It stands outside the package because it needs `grafana-foundation-sdk`, which no user does.

    python -m tools.dashboards          # writes them
    python -m tools.dashboards --check  # says whether they are what would be written
"""
