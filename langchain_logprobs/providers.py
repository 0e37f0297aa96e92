"""Turning logprobs on, whatever the provider calls it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)

from langchain_logprobs.provider_rules import (
    ALTERNATIVES,
    RULES,
    WITHOUT,
    LogprobsUnsupportedError,
    Rule,
    classes,
)

__all__ = ["LogprobsUnsupportedError", "with_logprobs"]

_LOG = logging.getLogger("langchain_logprobs")
_Model = TypeVar("_Model", bound=Runnable[Any, Any])
_On = Callable[[Any], Any]
"""Turns logprobs on for a model, the other arguments given."""
_MOST = 20
"""Candidates a token that OpenAI's APIs give at the most; who gives fewer says so."""


def with_logprobs(model: _Model, top_logprobs: int = 5, *, patch: bool = True) -> _Model:
    """A model of the same kind that asks its provider for logprobs; the one given is not changed.

    Takes a chat or completion model of any mainstream LangChain package, one with arguments bound
    or fields configurable, one with retries or fallbacks, and what `init_chat_model` returns. Of
    models chosen only when called, and of fallbacks, those without logprobs are left as they are.
    Give it the model first, then bind tools or ask for structured output.

    Args:
        model: The model; it shares its client with the one returned.
        top_logprobs: Alternatives to ask for at each token, 0 to 20.
        patch: Whether its LangChain package may be mended where that drops what was asked for, by
            turning on one of `langchain_logprobs.patches`.

    Raises:
        ValueError: `top_logprobs` is not between 0 and 20.
        LogprobsUnsupportedError: There is no way to turn logprobs on for this model.

    .. versionadded:: 0.1.0
    """
    if type(top_logprobs) is not int or top_logprobs not in range(_MOST + 1):
        raise ValueError(f"top_logprobs is {top_logprobs!r}, but takes a whole number, 0 to 20.")

    def on(of: Any) -> Any:
        return with_logprobs(of, top_logprobs, patch=patch)

    around = _around(model, on)
    changed = _switched_on(model, top_logprobs, patch=patch) if around is None else around
    return cast("_Model", changed)


def _switched_on(model: Any, top_logprobs: int, *, patch: bool) -> Any:
    rule = _rule(model)
    fields = dict(rule.fields(model, top_logprobs))
    if rule.patch is not None:
        _mend(model, rule, patch=patch)
    if not rule.tells:
        fields["metadata"] = {**(model.metadata or {}), "logprobs": True}
    return model.model_copy(update=fields)


def _rule(model: object) -> Rule:
    """How this model turns logprobs on.

    Raises:
        LogprobsUnsupportedError: It does not, or it is not known how.
    """
    for path in classes(model):
        if path in RULES:
            return RULES[path]
        if path in WITHOUT:
            raise LogprobsUnsupportedError(
                f"{type(model).__name__} gives no logprobs: {WITHOUT[path]}. {ALTERNATIVES}"
            )
    raise LogprobsUnsupportedError(
        f"How {type(model).__name__} turns logprobs on is not known here. If it can, turn them on "
        f"as its documentation says: the handler captures them all the same. {ALTERNATIVES}"
    )


def _mend(model: object, rule: Rule, *, patch: bool) -> None:
    mend = import_module(f"langchain_logprobs.patches.{rule.patch}").PATCH
    if (patch and mend.apply()) or mend.is_applied or not rule.patch_needed:
        return
    raise LogprobsUnsupportedError(
        f"{type(model).__name__} cannot be asked for logprobs without the patch "
        f"langchain_logprobs.patches.{rule.patch}, and that is not applied. {ALTERNATIVES}"
    )


# Models around models


def _around(model: Any, on: _On) -> Any | None:
    """A model that has others inside, with logprobs on in those; `None` for any other model."""
    match model:
        case RunnableBindingBase():
            return _bound(model, on)
        case RunnableConfigurableAlternatives():
            return _alternatives(model, on)
        case RunnableConfigurableFields():
            return model.model_copy(update={"default": on(model.default)})
        case RunnableWithFallbacks():
            fallbacks = [_where_possible(each, on) for each in model.fallbacks]
            return model.model_copy(update={"runnable": on(model.runnable), "fallbacks": fallbacks})
    kind = next((of for of in type(model).__mro__ if of.__name__ == "_ConfigurableModel"), None)
    return None if kind is None else _chosen_late(model, kind, on)


def _bound(model: RunnableBindingBase[Any, Any], on: _On) -> Any:
    """Arguments bound earlier must not turn off again what is turned on now."""
    bound = on(model.bound)
    kwargs = {key: of for key, of in model.kwargs.items() if key not in _ASKING}
    if "include" in kwargs and getattr(bound, "include", None):
        kwargs["include"] = [*dict.fromkeys([*(kwargs["include"] or ()), *bound.include])]
    return model.model_copy(update={"bound": bound, "kwargs": kwargs})


_ASKING = frozenset({"logprobs", "top_logprobs", "response_logprobs"})


def _alternatives(model: RunnableConfigurableAlternatives[Any, Any], on: _On) -> Any:
    def made(make: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: _where_possible(make(), on)

    others: Mapping[str, Any] = model.alternatives
    alternatives = {
        key: _where_possible(of, on) if isinstance(of, Runnable) else made(of)
        for key, of in others.items()
    }
    return model.model_copy(update={"default": on(model.default), "alternatives": alternatives})


def _where_possible(model: Any, on: _On) -> Any:
    """The model with logprobs on, or as it is: not its user's choice, it must not fail."""
    try:
        return on(model)
    except LogprobsUnsupportedError as error:
        _say_once(str(error))
        return model


@lru_cache(maxsize=100)
def _say_once(text: str) -> None:
    _LOG.warning("A model is used as it is. %s", text)


def _chosen_late(model: Any, kind: type[Any], on: _On) -> Any:
    """What `init_chat_model` returns for a model that is only made when it is called.

    It forwards nothing but `bind_tools` and the like to the model to come, so a subclass of its own
    turns logprobs on as soon as that is made, before anything else is done with it.
    """

    class WithLogprobs(kind):  # type: ignore[misc]
        def _model(self, config: Any = None) -> Any:
            made = _where_possible(kind._model(_remade(self, kind, ()), config), on)  # noqa: SLF001
            for name, args, kwargs in self._queued_declarative_operations:
                made = getattr(made, name)(*args, **kwargs)
            return made

        def __getattr__(self, name: str) -> Any:
            found = super().__getattr__(name)
            if name not in ("bind_tools", "with_structured_output"):
                return found
            return lambda *args, **kwargs: _again(found(*args, **kwargs))

        def with_config(self, config: Any = None, **kwargs: Any) -> Any:
            return _again(super().with_config(config, **kwargs))

    def _again(of: Any) -> Any:
        return _remade(of, WithLogprobs, of._queued_declarative_operations)  # noqa: SLF001

    return _again(model)


def _remade(model: Any, kind: type[Any], queued: Any) -> Any:
    return kind(
        default_config=dict(model._default_config),  # noqa: SLF001
        configurable_fields=model._configurable_fields,  # noqa: SLF001
        config_prefix=model._config_prefix,  # noqa: SLF001
        queued_declarative_operations=queued,
    )
