"""`dashboards export`: what is shipped for Grafana, as files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from langchain_logprobs.cli.options import Failure, console

_CODE = (".py", ".pyc")


def copy_dashboards(folder: Path, *, overwrite: bool) -> None:
    """Copies them.

    Raises:
        Failure: There are none in this version, or the folder cannot be written.
    """
    shipped = dict(_shipped(files("langchain_logprobs").joinpath("dashboards"), Path()))
    if not shipped:
        raise Failure("This version ships no dashboards: pip install -U langchain-logprobs")
    there = [path for path in shipped if (folder / path).exists()]
    if there and not overwrite:
        raise Failure(f"{folder / there[0]} is there already: --force overwrites it.")
    out = console()
    for path, source in shipped.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        except OSError as error:
            raise Failure(
                f"{target} cannot be written: {error.strerror or error}. Choose another folder."
            ) from error
        out.print(str(target), markup=False)


def _shipped(folder: Traversable, under: Path) -> Iterator[tuple[Path, Traversable]]:
    """Every file that is data, with its path within the package."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda of: of.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _shipped(entry, under / entry.name)
        elif not entry.name.endswith(_CODE):
            yield under / entry.name, entry
