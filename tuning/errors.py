"""The errors whose cause a user can remove.

```
TuningError
├── ArgumentError  an argument, or the flag that sets it, has a wrong value; a ValueError too
├── DataError      the data source, its columns, labels or rows
├── SpaceError     a search space: missing, incomplete, or without a counterpart in Optuna
│   └── SpaceBug   an exception raised by a search space's own code; carries its traceback
├── StudyError     a study: opened with another configuration, empty, or locked by another process
├── StorageError   the results folder or the database: full, read-only, unreachable
├── PoolError      the cluster on which trials train: absent, unreachable, or full
├── ExportError    an export: missing, unfinished, or not equal to the trained model
├── ServeError     the server: no free port, or its packages are not installed
└── TrackerError   a tracker: not installed, unreachable, or not writable
```

Every other exception is a bug, a plain `ValueError` too: the command line shows its traceback.
"""


class TuningError(Exception):
    """Base of all errors whose message contains a remedy; the command line exits with 1.

    Example:
        >>> try:
        ...     tuning.load_study("no study of this name")
        ... except tuning.TuningError as error:
        ...     print(error)
    """


class ArgumentError(TuningError, ValueError):
    """An argument lies outside its range, or contradicts another argument.

    The error is a `ValueError` too, which callers of the library can catch without this class.
    """


class DataError(TuningError):
    """The data can't be read, or can't be used for classification."""


class SpaceError(TuningError):
    """A search space is missing, incomplete or has no Optuna counterpart."""


class SpaceBug(SpaceError):
    """A search space's code raised an exception, whose traceback is `traceback`, or is wrong in
    another way.
    """

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class StudyError(TuningError):
    """A study can't be opened, continued or read."""


class StorageError(TuningError):
    """Results can't be written or read."""


class PoolError(TuningError):
    """Workers can't be started on the cluster."""


class ExportError(TuningError):
    """An export is missing, unfinished or wrong."""


class ServeError(TuningError):
    """The server can't be started."""


class TrackerError(TuningError):
    """A study can't be written to a tracker."""
