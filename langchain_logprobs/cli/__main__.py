"""`langchain-logprobs`, and `python -m langchain_logprobs.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line, or says what to install for it."""
    try:
        import rich  # noqa: F401, PLC0415 - it may not be installed

        from langchain_logprobs.cli.app import run  # noqa: PLC0415 - neither may this
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.exit(
            f"langchain-logprobs needs {missing.name} for its command line:\n"
            '  pip install "langchain-logprobs[cli]"'
        )
    run()


if __name__ == "__main__":
    main()
