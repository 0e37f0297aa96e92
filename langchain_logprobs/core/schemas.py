"""Which paths an application itself knows: what it asked for, not what the model wrote.

The keys of a JSON answer are the model's text. They may only leave the process with content, or
where the application named them first: in the schema it asked to be filled, or in its settings.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from langchain_logprobs.core.scanner import step

_STEP = re.compile(r"""\["(?:[^"\\]|\\.)*"\]|\[\d+\]""")
_WRAPPERS = ("json_schema", "schema", "function", "parameters")
_DEEPEST = 12
"""Schemas inside each other; some hold themselves."""
_MOST = 1_000
"""Schemas looked at in one. Without a bound, a grammar of ten operators takes minutes a call."""


def pattern_of(path: str) -> str:
    """The path with `[*]` for every index, so that an array's items are one: `$.items[*].id`."""
    return _STEP.sub(lambda found: found[0] if found[0][1] == '"' else "[*]", path)


def path_of(name: str) -> str:
    """A path as it is; of a name, the path of the field of that name at the top."""
    return name if name.startswith("$") else f"${step(name)}"


def known_paths(schemas: Iterable[object]) -> frozenset[str]:
    """The patterns of the fields that JSON schemas name, however a provider wraps them up.

    Of a schema with more than `_MOST` inside, those of the ones nearest to its top.
    """
    roots = [unwrapped(schema) for schema in schemas if isinstance(schema, Mapping)]
    return frozenset(f"${path}" for root in roots for path, _ in nested(root, _inside))


def unwrapped(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema inside what a provider's `response_format` or tool wraps around it."""
    for _ in _WRAPPERS:
        inner = [schema[key] for key in _WRAPPERS if isinstance(schema.get(key), Mapping)]
        if "properties" in schema or not inner:
            break
        schema = inner[0]
    return schema


def nested(
    root: Mapping[str, Any], inside: Callable[[Mapping[str, Any]], Iterable[tuple[str, object]]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema in this one with the path of what it describes, each once for a path.

    The nearest come first, and no more than `_MOST`.

    Args:
        root: The schema, which references lead into.
        inside: The schemas directly in one that are looked into, each with its step of the path.
    """
    ahead: deque[tuple[str, object, int]] = deque([("", root, _DEEPEST)])
    seen: set[tuple[str, int]] = set()
    while ahead and len(seen) < _MOST:
        path, schema, depth = ahead.popleft()
        found = resolved(schema, root)
        if (path, id(found)) in seen:
            continue
        seen.add((path, id(found)))
        yield path, found
        if depth:
            ahead += ((path + below, inner, depth - 1) for below, inner in inside(found))


def resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference into the same document leads to: `#`, or `#/$defs/name`."""
    for _ in range(_DEEPEST):
        match schema:
            case {"$ref": str(reference)}:
                document, *names = reference.split("/")
                schema = root if document == "#" else None
                for name in names:
                    key = name.replace("~1", "/").replace("~0", "~")  # RFC 6901
                    schema = schema.get(key) if isinstance(schema, Mapping) else None
            case _:
                break
    return schema if isinstance(schema, Mapping) else {}


def parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that this one is made of."""
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), (list, tuple)):
            yield from schema[key]


def fields_in(schema: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The schemas of the fields directly in this one, and those that it is made of."""
    yield from (("", part) for part in parts(schema))
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        yield step(str(name)), inner


def _inside(schema: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield from fields_in(schema)
    if isinstance(schema.get("items"), Mapping):
        yield "[*]", schema["items"]
