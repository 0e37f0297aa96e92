"""What is public is what `__all__` says, and asking for it costs only what it needs."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import FunctionType

import pytest

import langchain_logprobs

PUBLIC = langchain_logprobs.__all__
_PAGE = Path(__file__).parents[1] / "docs" / "api.md"
_ELSEWHERE = re.findall(
    r"^\.\. auto(?:class|exception|function):: (langchain_logprobs\.\S+)",
    _PAGE.read_text(),
    re.MULTILINE,
)
DOCUMENTED = [*(f"langchain_logprobs.{name}" for name in PUBLIC), *_ELSEWHERE]


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_stands_in_one_home_and_there_alone() -> None:
    homes = [name for names in langchain_logprobs._HOMES.values() for name in names]

    assert sorted(homes) == sorted(PUBLIC)
    assert len(set(homes)) == len(homes)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_one_of_its_home(name: str) -> None:
    home = importlib.import_module(f"langchain_logprobs.{langchain_logprobs._HOME_OF[name]}")

    assert getattr(langchain_logprobs, name) is getattr(home, name)


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_public_class_or_function_is_documented_and_dated(path: str) -> None:
    home, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(home), name)

    # A type alias has its words beside it, where no program can ask for them.
    if isinstance(value, (type, FunctionType)):
        assert ".. versionadded:: " in (value.__doc__ or "")


def test_names_are_found_as_one_would_look_for_them() -> None:
    assert set(PUBLIC) <= set(dir(langchain_logprobs))
    assert dir(langchain_logprobs) == sorted(dir(langchain_logprobs))
    assert langchain_logprobs.__version__ == version("langchain-logprobs")


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"'langchain_logprobs' has no attribute 'nothing'"):
        _ = langchain_logprobs.nothing
    with pytest.raises(ImportError):
        exec("from langchain_logprobs import nothing")


def test_importing_the_package_imports_neither_langchain_nor_opentelemetry() -> None:
    heavy = ("langchain_core", "opentelemetry", "pydantic", "asyncio", "sqlite3")
    # What measures coverage is there before.
    code = (
        "import sys; before = set(sys.modules); import langchain_logprobs; "
        f"print([of for of in {heavy!r} if of in set(sys.modules) - before])"
    )

    assert run(code) == "[]"


@pytest.mark.parametrize(
    "name", ["confidence_of", "TokenLogprob", "redact", "CallReport", "Settings", "through"]
)
def test_values_and_measures_need_neither(name: str) -> None:
    code = (
        f"import sys; from langchain_logprobs import {name}; "
        "print([of for of in ('langchain_core', 'opentelemetry') if of in sys.modules])"
    )

    assert run(code) == "[]"


def test_everything_can_be_imported_at_once_and_is_looked_up_once() -> None:
    code = (
        "from langchain_logprobs import *; import langchain_logprobs as of; "
        "print(set(of.__all__) <= set(globals()), set(of.__all__) <= set(vars(of)))"
    )

    assert run(code) == "True True"


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(langchain_logprobs.__file__).parent / "py.typed").is_file()
