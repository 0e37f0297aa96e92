"""The local store: every report in one SQLite file, and read back as it was. No telemetry.

    handler = LogprobsCallbackHandler(sinks=[OpenTelemetrySink(), Store("runs.db")])

Then `langchain-logprobs view --store runs.db`, or from Python `StoredRuns("runs.db")`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_logprobs.store.query import Query
    from langchain_logprobs.store.reader import RunSummary, StoredRuns
    from langchain_logprobs.store.schema import StoreError, default_path
    from langchain_logprobs.store.writer import Store, store_at

_HOME_OF = {
    "Query": "query",
    "RunSummary": "reader",
    "Store": "writer",
    "StoreError": "schema",
    "StoredRuns": "reader",
    "default_path": "schema",
    "store_at": "writer",
}
"""Which module each public name lives in: it is imported when first asked for.

Who writes needs no reader, and the command line's help neither.
"""

__all__ = ["Query", "RunSummary", "Store", "StoreError", "StoredRuns", "default_path", "store_at"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
