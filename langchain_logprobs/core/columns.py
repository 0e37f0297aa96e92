"""Lists of token entries to columns: what the answers of most providers come as.

An answer has thousands of entries and alternatives, and they are read while the user waits for the
end of the call. So one loop looks at each just once, and at nothing but what the numbers need. An
entry that is unusual in whichever way takes several times as long, and holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import methodcaller
from typing import Any, NamedTuple, cast

from langchain_logprobs.core.confidence import sound_logprob
from langchain_logprobs.core.packed import Packed, small
from langchain_logprobs.core.said import ESCAPE, SAID, raw_from, readable
from langchain_logprobs.core.tokens import (
    CENSORED,
    Block,
    Channel,
    Tokens,
)

_WIDE = 32
"""More alternatives than this are not each compared with all the others."""
_MOST = 10_000
"""Values in an entry, of which as many as that are looked at."""
_SCALARS = {str, float, int, bool, type(None)}
"""What JSON has beside objects and arrays."""
_KINDS: dict[str, type] = {"bytes": list, "token": str}
"""Of what type that is which tells alternatives apart."""
_BYTES = methodcaller("get", "bytes")


class Alternative(NamedTuple):
    """What else was weighed at one position.

    Attributes:
        key: What makes two of them the same.
        logprob: Sound.
        told: Where its text and its bytes are, as they were given.
    """

    key: object
    logprob: float
    told: dict[str, Any]


def tokens_of_entries(
    entries: Sequence[object],
    times: Iterable[int | None] = repeat(None),
    channel: Channel = "content",
    *,
    gaps: bool = True,
    json: bool = False,
) -> Tokens | None:
    """The tokens of a list of entries such as OpenAI's; `None` if these are none.

    Alternatives are told apart by their bytes as they were given. What their texts are is looked at
    when somebody asks: the numbers do not need them.

    Args:
        entries: Dicts, or objects with such attributes.
        times: When each arrived, if they were streamed.
        channel: What they are part of.
        gaps: Whether some may be missing, though not all.
        json: Whether none may hold anything but what JSON has: to read these runs nobody's code,
            if what is in their lists of bytes are numbers.

    Raises:
        Exception: Whatever the code of an entry raises that is no plain dict.
    """
    columns, missing = _Columns(), 0
    first = entries[0] if entries else None
    left = iter(entries) if json or type(first) is dict else map(_of_dicts, entries)
    while not columns.add_usual(left, _told_by(first)):
        entry = entries[len(columns)]
        if json and not _is_json(entry):
            return None
        fields = fields_of(entry)
        is_missing = gaps and entry is None
        if "logprob" not in fields and not is_missing:
            return None
        columns.add(fields)
        missing += is_missing
        first = entries[len(columns)] if len(columns) < len(entries) else None
    return columns.tokens(times, channel) if missing < len(columns) or not entries else None


def _told_by(entry: object) -> str:
    """What tells alternatives apart in entries like this one."""
    given = entry.get("bytes") if type(entry) is dict else None
    return "bytes" if type(given) is list and given else "token"


def fields_of(entry: object) -> Mapping[str, Any]:
    """A dict as it is, any other object's attributes: no property and no `__getattr__` is run."""
    if issubclass(type(entry), dict):  # isinstance() asks the object itself for its class
        return cast("dict[str, Any]", entry)
    try:
        fields = object.__getattribute__(entry, "__dict__")
    except AttributeError:
        return {}
    return fields if isinstance(fields, Mapping) else {}


def _of_dicts(entry: object) -> Mapping[str, Any]:
    """An entry as JSON would have it, where it is an object with objects in it, as Ollama's."""
    fields = fields_of(entry)
    top = fields.get("top_logprobs")
    return {**fields, "top_logprobs": list(map(fields_of, top))} if type(top) is list else fields


@dataclass(slots=True)
class _Columns:
    """What was read of entries so far, as `Tokens` and `Block` have it."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    raws: list[bytes] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        """How many entries were read."""
        return len(self.places)

    def add_usual(  # noqa: C901, PLR0911, PLR0912 - a call for each entry would take half as long
        self, entries: Iterator[Any], by: str
    ) -> bool:
        """Reads entries up to the first that is unusual; whether none was.

        Args:
            entries: Those are taken out of it, and so is that one.
            by: What tells alternatives apart: bytes, or texts where no bytes are given.
        """
        listed, told, kind = self.listed, self.told, _KINDS[by]
        texts, raws, widths = self.texts, self.raws, self.widths
        logprobs, places = self.logprobs, self.places
        start = len(listed)
        try:
            for entry in entries:
                if type(entry) is not dict:  # what another does when it is asked, nobody knows
                    return False
                text, logprob, top = entry["token"], entry["logprob"], entry["top_logprobs"]
                own = entry[by]
                if type(text) is not str or type(logprob) is not float:
                    return False
                if type(own) is not kind or not own:
                    return False
                if type(top) is not list or len(top) > _WIDE:
                    return False
                given: list[Any] = []
                last = 0.0
                for of in top:
                    if type(of) is not dict:
                        return False
                    value, its = of["logprob"], of[by]
                    if type(value) is not float or type(its) is not kind or not its:
                        return False
                    if not value <= last or its in given:  # out of order, above 0, NaN; or twice
                        return False
                    last = value
                    listed.append(value)
                    given.append(its)
                told += top
                if last <= CENSORED or len(told) != len(listed):
                    return False
                if given and not listed[start]:  # -0.0 would print as such
                    listed[start:] = [of + 0.0 for of in listed[start:]]
                if by == "token" and any(map(_BYTES, (entry, *top))):
                    return False
                raw = bytes(own) if by == "bytes" else b""  # type: ignore[call-overload]
                place = 0 if given and own == given[0] else _place(own, given)
                texts.append(text)
                logprobs.append(logprob if CENSORED < logprob < 0 else sound_logprob(logprob))
                raws.append(raw)
                widths.append(len(given))
                places.append(place)
                start = len(listed)
        except Exception:  # noqa: BLE001 - it may be no entry, or be just changing
            return False
        else:
            return True
        finally:
            del listed[start:], told[start:]

    def add(self, fields: Mapping[str, Any]) -> None:
        """Reads an entry, whatever it is like."""
        given, top = fields.get("bytes"), alternatives_in(fields.get("top_logprobs"))
        raw = raw_from(given)
        text = readable(fields.get("token"), raw)
        logprob = sound_logprob(fields.get("logprob"))
        place = _place(_key(given, text), [of.key for of in top])
        self.texts.append(text)
        self.logprobs.append(logprob)
        self.raws.append(raw or b"")
        self.widths.append(len(top))
        self.places.append(place)
        self.listed += [of.logprob for of in top]
        self.told += [of.told for of in top]

    def tokens(self, times: Iterable[int | None], channel: Channel) -> Tokens:
        """The tokens, as they arrived."""
        raws = Packed.of(self.raws)
        is_escaped = ESCAPE in "".join(self.texts)
        texts = list(map(readable, self.texts, raws)) if is_escaped else self.texts
        block = Block(self.listed, small(self.widths), small(self.places), self.told)
        return Tokens(texts, self.logprobs, raws, list(islice(times, len(self))), block, channel)


def alternatives_in(top: object) -> list[Alternative]:
    """The sound ones of whatever stands under `top_logprobs`, the most likely first, each once."""
    listed: Iterable[Mapping[str, Any]]
    if isinstance(top, dict):
        listed = ({"token": text, "logprob": logprob} for text, logprob in top.items())
    else:
        listed = map(fields_of, top) if isinstance(top, (list, tuple)) else ()
    best: dict[object, Alternative] = {}
    for fields in listed:
        logprob = fields.get("logprob")
        if type(logprob) is not float or not CENSORED < logprob < 0:
            logprob = sound_logprob(logprob)
        if logprob is not None:
            told = fields if type(fields) is dict else {of: fields.get(of) for of in SAID}
            key = _key(told.get("bytes"), told.get("token"))
            if key not in best or best[key].logprob < logprob:
                best[key] = Alternative(key, logprob, told)
    return sorted(best.values(), key=_descending)


def _descending(of: Alternative) -> float:
    return -of.logprob


def _key(given: object, text: object) -> object:
    """What makes two of them the same: their bytes as they were given, or else their text's."""
    raw = raw_from(given)
    if raw is None and isinstance(given, (list, tuple)) and given and _is_json(list(given)):
        with suppress(RecursionError):
            # Lists in a list are no bytes by any reading, so that the text counts, too.
            is_flat = set(map(type, given)) <= _SCALARS
            return tuple(given) if is_flat else (repr(given), readable(text, None))
    return tuple(readable(text, None).encode("utf-8", "surrogatepass") if raw is None else raw)


def _place(own: object, listed: Sequence[object]) -> int:
    """Which of these it is; -1 if it is none of them."""
    return listed.index(own) if own in listed else -1


def _is_json(value: object) -> bool:
    """Whether it is nothing but what JSON has, and no more of it than an entry may hold."""
    left = [value]
    for _ in range(_MOST):  # it may hold itself
        if not left:
            return True
        value = left.pop()
        kind = type(value)
        if kind is dict:
            left += cast("dict[str, Any]", value).values()
        elif kind is list:
            left += cast("list[Any]", value)
        elif kind not in _SCALARS:
            return False
    return False
