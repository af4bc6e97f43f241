"""The errors whose cause a user can remove.

```
TuningError
├── ArgumentError  an argument, or the flag that sets it, has a wrong value; a ValueError too
├── DataError      the data source, its columns, labels or rows
│   └── MissingFileError  no file has the name
├── SpaceError     a search space: missing, incomplete, or without a counterpart in Optuna
│   └── SpaceBug   a mistake in a search space's own code; carries the traceback of an exception
├── StudyError     a study: opened with another configuration, empty, or locked by another process
├── StorageError   the results folder or the database: full, read-only, unreachable
├── PoolError      the cluster on which trials train: absent, unreachable, or full
├── ExportError    an export: missing, unfinished, or not equal to the trained model
├── ServeError     the server: no free port, or its packages are not installed
└── TrackerError   a tracker: not installed, unreachable, or not writable
```

Every other exception is a bug, a plain `ValueError` too: the command line shows its traceback.
"""

import re

_COLORS = re.compile(r"\x1b\[[0-9;]*m")  # Keras writes bold text into its messages.


class TuningError(Exception):
    """Base of all errors whose message contains a remedy; the command line exits with 1.

    Example:
        >>> try:
        ...     tuning.load_study("no study of this name")
        ... except tuning.TuningError as error:
        ...     print(error)
    """


class ArgumentError(TuningError, ValueError): ...


class DataError(TuningError): ...


class MissingFileError(DataError): ...


class SpaceError(TuningError): ...


class SpaceBug(SpaceError):
    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(_COLORS.sub("", message))
        self.traceback = traceback = _COLORS.sub("", traceback)
        if traceback:  # Python prints it below the message, the command line by itself.
            self.add_note(traceback)


class StudyError(TuningError): ...


class StorageError(TuningError): ...


class PoolError(TuningError): ...


class ExportError(TuningError): ...


class ServeError(TuningError): ...


class TrackerError(TuningError): ...
