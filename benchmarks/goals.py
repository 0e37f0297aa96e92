"""The goals of the project, and whether one run's figures reach them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import EMPTY, NAIVE, NOT_SAMPLED, NOTHING, OURS, QUICK
from benchmarks.rounds import Median

Row = Mapping[str, object]
Part = Sequence[Row]
"""The rows of one part of the table, one for each that took part."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and what it should be at most.

    Attributes:
        what: Is measured.
        most: It should be.
        found: It is; `None` if it was not measured.
    """

    what: str
    most: float
    found: float | None

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.found is not None and self.found <= self.most

    def __str__(self) -> str:
        """As the end of a run shows it."""
        found = "not measured" if self.found is None else f"{self.found:.2f}"
        mark = "reached    " if self.reached else "NOT REACHED"
        return f"{mark}  {self.what}: goal <= {self.most:g}: {found}"


def number(part: Part, who: str, figure: str) -> float | None:
    """A figure of one of those who took part; of several rounds the median."""
    value = next((row.get(figure) for row in part if row.get("who") == who), None)
    match value:
        case Median():
            return value.median
        case {"median": int() | float() as median}:  # read back from JSON
            return float(median)
        case int() | float():
            return float(value)
        case _:
            return None


def goals(parts: Mapping[str, Part]) -> list[Goal]:
    """Those of every part that was measured."""
    return [goal for name, part in parts.items() for goal in _of(name, part, parts)]


def _of(name: str, part: Part, parts: Mapping[str, Part]) -> Iterator[Goal]:
    match name.split(", "):
        case ["dispatch", mode, *how]:
            yield from _dispatched(mode, how, part, parts)
        case ["paced", mode, "1000 tokens", "5 candidates"]:
            end = number(part, OURS, "end ms")
            yield Goal(f"{mode}, end of a call of 1,000 tokens, one a ms, 5 candidates, ms", 5, end)
        case ["memory", *_]:
            yield Goal("bytes kept a token", 250, number(part, OURS, "bytes kept a token"))
        case ["lateness", of]:
            yield from _late(of, part)
        case ["delivery"]:
            yield Goal("token spans lost", 0, number(part, OURS, "lost"))
            yield Goal("application's spans evicted", 0, number(part, OURS, "evicted"))
        case ["soak"]:
            yield Goal(
                "resident memory after 10,000 calls / after 1,000",
                1.05,
                number(part, "last", "x first"),
            )
        case ["import"]:
            yield from _imports(part)
        case _:
            pass


def _dispatched(
    mode: str, how: Sequence[str], part: Part, parts: Mapping[str, Part]
) -> Iterator[Goal]:
    match how:
        case ["1000 tokens", "0 candidates" | "5 candidates" as candidates]:
            end = number(part, OURS, "end ms")
            what = f"end of a call of 1,000 tokens at full speed, {candidates}, ms"
            yield Goal(f"{mode}, {what}", 5, end)
            yield from _dispatch(mode, part) if candidates == "5 candidates" else ()
        case ["1000 tokens", "5 candidates", "OTLP"]:
            yield from _exported(mode, part)
        case ["1000 tokens", "5 candidates", "langchain_dispatch" as patch]:
            yield from _streamed(f"{mode}, {patch}", part)
        case ["16000 tokens", "5 candidates"]:
            before = parts.get(f"dispatch, {mode}, 1000 tokens, 5 candidates", ())
            for figures, what in (_STREAM, "streaming"), (_CALL, "streaming and end of the call"):
                yield Goal(
                    f"{mode}, added a token at 16,000 tokens / at 1,000: {what}",
                    1.3,
                    _over(_added(part, OURS, figures, 16000), _added(before, OURS, figures, 1000)),
                )


def _streamed(how: str, part: Part) -> Iterator[Goal]:
    yield Goal(f"{how}, stream's thread, x empty", 1.5, number(part, OURS, "x empty"))
    yield Goal(
        f"{how}, stream's thread, added / that of a span per token",
        0.1,
        number(part, OURS, "added / span in callback"),
    )


def _dispatch(mode: str, part: Part) -> Iterator[Goal]:
    yield from _streamed(mode, part)
    ours, empty, naive = (number(part, who, "stream us") for who in (OURS, EMPTY, NAIVE))
    if ours is not None and empty is not None and naive is not None:
        yield Goal(
            f"{mode}, stream's thread, added to an empty callback / that of a span per token",
            0.1,
            _over(ours - empty, naive - empty),
        )
    yield Goal(f"{mode}, not sampled, x empty", 1.1, number(part, NOT_SAMPLED, "x empty"))
    if mode == "async":
        added = _added(part, OURS, _STREAM, 1000)
        for other in ("Langfuse", "genai-langchain", "OpenInference"):
            yield Goal(
                f"async, stream's thread, added / that of {other}",
                0.1,
                _over(added, _added(part, other, _STREAM, 1000)),
            )


def _late(exporter: str, part: Part) -> Iterator[Goal]:
    for who, of in (OURS, exporter), (QUICK, "our exporter"):
        if (own := number(part, who, "median")) is not None:
            late = _over(own, number(part, NOTHING, "median"))
            yield Goal(f"paced stream, {of}: median lateness / without", 1.5, late)
            yield Goal(f"paced stream, {of}: p99 lateness, ms", 10, number(part, who, "p99"))


def _exported(mode: str, part: Part) -> Iterator[Goal]:
    for who, exporter in (OURS, "OpenTelemetry's exporter"), (QUICK, "our exporter"):
        yield Goal(
            f"{mode}, whole process and export, added / that of a span per token: {exporter}",
            0.25,
            number(part, who, "process added / span in callback"),
        )


_STREAM = ("stream us",)
_CALL = ("stream us", "end ms")


def _added(part: Part, who: str, figures: Sequence[str], tokens: int) -> float | None:
    """What one adds to no callback, us a token."""
    own, nothing = _spent(part, who, figures, tokens), _spent(part, NOTHING, figures, tokens)
    return None if own is None or nothing is None else own - nothing


def _spent(part: Part, who: str, figures: Sequence[str], tokens: int) -> float | None:
    values = [number(part, who, of) for of in figures]
    scales = [1e3 / tokens if of == "end ms" else 1.0 for of in figures]
    return (
        sum(value * scale for value, scale in zip(values, scales, strict=True) if value is not None)
        if None not in values
        else None
    )


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _imports(part: Part) -> Iterator[Goal]:
    own, nothing = number(part, "import langchain_logprobs", "ms"), number(part, "python", "ms")
    more = None if own is None or nothing is None else own - nothing
    yield Goal("import langchain_logprobs, ms on top of Python", 20, more)
    yield Goal(
        "command line imports LangChain", 0, number(part, "command line", "imports LangChain")
    )
