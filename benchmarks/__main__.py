"""Everything that is measured side by side, in one run: one table, and JSON beside it.

    make bench                  # all of it
    make bench BENCH=--quick    # a few minutes, and less exact
    make bench BENCH="--only dispatch lateness"

Every figure is the median of interleaved rounds; what is behind ± is half of the distance between
the quartiles. `dispatch` and whole calls, sync and async, are not measured in all combinations of
tokens, candidates, calls at once and exporters: one of these changes at a time, from 1,000 tokens
of 5 candidates, one call, no exporter.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import delivery, dispatch, lateness, sent, soak, startup, whole
from benchmarks.contestants import BASELINES, EVERYBODY, NOTHING, OTHERS, OURS, QUICK
from benchmarks.goals import Part, goals
from benchmarks.processes import running
from benchmarks.rounds import RESULTS, Table, interleaved, write
from benchmarks.stage import Stage, staged
from benchmarks.whole import Calls

FEW = (*BASELINES, OURS, "ours, token_spans=none")
PATCHED = "langchain_dispatch"
"""Where that patch is applied, for all alike."""
MAIN = (*FEW, *OTHERS)
"""Where everybody would take too long."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is at hand while it runs.

    Attributes:
        quick: Whether to hurry.
        receiver: Where OTLP goes.
        model: Where ChatOpenAI asks.
        stages: Of those whose spans go nowhere, of those whose spans go to the receiver, and of
            those in whose processes LangChain is patched.
    """

    quick: bool
    receiver: str
    model: str
    stages: Mapping[str, Stage]

    def rounds(self, many: int) -> int:
        """So many, or next to none if it hurries."""
        return min(many, 2) if self.quick else many


def dispatched(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Callback managers driven directly."""
    shapes = [(1000, 5, "", EVERYBODY, 9), (1000, 5, "OTLP", EVERYBODY, 5)]
    shapes += [
        (100, 5, "", EVERYBODY, 9),
        (1000, 0, "", EVERYBODY, 5),
        (1000, 20, "", EVERYBODY, 5),
        (4000, 5, "", MAIN, 3),
        (16000, 5, "", FEW, 7),
    ]
    for tokens, candidates, export, names, rounds in shapes:
        if bench.quick and tokens in {100, 4000}:
            continue
        for mode in ("sync", "async"):
            name = f"dispatch, {mode}, {tokens} tokens, {candidates} candidates"
            table = dispatch.table(
                bench.stages[export],
                mode,
                tokens,
                candidates,
                rounds=bench.rounds(rounds),
                names=names,
            )
            yield f"{name}, {export}" if export else name, table.rows
    name = f"dispatch, async, 1000 tokens, 5 candidates, {PATCHED}"
    stage, rounds = bench.stages[PATCHED], bench.rounds(9)
    yield name, dispatch.table(stage, "async", 1000, 5, rounds=rounds, names=FEW).rows


def ends(bench: Bench) -> Iterator[tuple[str, Part]]:
    """The end of a call of which a token comes every millisecond, or twice as often."""
    shapes = [(1000, 5, 0.001, (*FEW, "ours, content"), 7), (1000, 20, 0.001, FEW, 3)]
    shapes += [(16000, 5, 0.0005, (NOTHING, OURS), 2)]
    for tokens, candidates, pause, names, rounds in shapes[:1] if bench.quick else shapes:
        for mode in ("sync", "async"):
            table = dispatch.ends(
                bench.stages[""],
                mode,
                tokens,
                candidates,
                pause=pause,
                rounds=bench.rounds(rounds),
                names=names,
            )
            yield f"paced, {mode}, {tokens} tokens, {candidates} candidates", table.rows


def kept(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Memory while an answer streams, and at the end of the call."""
    table = dispatch.memory(bench.stages["OTLP"], 1000, 5, EVERYBODY)
    yield "memory, 1000 tokens, 5 candidates", table.rows


def called(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Whole calls."""
    shapes = [("fake", 1000, 1, "", 5), ("ChatOpenAI", 1000, 1, "OTLP", 3)]
    shapes += [("ChatOpenAI", 100, 10, "OTLP", 3), ("ChatOpenAI", 50, 100, "OTLP", 2)]
    more = [("ChatOpenAI", 1000, 1, "", 5), ("fake", 50, 100, "OTLP", 3)]
    more += [("fake", 16000, 1, "", 2)]
    for model, tokens, at_once, export, rounds in shapes if bench.quick else [*shapes, *more]:
        for mode in ("sync", "async"):
            calls = Calls(model, mode, tokens, 5, at_once, bench.model)
            names = FEW if tokens > 1000 else MAIN
            asking = bench.stages[export].asking(whole.called, calls, names=names)
            label = f"{calls}, {export}" if export else str(calls)
            found = interleaved(asking, rounds=bench.rounds(rounds), label=label)
            figures = {"stream": "stream us", "wall": "wall us", "process": "process us"}
            yield (
                label,
                [
                    {"who": name, **{figures[key]: of for key, of in found[name].items()}}
                    for name in found
                ],
            )


def paced(bench: Bench) -> Iterator[tuple[str, Part]]:
    """A paced stream beside a worker that is busy."""
    for export, title in ("", "no exporter"), ("OTLP", "OTLP exporter"):
        stage = bench.stages[export]
        names = (*FEW, QUICK) if export else FEW
        asking = stage.asking(lateness.paced, 500 if bench.quick else 1500, 90, names=names)
        found = interleaved(asking, rounds=bench.rounds(5), label=f"lateness, {title}")
        yield f"lateness, {title}", [{"who": name, **found[name]} for name in found]


def sent_by_call(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Bytes."""
    yield "sent, 1000 tokens", sent.rows(bench.receiver, 1000, [0, 5, 20])


def delivered(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Loss at full speed."""
    tokens = 20_000 if bench.quick else 100_000
    yield "delivery", [delivery.delivered(who, tokens, 100, 0.1) for who in delivery.WHO]


def soaked(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Memory over many calls."""
    rows = soak.soaked(*((1000, 50) if bench.quick else (10_000, 100)))
    yield "soak", soak.compared(rows)


def imported(bench: Bench) -> Iterator[tuple[str, Part]]:
    """Imports."""
    found = startup.started(bench.rounds(15))
    rows = [{"who": name, **of} for name, of in found.items()]
    rows[-1]["imports LangChain"] = int(startup.imports_langchain())
    yield "import", rows


PARTS: Mapping[str, Callable[[Bench], Iterator[tuple[str, Part]]]] = {
    "import": imported,
    "dispatch": dispatched,
    "ends": ends,
    "memory": kept,
    "whole": called,
    "lateness": paced,
    "sent": sent_by_call,
    "delivery": delivered,
    "soak": soaked,
}


def main() -> None:
    """Measures what is asked for, prints it, and says which goals are reached."""
    options = _options()
    begun = time.monotonic()
    parts: dict[str, Part] = {}
    failed: dict[str, str] = {}
    with ExitStack() as servers:
        receiver = servers.enter_context(running("benchmarks.receiver"))
        model = servers.enter_context(running("benchmarks.streaming_server"))
        bench = Bench(options.quick, receiver, model, _stages(servers, options.only, receiver))
        for name in options.only:
            try:
                parts.update(PARTS[name](bench))
            except RuntimeError as error:  # a contestant that fails ends its part, not the rest
                failed[name] = str(error)
            minutes = (time.monotonic() - begun) / 60
            _tell(parts, options, minutes=round(minutes, 1), failed=failed)
    _print(parts, failed)
    sys.exit(1 if failed else 0)


def _table(parts: Mapping[str, Part]) -> Table:
    rows = [{"part": name, **row} for name, part in parts.items() for row in part]
    return Table("What it costs", rows, heading="part")


def _tell(parts: Mapping[str, Part], options: argparse.Namespace, **more: object) -> None:
    """Writes what there is so far: whoever stops a run keeps what it has measured."""
    write(options.json, [_table(parts)], goals=goals(parts), quick=options.quick, **more)


def _print(parts: Mapping[str, Part], failed: Mapping[str, str]) -> None:
    told = goals(parts)
    _table(parts).print()
    print("\nGoals", *told, sep="\n")
    print(f"{sum(goal.reached for goal in told)} of {len(told)} reached.")
    for name, error in failed.items():
        print(f"FAILED: {name}: {error}")


def _stages(servers: ExitStack, only: Sequence[str], receiver: str) -> dict[str, Stage]:
    """Those that the parts need."""
    wide = {"dispatch", "ends", "memory", "whole"} & set(only)
    if not wide and "lateness" not in only:
        return {}
    names = EVERYBODY if wide else (*FEW, QUICK)  # for which nobody else has to be installed
    stages = {
        export: servers.enter_context(staged(names, address))
        for export, address in (("", None), ("OTLP", receiver))
    }
    if "dispatch" in only:
        stages[PATCHED] = servers.enter_context(staged(FEW, patch=PATCHED))
    return stages


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="minutes, and less exact")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=RESULTS / "bench.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
