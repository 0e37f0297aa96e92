"""Calls in threads of their own: waited for as long as one likes, and no error is lost."""

from __future__ import annotations

import threading

import pytest
from conftest import PATIENCE

from langchain_logprobs.telemetry.aside import Aside


def test_a_call_goes_on_whoever_waits_and_its_result_is_there_afterwards() -> None:
    gate = threading.Event()
    aside = Aside(lambda: gate.wait(PATIENCE))

    assert aside.result(0.01) is None
    assert aside.is_under_way
    gate.set()
    assert aside.result(PATIENCE) is True
    assert not aside.is_under_way


def test_what_a_call_raises_is_raised_where_it_is_asked_for() -> None:
    def fail() -> None:
        raise OSError("gone")

    aside = Aside(fail)

    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            aside.result(PATIENCE)


def test_where_no_thread_starts_the_call_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    aside = Aside(lambda: 7)

    assert not aside.is_under_way
    assert aside.result() == 7
