"""Settings, and the one table of environment variables they can come from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, TypedDict, get_args

from langchain_logprobs.core.choices import labels_from

TokenSpans = Literal["all", "low", "none"]
"""Which tokens become spans: every one, only those under `low_token`, none."""

_PREFIX = "LANGCHAIN_LOGPROBS_"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""OpenTelemetry's own switch for message content: the default of `capture_content`."""
_CONTENT_ON_SPANS = frozenset({"span_only", "span_and_event", "true"})
_FORBIDDING = {"OPENINFERENCE_HIDE_OUTPUTS": True, "TRACELOOP_TRACE_CONTENT": False}
"""Other instrumentations' switches, and what each is set to by who wants no content sent."""
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"0": False, "false": False, "no": False, "off": False}


class SettingsError(ValueError):
    """A setting has a value it cannot have; the message says which values it can.

    .. versionadded:: 0.1.0
    """


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting means, which values it takes, and how text becomes one."""

    help: str
    takes: str
    allows: Callable[[Any], bool]
    read: Callable[[str], Any]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _boolean(text: str) -> bool:
    return _BOOLEANS[text.strip().lower()]


def _setting(default: Any, rule: _Rule) -> Any:
    return field(default=default, metadata={"rule": rule})


def _flag(default: bool, help_text: str) -> Any:
    return _setting(
        default, _Rule(help_text, "true or false", lambda of: isinstance(of, bool), _boolean)
    )


def _probability(default: float, help_text: str) -> Any:
    takes = "a probability, from 0 to 1"
    return _setting(
        default, _Rule(help_text, takes, lambda of: _is_number(of) and 0 <= of <= 1, float)
    )


def _count(default: int, help_text: str, *, least: int = 0) -> Any:
    takes = f"a whole number, at least {least}"
    return _setting(default, _Rule(help_text, takes, lambda of: _is_whole(of) and of >= least, int))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a handler measures, what it sends, and what bounds it.

    Raises:
        SettingsError: A value is out of range; the message names it and the way out.

    .. versionadded:: 0.1.0
    """

    token_spans: TokenSpans = _setting(
        "all",
        _Rule(
            "Which tokens become spans: `all`, only those under `low_token` (`low`), or `none`.",
            "all, low or none",
            lambda of: of in get_args(TokenSpans),
            lambda text: text.strip().lower(),
        ),
    )
    max_token_spans: int | None = _setting(
        1000,
        _Rule(
            "Token spans a call; beyond it the least certain tokens are kept. `none`: no limit.",
            "a whole number, at least 0, or None (in the environment: none) for no limit",
            lambda of: of is None or (_is_whole(of) and of >= 0),
            lambda text: None if text.strip().lower() == "none" else int(text),
        ),
    )
    token_arrays: bool = _flag(
        True, "Whether the LLM span also carries the whole sequence, as parallel arrays."
    )
    low_token: float = _probability(0.5, "A token below this probability counts as low.")
    low_response: float = _probability(0.7, "A response below this confidence counts as low.")
    capture_content: bool = _flag(
        False,
        f"Whether token texts and alternatives may leave the process. Unset: `{CONTENT}` decides.",
    )
    metric_attributes: tuple[str, ...] = _setting(
        (),
        _Rule(
            "Run-metadata keys that become metric dimensions, such as `langgraph_node`.",
            "a tuple of metadata keys (in the environment: separated by commas)",
            lambda of: isinstance(of, tuple) and all(isinstance(key, str) for key in of),
            lambda text: tuple(key.strip() for key in text.split(",") if key.strip()),
        ),
    )
    metric_fields: tuple[str, ...] = _setting(
        (),
        _Rule(
            "Paths of JSON answers that get a metric, such as `$.total` or `$.items[*].price`.",
            "a tuple of paths that begin with $ (in the environment: separated by commas)",
            lambda of: (
                isinstance(of, tuple)
                and all(isinstance(path, str) and path.startswith("$") for path in of)
            ),
            lambda text: tuple(path.strip() for path in text.split(",") if path.strip()),
        ),
    )
    keep: int = _count(0, "How many of the last reports `handler.reports` keeps.")
    max_open_calls: int = _count(
        10_000, "Calls in flight; beyond it the oldest is given up, and reported.", least=1
    )
    max_tokens: int = _count(200_000, "Tokens kept of a call; more are counted, not kept.", least=1)
    max_pending_spans: int = _count(
        100_000,
        "Token spans that may wait, for each provider; beyond that they are counted as lost.",
    )
    idle_timeout: float = _setting(
        600.0,
        _Rule(
            "Seconds without a sign of life after which a call is reported as abandoned.",
            "a finite number of seconds, more than 0",
            lambda of: _is_number(of) and 0 < of < math.inf,
            float,
        ),
    )
    openinference: bool = _flag(
        False,
        "Whether spans also say what Phoenix shows: kinds, texts, and tokens in their names.",
    )
    store: str | None = _setting(
        None,
        _Rule(
            "A file that also keeps every report, texts and all, unless `sinks` are given.",
            "a path, or None (in the environment: none) for no store",
            lambda of: of is None or (isinstance(of, str) and of != ""),
            lambda text: None if text.strip().lower() in ("", "none") else text,
        ),
    )
    raise_errors: bool = _flag(
        False, "Whether to raise what is otherwise counted and logged: for tests alone."
    )

    def __post_init__(self) -> None:
        """Checks every value."""
        for of in fields(self):
            rule: _Rule = of.metadata["rule"]
            value = getattr(self, of.name)
            if not rule.allows(value):
                raise SettingsError(f"{of.name} is {value!r}, but takes {rule.takes}.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Self:
        """The settings given, the environment's for those that are not, defaults for the rest.

        `capture_content` stays off, whoever asks for it, where the environment forbids content
        by `OPENINFERENCE_HIDE_OUTPUTS=true` or `TRACELOOP_TRACE_CONTENT=false`.

        Args:
            environment: Variables to read instead of the process's.
            given: Settings by name; `None` for `capture_content` leaves it to the environment.

        Raises:
            SettingsError: A value is out of range, or a variable cannot be read.
            TypeError: There is no setting of that name.
        """
        environment = os.environ if environment is None else environment
        if given.get("capture_content", ...) is None:
            del given["capture_content"]
        read = {
            of.name: _read(of.metadata["rule"], variable, environment[variable])
            for of in fields(cls)
            if of.name not in given
            and environment.get(variable := variable_of(of.name), "").strip()  # empty is unset
        }
        wanted = {"capture_content": _content_wanted(environment), **read, **given}
        settings = cls(**wanted)
        return replace(settings, capture_content=False) if _forbidden(environment) else settings


class SettingsArguments(TypedDict, total=False):
    """The settings as keyword arguments, each as `Settings` describes it.

    .. versionadded:: 0.1.0
    """

    token_spans: TokenSpans
    max_token_spans: int | None
    token_arrays: bool
    low_token: float
    low_response: float
    capture_content: bool | None
    metric_attributes: tuple[str, ...]
    metric_fields: tuple[str, ...]
    keep: int
    max_open_calls: int
    max_tokens: int
    max_pending_spans: int
    idle_timeout: float
    openinference: bool
    store: str | None
    raise_errors: bool


def checked_labels(labels: Mapping[str, object]) -> Mapping[str, object]:
    """The labels, as they are.

    Raises:
        SettingsError: Something that is to be labelled has fewer than two labels.
    """
    for name, source in labels.items():
        if len(labels_from(source)) < 2:  # noqa: PLR2004 - one label is no choice
            raise SettingsError(
                f"labels[{name!r}] is {source!r}, but takes at least two labels: a sequence of "
                "strings, an Enum, a Literal, or bool."
            )
    return labels


def checked_thresholds(thresholds: Mapping[str, float]) -> Mapping[str, float]:
    """The thresholds, as they are.

    Raises:
        SettingsError: One is no probability.
    """
    for name, limit in thresholds.items():
        if not _is_number(limit) or not 0 <= limit <= 1:
            raise SettingsError(
                f"thresholds[{name!r}] is {limit!r}, but takes a probability, from 0 to 1."
            )
    return thresholds


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + setting.upper()


def table() -> list[tuple[str, str, str, str]]:
    """Every setting as (name, environment variable, default, meaning): the documented table."""
    return [
        (of.name, variable_of(of.name), _shown(of.default), of.metadata["rule"].help)
        for of in fields(Settings)
    ]


def others_table() -> list[tuple[str, str]]:
    """Every variable of somebody else's that is obeyed too, as (name, meaning)."""
    return [
        (
            CONTENT,
            "`SPAN_ONLY`, `SPAN_AND_EVENT` and `true` let texts out, unless a setting forbids it.",
        ),
        ("OPENINFERENCE_HIDE_OUTPUTS", "`true` forbids content, whoever asks for it."),
        ("TRACELOOP_TRACE_CONTENT", "`false` forbids content, whoever asks for it."),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "The size of a batch processor's queue: token spans wait while it is half full.",
        ),
        (
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
            "With `langchain_logprobs` among its names, `opentelemetry-instrument` leaves us out.",
        ),
    ]


def _shown(default: object) -> str:
    match default:
        case None:
            return "none"
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(default) or "(empty)"
        case _:
            return str(default)


def _read(rule: _Rule, variable: str, text: str) -> Any:
    try:
        value = rule.read(text)
    except (KeyError, ValueError):
        value = text
    if not rule.allows(value):
        raise SettingsError(f"The environment's {variable} is {text!r}, but takes {rule.takes}.")
    return value


def _content_wanted(environment: Mapping[str, str]) -> bool:
    return environment.get(CONTENT, "").strip().lower() in _CONTENT_ON_SPANS


def _forbidden(environment: Mapping[str, str]) -> bool:
    return any(
        _BOOLEANS.get(environment.get(variable, "").strip().lower()) is forbidding
        for variable, forbidding in _FORBIDDING.items()
    )
