"""The entry point of `python -m tuning` and of the command `keras-text-tuning`."""

import sys

from tuning.commands import INTERRUPTED


def run() -> None:
    try:
        from tuning.cli.app import main

        main()
    except KeyboardInterrupt:  # The command has not begun: its imports take most of a second.
        sys.stderr.write(f"{INTERRUPTED}\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
