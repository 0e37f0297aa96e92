"""What `opentelemetry-instrument` looks for: nothing but this needs the extra `instrument`."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from langchain_logprobs.instrumentation import instrument, uninstrument
from langchain_logprobs.settings import SettingsError
from langchain_logprobs.store.schema import StoreError

_LOG = logging.getLogger("langchain_logprobs")


class LangchainLogprobsInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`instrument()` and `uninstrument()` in the manner of OpenTelemetry's instrumentations.

    `LangchainLogprobsInstrumentor().instrument(...)` takes what `LogprobsCallbackHandler` takes.

    .. versionadded:: 0.1.0
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """What must be installed for this to make sense."""
        return ("langchain-core >= 1.0, < 2",)

    def _instrument(self, **kwargs: Any) -> None:
        try:
            instrument(**kwargs)
        except (SettingsError, StoreError):
            # Raised on, it would keep every instrumentation that comes later from being loaded.
            _LOG.exception("Logprobs are not captured")

    def _uninstrument(self, **kwargs: Any) -> None:
        uninstrument(**kwargs)
