"""Turning logprobs on, whatever the provider calls it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.passthrough import RunnableAssign

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

    Takes a chat or completion model of any mainstream LangChain package, one with tools or other
    arguments bound, with fields configurable, with retries or fallbacks, with structured output or
    within a chain, and what `init_chat_model` returns. Of models chosen only when called, and of
    fallbacks, those without logprobs are left as they are.

    Args:
        model: The model; it shares its client with the one returned.
        top_logprobs: Alternatives to ask for at each token, 0 to 20; some providers give fewer.
        patch: Whether its LangChain package may be mended where that drops what was asked for, by
            turning on one of `langchain_logprobs.patches`.

    Raises:
        ValueError: `top_logprobs` is not between 0 and 20, or more than the provider gives.
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
    if _has_model(model) and (fields := _made_of(model)):
        return model.model_copy(update=_each(fields, lambda of: on(of) if _has_model(of) else of))
    kind = _late_kind(model)
    return None if kind is None else _chosen_late(model, kind, on)


_CHAINS: Mapping[type[Runnable[Any, Any]], tuple[str, ...]] = {
    RunnableSequence: ("first", "middle", "last"),
    RunnableParallel: ("steps__",),
    RunnableAssign: ("mapper",),
    RunnableBranch: ("branches", "default"),
}
"""What is made of other runnables, such as structured output, and which fields they are in."""


def _made_of(model: Any) -> dict[str, Any]:
    """The fields of a chain that have its steps; none, if it is no chain."""
    names = next((of for kind, of in _CHAINS.items() if isinstance(model, kind)), ())
    return {name: getattr(model, name) for name in names}


def _each(fields: Any, change: _On) -> Any:
    """The same with every runnable in it changed."""
    match fields:
        case Runnable():
            return change(fields)
        case dict():
            return {key: _each(of, change) for key, of in fields.items()}
        case list() | tuple():
            return type(fields)(_each(of, change) for of in fields)
    return fields


def _has_model(of: Any) -> bool:
    """Whether there is a model in it whose logprobs can be turned on."""
    match of:
        case RunnableBindingBase(bound=inner) | RunnableWithFallbacks(runnable=inner):
            return _has_model(inner)
        case RunnableConfigurableAlternatives() | RunnableConfigurableFields():
            return _has_model(of.default)
    found: list[bool] = []
    _each(_made_of(of), lambda inner: found.append(_has_model(inner)))
    return any(found) or isinstance(of, BaseLanguageModel) or _late_kind(of) is not None


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
    except (LogprobsUnsupportedError, ValueError) as error:
        _say_once(str(error))
        return model


@lru_cache(maxsize=100)
def _say_once(text: str) -> None:
    _LOG.warning("A model is used as it is. %s", text)


# Models chosen when called

_LATE = {
    "default_config": "_default_config",
    "configurable_fields": "_configurable_fields",
    "config_prefix": "_config_prefix",
    "queued_declarative_operations": "_queued_declarative_operations",
}
"""What such a model is made of: how its class takes it, and where it keeps it."""


def _late_kind(model: object) -> type[Any] | None:
    """The class of what `init_chat_model` returns for a model that is only made when called."""
    return next((of for of in type(model).__mro__ if of.__name__ == "_ConfigurableModel"), None)


def _chosen_late(model: Any, kind: type[Any], on: _On) -> Any:
    """The model to be made, with logprobs on.

    LangChain has no public way to reach it, and forwards nothing but `bind_tools` and the like to
    it: so a subclass of its own turns logprobs on as soon as it is made, before anything else is
    done with it.

    Raises:
        LogprobsUnsupportedError: This version of LangChain makes it in another way.
    """
    if not _is_known(model, kind):
        raise LogprobsUnsupportedError(
            "This version of langchain makes the model that init_chat_model(configurable_fields="
            "...) chooses in a way that is not known here. Choose the model first, as in "
            "with_logprobs(init_chat_model('openai:gpt-4o-mini')), or give it "
            "configurable_alternatives of models with logprobs on."
        )

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


def _is_known(model: Any, kind: type[Any]) -> bool:
    """Whether such models are made of what they were when this was written."""
    return (
        callable(getattr(kind, "_model", None))
        and _LATE.keys() <= inspect.signature(kind).parameters.keys()
        and set(_LATE.values()) <= vars(model).keys()
    )


def _remade(model: Any, kind: type[Any], queued: Any) -> Any:
    kept = {parameter: getattr(model, name) for parameter, name in _LATE.items()}
    return kind(**{**kept, "queued_declarative_operations": queued})
