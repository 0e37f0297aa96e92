"""`python -m langchain_logprobs.local`: the local model for anything that speaks OpenAI's API."""

from __future__ import annotations

import argparse
import sys
import time

from langchain_logprobs.local import TIMEOUT, LocalModelUnavailable, healthy, local_model


def main(arguments: list[str] | None = None) -> int:
    """Serves the model until Ctrl-C; gives the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with local_model(port=options.port, timeout=options.timeout, progress=_print) as local:
            print(_INSTRUCTIONS.format(local=local), flush=True)  # noqa: T201
            while healthy(local.base_url.removesuffix("/v1")):
                time.sleep(1.0)
        print("The server has stopped by itself.", file=sys.stderr)  # noqa: T201
    except LocalModelUnavailable as error:
        print(error, file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        return 0
    return 1


_INSTRUCTIONS = """\
base_url  {local.base_url}
model     {local.model}
api_key   any

  ChatOpenAI(base_url="{local.base_url}", model="{local.model}", api_key="any", temperature=0,
             stop=["\\n", "Q:"], logprobs=True, top_logprobs=5)

Ctrl-C stops it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_logprobs.local",
        description="Serve a real, small language model (Gemma 3 270M) on this machine, behind an "
        "OpenAI-compatible API with logprobs, until Ctrl-C. It needs no key, no network and half a "
        "gigabyte of memory. The Gemma Terms of Use apply: https://ai.google.dev/gemma/terms",
    )
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        help="seconds to wait for it (default: %(default)g)",
    )
    return parser


def _print(doing: str, done: float | None) -> None:
    if done in (None, 0.0):
        print(f"{doing} ...", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":  # pragma: no cover - runs in processes of its own
    sys.exit(main())
