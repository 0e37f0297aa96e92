"""The process that the local model runs in."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from threading import Event, Thread
from typing import Any

from langchain_logprobs.local import GRACE, NAME

CONTEXT = 4096
"""Tokens a prompt and its answer may have together."""
ANSWER = 512
"""Tokens of an answer unless the request says: a base model rarely stops of its own accord."""

TEMPLATE = """\
{%- if not messages or messages[0].role != "system" -%}
Trivia quiz with the correct answers.

{% endif -%}
{%- for message in messages if message.role == "system" -%}
{{ message.content }}

{% endfor -%}
{%- if not messages | selectattr("role", "equalto", "assistant") | list -%}
Q: Who wrote Hamlet?
A: William Shakespeare.
Q: What is the capital of France?
A: Paris.
{% endif -%}
{%- for message in messages if message.role != "system" -%}
{{ "A" if message.role == "assistant" else "Q" }}: {{ message.content }}
{% endfor -%}
{%- if add_generation_prompt -%}
A:
{%- endif -%}
"""
"""A conversation as a model that was never taught to chat can go on with it: questions and answers.

One without an answered question is given two, so that the model sees what an answer looks like.
"""


def serve() -> None:
    """Serves the weights in `sys.argv` until standard input is closed or the parent is gone."""
    parent = os.getppid()  # now: once we are ready, it may be gone at any time
    path, port, timeout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches us too; the parent decides
    # The server is made and unmade holding the GIL: only a watchdog in C can bound that.
    faulthandler.dump_traceback_later(timeout, exit=True)
    server = _server(path, port)
    faulthandler.cancel_dump_traceback_later()
    # In one write, which no other thread's can break up.
    os.write(1, f"\nlangchain_logprobs: ready at {server.listening_address}\n".encode())
    _wait_for_the_end(parent)
    faulthandler.dump_traceback_later(GRACE, exit=True)
    del server
    faulthandler.cancel_dump_traceback_later()


def _server(path: str, port: int) -> Any:
    import xllamacpp  # noqa: PLC0415

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.model_alias = {NAME}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.cors_origins = ""
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.chat_template = TEMPLATE
    parameters.use_jinja = True
    parameters.antiprompt = ["\nQ:"]
    # One thread on two cores: a fifth slower than two when they are idle, three times faster when
    # something else runs on them, because llama.cpp's threads wait for each other by spinning.
    threads = min(max((os.cpu_count() or 1) // 2, 1), 4)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_ctx = CONTEXT
    parameters.n_predict = ANSWER
    # Logprobs differ in the third digit with what else is computed beside them, or was before.
    parameters.n_parallel = 1
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    return xllamacpp.Server(parameters)


def _wait_for_the_end(parent: int) -> None:
    closed = Event()
    Thread(target=_read_until_closed, args=(closed,), daemon=True).start()
    # A fork of the parent may hold our standard input open when it itself is gone.
    while not closed.wait(1.0) and os.getppid() == parent:
        pass  # pragma: no cover - only if that takes a second


def _read_until_closed(closed: Event) -> None:
    os.read(0, 1)  # nothing is ever written to it
    closed.set()
