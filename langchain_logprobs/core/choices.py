"""Which labels a field may have: the values that a type, a class or a JSON schema allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from langchain_logprobs.core.records import json_names
from langchain_logprobs.core.scanner import step
from langchain_logprobs.core.schemas import fields_in, nested, parts, resolved, unwrapped

_DEEPEST = 12
"""Records inside each other; some hold themselves."""
_Found = tuple[str, tuple[str, ...]]


def labels_from(source: object) -> tuple[str, ...]:
    """The labels in a sequence of values, an `Enum`, a `Literal`, `bool`, or a union of these.

    They are as JSON writes them, strings without quotes. `()` for whatever else.
    """
    if source is bool:
        return ("true", "false")
    if source is None or source is type(None):
        return ("null",)
    origin = get_origin(source)
    if origin is Union or isinstance(source, UnionType):
        parts = [labels_from(part) for part in get_args(source)]
        return tuple(dict.fromkeys(label for part in parts for label in part)) if all(parts) else ()
    if origin is Literal:
        return labels_from(get_args(source))
    if hasattr(source, "__metadata__"):  # Annotated
        return labels_from(get_args(source)[0])
    is_values = isinstance(source, (list, tuple, set, frozenset)) or (
        isinstance(source, type) and issubclass(source, Enum)
    )
    values = list(source) if is_values else []  # type: ignore[call-overload]
    texts = [label_text(value) for value in values]
    return tuple(dict.fromkeys(text for text in texts if text))


def labels_in(model: object) -> dict[str, tuple[str, ...]]:
    """The labels of each field that has some, by path, of a record's class or a JSON schema.

    Args:
        model: A Pydantic model, a dataclass, a `TypedDict`, or a JSON schema as a dict, also one
            wrapped up as a provider's `response_format` or tool. For anything else: `{}`.

    .. versionadded:: 0.1.0
    """
    found = _in_schema(model) if isinstance(model, Mapping) else _in_class(model)
    return {f"${path}": labels for path, labels in found}


def label_text(value: object) -> str | None:
    """A value as JSON writes it, a string without quotes."""
    match value.value if isinstance(value, Enum) else value:
        case str(text):
            return text
        case None:
            return "null"
        case bool(truth):
            return "true" if truth else "false"
        case int() | float() as number:
            return repr(number)
    return None


def _in_class(model: object, path: str = "", depth: int = _DEEPEST) -> Iterator[_Found]:
    names = json_names(model) or {name: name for name in getattr(model, "__annotations__", ())}
    for name, kind in _types(model).items():
        inner = path + step(names.get(name, name))
        labels = labels_from(kind)
        if len(labels) > 1:
            yield inner, labels
        elif depth and not labels:
            for part in get_args(kind) if _is_union(kind) else (kind,):
                yield from _in_class(part, inner, depth - 1)


def _types(model: object) -> Mapping[str, Any]:
    """The types of a record's attributes; `{}` for what is no record, or if a name is unknown."""
    if not (json_names(model) or is_typeddict(model)):
        return {}
    try:
        return get_type_hints(model)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def _is_union(kind: object) -> bool:
    return get_origin(kind) is Union or isinstance(kind, UnionType)


def _in_schema(schema: Mapping[str, Any]) -> Iterator[_Found]:
    root = unwrapped(schema)
    labels: dict[int, tuple[str, ...]] = {}

    def inside(of: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
        return () if labels[id(of)] else fields_in(of)

    for path, of in nested(root, inside):
        labels[id(of)] = found = _schema_labels(of, root, _DEEPEST)
        if len(found) > 1 and path:
            yield path, found


def _schema_labels(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> tuple[str, ...]:
    match schema:
        case {"enum": [*values]}:
            return labels_from(values)
        case {"const": value}:
            return labels_from([value])
        case {"type": "boolean"}:
            return labels_from(bool)
        case {"type": "null"}:
            return labels_from(None)
    found = [
        _schema_labels(resolved(part, root), root, depth - 1)
        for part in (parts(schema) if depth else ())
    ]
    if not all(found):
        return ()
    return tuple(dict.fromkeys(label for labels in found for label in labels))
