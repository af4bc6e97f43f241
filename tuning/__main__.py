"""The entry point of `python -m tuning` and of the command `keras-text-tuning`."""

import sys

from tuning.commands import INTERRUPTED


def run() -> None:
    try:
        from tuning.cli.app import main

        main()
    except KeyboardInterrupt as interrupt:
        # `end_script` gives a reason, because the search has printed a sentence.
        if not interrupt.args:
            sys.stderr.write(f"{INTERRUPTED}\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
