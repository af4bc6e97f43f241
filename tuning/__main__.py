"""`python -m tuning`."""

from tuning.cli.commands import main

if __name__ == "__main__":
    main()
