"""See, and use, how sure a language model was, in any LangChain application.

from langchain_logprobs import LogprobsCallbackHandler, with_logprobs

model = with_logprobs(ChatOpenAI(model="gpt-4o-mini"), top_logprobs=5)
model.invoke("...", config={"callbacks": [LogprobsCallbackHandler()]})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_logprobs.collect import get_logprobs_callback
    from langchain_logprobs.core.confidence import (
        Confidence,
        TokenMeasures,
        confidence_of,
        measure,
    )
    from langchain_logprobs.core.model import Completion, ModelCall, Run, RunTree
    from langchain_logprobs.core.processors import keep_lowest, redact, sample
    from langchain_logprobs.core.report import (
        CallReport,
        Processor,
        Report,
        SequenceConfidence,
        Sink,
        TreeReport,
        through,
    )
    from langchain_logprobs.core.shapes import Shape
    from langchain_logprobs.core.tokens import Candidate, TokenLogprob
    from langchain_logprobs.delivery import CallWatcher
    from langchain_logprobs.handler import LogprobsCallbackHandler
    from langchain_logprobs.instrumentation import instrument, uninstrument
    from langchain_logprobs.providers import LogprobsUnsupportedError, with_logprobs
    from langchain_logprobs.settings import Settings, SettingsError
    from langchain_logprobs.store.writer import Store
    from langchain_logprobs.telemetry.sink import OpenTelemetrySink

_HOMES = {
    "collect": ("get_logprobs_callback",),
    "core.confidence": ("Confidence", "TokenMeasures", "confidence_of", "measure"),
    "core.model": ("Completion", "ModelCall", "Run", "RunTree"),
    "core.processors": ("keep_lowest", "redact", "sample"),
    "core.report": (
        "CallReport",
        "Processor",
        "Report",
        "SequenceConfidence",
        "Sink",
        "TreeReport",
        "through",
    ),
    "core.shapes": ("Shape",),
    "core.tokens": ("Candidate", "TokenLogprob"),
    "delivery": ("CallWatcher",),
    "handler": ("LogprobsCallbackHandler",),
    "instrumentation": ("instrument", "uninstrument"),
    "providers": ("LogprobsUnsupportedError", "with_logprobs"),
    "settings": ("Settings", "SettingsError"),
    "store.writer": ("Store",),
    "telemetry.sink": ("OpenTelemetrySink",),
}
"""Which module each public name lives in: it is imported when first asked for.

LangChain and OpenTelemetry take half a second and more to import; who only reads stored reports, or
runs the command line, needs neither.
"""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order in which a reader meets them
    "LogprobsCallbackHandler",
    "get_logprobs_callback",
    "instrument",
    "uninstrument",
    "with_logprobs",
    "LogprobsUnsupportedError",
    "Settings",
    "SettingsError",
    "CallReport",
    "TreeReport",
    "SequenceConfidence",
    "ModelCall",
    "RunTree",
    "Run",
    "Completion",
    "TokenLogprob",
    "Candidate",
    "Confidence",
    "TokenMeasures",
    "confidence_of",
    "measure",
    "Report",
    "Processor",
    "Sink",
    "Shape",
    "CallWatcher",
    "OpenTelemetrySink",
    "Store",
    "keep_lowest",
    "redact",
    "sample",
    "through",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - half of what importing this takes

        return version("langchain-logprobs")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
