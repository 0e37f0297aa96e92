"""How sure was the model of the tool it chose, and of each argument?

Servers cut tool calls out of an answer and hand them on parsed; some leave the raw tokens in the
logprobs. What these say is searched for values equal to the parsed ones, whatever tags and names
surround them: Hermes, Qwen, Llama, Mistral and DeepSeek write JSON, Llama 4 also writes Python.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, takewhile
from typing import Any, Literal

from langchain_logprobs.core.confidence import TokenMeasures
from langchain_logprobs.core.fields import FieldConfidence, Fields, joined_fields
from langchain_logprobs.core.labels import LabelConfidence, label_confidences
from langchain_logprobs.core.scanner import Value, scan, step
from langchain_logprobs.core.text import READINGS, Aligned, own_bytes
from langchain_logprobs.core.tokens import TokenLogprob

_GAP = 64
"""Most bytes between a tool's name and its arguments, such as `[ARGS]` or `>`."""
_CALL = re.compile(rb"(?<![\w.])[A-Za-z_][\w.]*+\(")
_LIST = re.compile(rb"\[\s*+\Z")
_HEX = "[0-9a-fA-F]"
_PLAIN_ESCAPES = re.compile(
    rf"(?:[^\\]|\\[\\'\"abfnrtv\n]|\\x{_HEX}{{2}}|\\u{_HEX}{{4}})*+", re.DOTALL
)
"""Python warns of an escape that it does not know, and a warning may be an error."""
_QUOTED = re.compile(rb"(['\"])(?!\1\1)")
_LETTER = re.compile(rb"\w")
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolConfidence:
    """How sure the model was of one tool call.

    Attributes:
        name: The tool, as LangChain parsed it.
        chosen: The confidence of its name; `None` where the tokens do not hold the name.
        arguments: That of each argument, by path: `$.city`.
        labels: That of the labels that were asked for, by path.
        unavailable: Why there are no numbers; `None` if there are.

    .. versionadded:: 0.1.0
    """

    name: str
    chosen: FieldConfidence | None = None
    arguments: Fields = field(default_factory=Fields)
    labels: Mapping[str, LabelConfidence] = field(default_factory=dict)
    unavailable: Literal["provider_omits_tool_logprobs"] | None = None


@dataclass(frozen=True, slots=True)
class _Site:
    """Where the tokens may hold a call: its arguments are `values[root]` and what is in it."""

    values: Sequence[Value]
    root: int
    names: Sequence[Value]

    @property
    def arguments(self) -> Value:
        return self.values[self.root]


def tool_fields(
    tokens: Sequence[TokenLogprob],
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    labels: Mapping[str, object] | None = None,
    low_token: float = 0.5,
    measures: Sequence[TokenMeasures] | None = None,
) -> tuple[ToolConfidence, ...]:
    """The confidence of each tool call, in the order of `tool_calls`.

    Args:
        tokens: The answer's, in order, of one channel; they need not make the answer's text.
        tool_calls: What LangChain parsed, as `(name, arguments)`.
        labels: Labels to look for among the arguments, as `labels_from` takes them, by path.
        low_token: A token under this probability counts as low.
        measures: Those of `tokens` by `measure`, if they are at hand.
    """
    if not tool_calls:  # almost always, and reading tokens in every way takes its time
        return ()
    aligned, found = _best(tokens, tool_calls)
    join = partial(
        joined_fields, aligned=aligned, tokens=tokens, low_token=low_token, measures=measures
    )
    weigh = partial(label_confidences, tokens, aligned, "", labels or {})
    return tuple(
        _confidence(name, site, join, weigh)
        for (name, _), site in zip(tool_calls, found, strict=True)
    )


def same(one: object, other: object) -> bool:
    """Whether two values are equal as JSON: 1 is 1.0, but `true` is not 1, and NaN is NaN."""
    match one, other:
        case (Mapping(), Mapping()):
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case ((list() | tuple()), (list() | tuple())):
            return len(one) == len(other) and all(map(same, one, other))
        case (bool(), _) | (_, bool()):
            return one is other
        case (float(), float()) if math.isnan(one):
            return math.isnan(other)
    return bool(one == other)


def _confidence(
    name: str,
    site: _Site | None,
    join: Callable[[Sequence[Value]], Fields],
    weigh: Callable[[Fields], Mapping[str, LabelConfidence]],
) -> ToolConfidence:
    if site is None:
        return ToolConfidence(name=name, unavailable="provider_omits_tool_logprobs")
    names = join([replace(value, path="name", parent=None) for value in site.names[:1]])
    arguments = join(_subtree(site.values, site.root))
    return ToolConfidence(
        name=name,
        chosen=next(iter(names.every_field), None),
        arguments=arguments,
        labels=weigh(arguments),
    )


def _best(
    tokens: Sequence[TokenLogprob], calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[Aligned, list[_Site | None]]:
    """The first way to read the tokens that finds most of the calls, and where it finds them."""
    # Most readings make the same of most tokens: each bytes are searched once.
    read = {(of := own_bytes(tokens, reading)).data: of for reading in reversed(READINGS)}
    tried: list[tuple[Aligned, list[_Site | None]]] = []
    for aligned in reversed(read.values()):
        tried.append((aligned, _matched(aligned.data, calls)))
        if None not in tried[-1][1]:
            break
    return min(tried, key=lambda one: one[1].count(None))


def _matched(data: bytes, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[_Site | None]:
    """Of each call, the first place with its arguments, and with its name if one has it."""
    sites = [*_json_sites(data), *_python_sites(data)]
    found: list[_Site | None] = []
    for name, arguments in calls:
        equal = [of for of in sites if same(of.arguments.value, arguments)]
        named = [of for site in equal if (of := _with_name(site, name, data)).names]
        # Without a name beside it, an empty object may be anything.
        site = next(iter(named or (equal if arguments else ())), None)
        found.append(site)
        sites = [of for of in sites if site is None or of.arguments is not site.arguments]
    return found


def _with_name(site: _Site, name: str, data: bytes) -> _Site:
    """The same place with what says the name there: beside the arguments, or else before them."""
    names = [value for value in site.names if value.value == name]
    return replace(site, names=names or _name_before(data, site.arguments.start, name))


def _name_before(data: bytes, end: int, name: str) -> list[Value]:
    wanted = name.encode("utf-8", "surrogatepass")
    start = data.rfind(wanted, max(0, end - _GAP - len(wanted)), end)
    after = start + len(wanted)
    around = data[max(0, start - 1) : start] + data[after : after + 1]
    if start < 0 or not wanted or _LETTER.search(around):
        return []
    return [Value("name", name, "literal", start, after, complete=True)]


def _json_sites(data: bytes) -> Iterator[_Site]:
    """Every JSON object; one of the strings beside it may be its tool's name."""
    values = scan(data)
    beside: dict[int, list[Value]] = {}
    for value in values:
        if value.kind == "string" and value.parent is not None:
            beside.setdefault(value.parent, []).append(value)
    for index, value in enumerate(values):
        if value.kind == "object":
            names = [] if value.parent is None else beside.get(value.parent, [])
            yield _Site(values, index, names)


def _subtree(values: Sequence[Value], root: int) -> list[Value]:
    """A value and all in it, as a document of their own."""
    top = values[root]
    inside = takewhile(lambda value: value.start < top.end, values[root:])
    return [
        replace(
            value,
            path=f"${value.path[len(top.path) :]}",
            parent=None if value is top or value.parent is None else value.parent - root,
        )
        for value in inside
    ]


def _python_sites(data: bytes) -> Iterator[_Site]:
    """Every call in what reads as Python: `[weather(city="Paris"), time(zone="CET")]`."""
    called = _CALL.search(data)
    if called is None:
        return
    bracket = _LIST.search(data, max(0, called.start() - _GAP), called.start())
    start = called.start() if bracket is None else bracket.start()
    end = 1 + max(data.rfind(b")"), data.rfind(b"]"))
    reader = _PythonReader(data[start:end], start)
    for call in _calls_in(data[start:end]):
        with suppress(ValueError):  # an argument that is no constant
            yield reader.site(call)


def _calls_in(source: bytes) -> list[ast.Call]:
    """The calls in a Python list of calls, or the one that it is; none if it is anything else."""
    try:
        text = source.decode()
        body = ast.parse(text, mode="eval").body if _PLAIN_ESCAPES.fullmatch(text) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    listed = body.elts if isinstance(body, (ast.List, ast.Tuple)) else [body]
    return [call for call in listed if isinstance(call, ast.Call)]


class _PythonReader:
    """Turns calls in Python into values with their places, as the scanner does for JSON."""

    __slots__ = ("_lines", "_offset", "_source", "_values")

    def __init__(self, source: bytes, offset: int) -> None:
        self._source = source
        self._offset = offset
        self._lines = list(accumulate(map(len, source.splitlines(keepends=True)), initial=0))
        self._values: list[Value] = []

    def site(self, call: ast.Call) -> _Site:
        """The place of a call; `ValueError` if its arguments are no constants with names."""
        self._values = []
        if call.args:
            raise ValueError(call.args)
        name = self._place(call.func, "name", None)
        name.value = self._source[name.start - self._offset : name.end - self._offset].decode()
        self._read(call, "$", None)
        return _Site(self._values, 0, [name])

    def _read(self, node: ast.expr, path: str, parent: int | None) -> Any:
        place = self._place(node, path, parent)
        index = len(self._values)
        self._values.append(place)
        match node:
            case ast.Call(keywords=keywords):
                place.value = {
                    word.arg: self._read(word.value, path + step(word.arg or ""), index)
                    for word in keywords
                }
            case ast.Dict(keys=keys, values=values):
                names = [str(_constant(key)) for key in keys]
                place.value = {
                    name: self._read(value, path + step(name), index)
                    for name, value in zip(names, values, strict=True)
                }
            case ast.List(elts=items) | ast.Tuple(elts=items):
                place.value = [
                    self._read(item, f"{path}[{at}]", index) for at, item in enumerate(items)
                ]
            case _:
                place.value = _constant(node)
        place.children = len(place.value) if isinstance(place.value, (dict, list)) else 0
        return place.value

    def _place(self, node: ast.expr, path: str, parent: int | None) -> Value:
        start = self._lines[node.lineno - 1] + node.col_offset
        end = self._lines[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
        quoted = _QUOTED.match(self._source, start, end)
        return Value(
            path=path,
            value=None,
            kind="string" if quoted else "literal",
            start=self._offset + start,
            end=self._offset + end,
            complete=True,
            parent=parent,
        )


def _constant(node: ast.expr | None) -> Any:
    """The value of a string, a number or a literal, Python's or JSON's; `ValueError` for others."""
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Name(id="true" | "false" | "null" as word):
            return _CONSTANTS[word]
    raise ValueError(node)
