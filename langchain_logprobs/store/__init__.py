"""The local store: every report in one SQLite file, and read back as it was. No telemetry.

    handler = LogprobsCallbackHandler(sinks=[OpenTelemetrySink(), Store("runs.db")])

Then `langchain-logprobs view --store runs.db`, or from Python `StoredRuns("runs.db")`.
"""

from __future__ import annotations

from langchain_logprobs.store.reader import Query, RunSummary, StoredRuns
from langchain_logprobs.store.schema import StoreError, default_path
from langchain_logprobs.store.writer import Store, store_at

__all__ = ["Query", "RunSummary", "Store", "StoreError", "StoredRuns", "default_path", "store_at"]
