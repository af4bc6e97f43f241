"""The entry point of `python -m tuning`."""

from tuning.cli.app import main

if __name__ == "__main__":
    main()
