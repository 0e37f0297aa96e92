"""What is known of an object is made once, for as long as it lives, in whichever process."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count

import pytest
from conftest import PATIENCE

from langchain_logprobs.telemetry.identity import OfEach


class Thing:
    """Something that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]


def test_a_value_is_made_once_for_each_object_and_forgotten_with_it() -> None:
    numbers, one, other = count(), Thing(), Thing()
    known = OfEach(lambda _: next(numbers))

    assert [known[one], known[other], known[one]] == [0, 1, 0]
    assert one in known
    del one
    assert len(known._known) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    code = """
import os, signal, threading, warnings
from langchain_logprobs.telemetry.identity import OfEach

warnings.simplefilter("ignore", DeprecationWarning)
under_way, gate = threading.Event(), threading.Event()

class Thing:
    slow = False

def make(of):
    if of.slow:
        under_way.set()
        gate.wait()
    return 7

slow, quick = Thing(), Thing()
slow.slow = True
known = OfEach(make)
thread = threading.Thread(target=known.__getitem__, args=(slow,))
thread.start()
under_way.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(known[quick])
gate.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert (done.stdout, done.stderr) == ("7\n", "")
