"""Records of any kind (Pydantic models, dataclasses, dicts) beside the JSON they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_logprobs.core.fields import Fields
from langchain_logprobs.core.scanner import step

_DEEPEST = 100


def confidences_for(fields: Fields, record: object) -> Any:
    """The structure of the record with a confidence in the place of each value.

    `None` stands where the answer has no such value (a default filled it in), or no number for it.
    A value that the record made of several in the answer has the confidence of them together.
    """
    return _at(fields, record, "$", _DEEPEST)


def json_names(kind: object) -> dict[str, str]:
    """The name that each attribute of a record has in JSON: its own, or a Pydantic alias."""
    pydantic = getattr(kind, "model_fields", None)
    if isinstance(pydantic, Mapping):
        return {name: _alias(info) or name for name, info in pydantic.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return {of.name: of.name for of in dataclasses.fields(kind)}
    return {}


def _at(fields: Fields, value: object, path: str, depth: int) -> Any:
    field = fields.get(path)
    if field is not None and field.leaf:
        return field.confidence.confidence
    names = json_names(type(value))
    if depth and names:
        return {
            name: _at(fields, getattr(value, name, None), path + step(key), depth - 1)
            for name, key in names.items()
        }
    if depth and isinstance(value, Mapping):
        return {
            key: _at(fields, inner, path + step(str(key)), depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, (Sequence, AbstractSet)) and not _is_text(value):
        return [
            _at(fields, inner, f"{path}[{index}]", depth - 1) for index, inner in enumerate(value)
        ]
    return None if field is None else field.confidence.confidence


def _is_text(value: object) -> bool:
    return isinstance(value, (str, bytes, bytearray))


def _alias(info: object) -> str | None:
    """The name that a Pydantic field is read by."""
    names = (getattr(info, name, None) for name in ("validation_alias", "alias"))
    return next((name for name in names if isinstance(name, str)), None)
