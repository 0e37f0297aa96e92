"""The paths that an application's schemas name, whatever shape those have."""

from __future__ import annotations

from typing import Any

from langchain_logprobs.core.choices import labels_in
from langchain_logprobs.core.schemas import known_paths


def grammar(operators: int) -> dict[str, Any]:
    """A schema of expressions, of which each operator holds two."""
    expression = {"$ref": "#/$defs/expression"}
    names = [f"operator_{number}" for number in range(operators)]
    of = {"type": "object", "properties": {"left": expression, "right": expression}}
    choice = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    definitions: dict[str, Any] = {**dict.fromkeys(names, of), "expression": choice}
    return {"type": "object", "properties": {"root": expression}, "$defs": definitions}


def test_every_field_of_a_schema_is_known_by_its_pattern() -> None:
    point = {"type": "object", "properties": {"x": {"type": "number"}, "a.b": True}}
    schema = {
        "$defs": {"point": point},
        "properties": {
            "points": {"type": "array", "items": {"$ref": "#/$defs/point"}},
            "at": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]},
        },
    }
    inside = {f"{at}{name}" for at in ("$.points[*]", "$.at") for name in ("", ".x", '["a.b"]')}

    assert known_paths([schema]) == {"$", "$.points", *inside}
    assert known_paths([{"type": "json_schema", "json_schema": {"schema": schema}}]) == known_paths(
        [schema]
    )


def test_what_is_no_schema_names_nothing() -> None:
    assert known_paths([None, 7, "text", int]) == frozenset()
    assert known_paths([{"$ref": "#/nowhere"}, {"properties": [1]}]) == {"$"}


def test_references_lead_to_the_whole_schema_or_to_one_in_it() -> None:
    schema = {"properties": {"next": {"$ref": "#"}, "of": {"$ref": "#/$defs/a~1b~0"}}}
    names = {"properties": {"name": {"type": "string"}}}

    paths = known_paths([{**schema, "$defs": {"a/b~": names}}])

    assert {"$.next.next", "$.of.name", "$.next.of.name"} <= paths
    for elsewhere in ("https://schema#/$defs/a", "a", ""):
        assert known_paths([{"$ref": elsewhere, "$defs": {"a": names}, "a": names}]) == {"$"}


def test_labels_of_a_schema_that_holds_itself_are_found_once_for_each_path() -> None:
    schema = grammar(20)
    schema["$defs"]["operator_7"] = {"properties": {"is": {"enum": ["a", "b"]}}}

    assert labels_in(schema) == {
        path: ("a", "b") for path in known_paths([schema]) if path.endswith(".is")
    }


def test_a_schema_that_holds_itself_is_read_once_for_each_path() -> None:
    paths = known_paths([grammar(20)])

    assert paths == known_paths([grammar(1)])
    assert {"$.root", "$.root.left.right", "$.root.right.right.left"} <= paths


def test_of_a_schema_without_end_the_paths_nearest_to_its_top_are_known() -> None:
    names = [f"field_{number}" for number in range(40)]
    it = {"properties": {name: {"$ref": "#/$defs/it"} for name in names}}

    paths = known_paths([{**it, "$defs": {"it": it}}])

    assert len(paths) == 1_000
    assert {"$", *(f"$.{name}" for name in names)} <= paths
    assert f"$.{names[0]}.{names[-1]}" in paths
    assert max(path.count(".") for path in paths) == 2
