"""Turning logprobs on, whatever the provider calls it."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import RunnableBinding

_Model = TypeVar("_Model", bound=BaseLanguageModel[Any] | RunnableBinding[Any, Any])
_MOST = 20
"""Candidates a token that OpenAI's chat API gives at the most; who gives more says so."""


class LogprobsUnsupportedError(TypeError):
    """A model, or the way it is set up, gives no logprobs; the message says what would.

    .. versionadded:: 0.1.0
    """


def with_logprobs(model: _Model, top_logprobs: int = 5) -> _Model:
    """A model of the same kind that asks its provider for logprobs; the one given is not changed.

    Works for `ChatOpenAI`, `AzureChatOpenAI` and whatever derives from `BaseChatOpenAI`, for the
    completion models `OpenAI` and `AzureOpenAI`, and for such models with arguments bound.

    Args:
        model: The model; it shares its client with the one returned.
        top_logprobs: Alternatives to ask for at each token, 0 to 20.

    Raises:
        ValueError: `top_logprobs` is not between 0 and 20.
        LogprobsUnsupportedError: There is no way to turn logprobs on for this model.

    .. versionadded:: 0.1.0
    """
    if type(top_logprobs) is not int or top_logprobs not in range(_MOST + 1):
        raise ValueError(f"top_logprobs is {top_logprobs!r}, but takes a whole number, 0 to 20.")
    if isinstance(model, RunnableBinding):
        bound = with_logprobs(model.bound, top_logprobs)  # type: ignore[type-var]
        return model.model_copy(update={"bound": bound})
    parameters = _parameters(model, top_logprobs)
    return model.model_copy(update=parameters)


def _parameters(model: object, top_logprobs: int) -> dict[str, Any]:
    """The fields that turn logprobs on for a model."""
    if _is(model, "langchain_openai.chat_models.base", "BaseChatOpenAI"):
        if getattr(model, "use_responses_api", None):
            raise LogprobsUnsupportedError(
                f"{_name(model)} is set up for the Responses API, whose logprobs LangChain drops. "
                "Pass use_responses_api=False."
            )
        return {"logprobs": True, "top_logprobs": top_logprobs}
    if _is(model, "langchain_openai.llms.base", "BaseOpenAI"):
        return {"logprobs": top_logprobs}
    raise LogprobsUnsupportedError(
        f"How {_name(model)} turns logprobs on is not known here. If it can, turn them on as its "
        "documentation says: the handler captures them all the same. Known are ChatOpenAI, "
        "AzureChatOpenAI and what derives from them, OpenAI and AzureOpenAI."
    )


def _is(model: object, module: str, name: str) -> bool:
    """Whether the model is of a class that may not even be imported: if so, it is not."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(model, kind)


def _name(model: object) -> str:
    return type(model).__name__
