"""Attributes of spans, of which the long arrays are not looked through once more.

The SDK goes through every element of an array in Python, only to come to a tuple of the same: for a
thousand logprobs that takes as long as starting and ending several spans.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import Span as AnySpan

from langchain_logprobs.telemetry.spans import Attributes, Value

_LONG = 32
"""Elements from which on an array is worth it."""
_PLAIN = ({float}, {float, type(None)}, {str})
"""Kinds of elements that the SDK takes as they are."""


def set_attributes(span: AnySpan, attributes: Attributes) -> None:
    """Has the span hold these attributes, as its own `set_attributes()` would."""
    arrays, others = apart(attributes)
    if arrays and not _put(span, arrays):
        others = attributes
    span.set_attributes(others)


def set_arrays(span: AnySpan, arrays: Attributes) -> None:
    """The same, of those that `apart` has found to be long arrays."""
    if arrays and not _put(span, arrays):
        span.set_attributes(arrays)


def apart(attributes: Attributes) -> tuple[Attributes, Attributes]:
    """The long arrays among them, and the others."""
    arrays = {name: of for name, of in attributes.items() if _is_long(of)}
    return arrays, {name: of for name, of in attributes.items() if name not in arrays}


def _is_long(value: Value) -> bool:
    return type(value) is list and len(value) >= _LONG and set(map(type, value)) in _PLAIN


def _put(span: AnySpan, arrays: Attributes) -> bool:
    """Puts arrays where the SDK would; whether there was nothing else to do about them."""
    held = getattr(span, "_attributes", None)
    if not isinstance(span, Span) or type(held) is not BoundedAttributes or not _is_known():
        return False
    with span._lock, held._lock:  # noqa: SLF001 - what `_is_known` has tried
        is_plain = (
            span.is_recording()
            and held.max_value_len is None
            and (held.maxlen is None or len(held) + len(arrays) <= held.maxlen)
        )
        if is_plain:
            held._dict.update(_cleaned(arrays))  # noqa: SLF001 - the same
        return is_plain


def _cleaned(arrays: Attributes) -> dict[str, Any]:
    return {name: tuple(of) for name, of in arrays.items() if isinstance(of, list)}


@cache
def _is_known() -> bool:
    """Whether this SDK holds arrays as we would."""
    arrays: Attributes = {"numbers": [0.5, None], "texts": ["a"]}
    held = BoundedAttributes(attributes=arrays, immutable=False)
    try:
        with held._lock:  # noqa: SLF001 - this asks whether there is one
            return _cleaned(arrays) == held._dict  # noqa: SLF001 - the same
    except (AttributeError, TypeError):  # another SDK
        return False
