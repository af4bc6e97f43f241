"""What a user can mend.

```
TuningError
├── DataError      the source, its columns, labels or rows
├── SpaceError     a search space: missing, incomplete, or not expressible in Optuna
│   └── SpaceBug   an exception out of a search space's own code; carries its traceback
├── StudyError     a study: opened with something else, empty, or locked by another process
├── StorageError   the results folder or the database: full, read-only, unreachable
├── PoolError      the cluster that trials train on: absent, unreachable, without room
├── ExportError    an export: missing, unfinished, or not equal to the trained model
└── ServeError     the server: no free port, or its packages are not there
```

A bad argument to a function is a `ValueError` or a `TypeError` and stands outside this tree.
"""


class TuningError(Exception):
    """Base of all errors that one sentence explains; the command line exits with 1."""


class DataError(TuningError):
    """The data can't be read or can't be used for classification."""


class SpaceError(TuningError):
    """A search space is missing, incomplete or has no Optuna counterpart."""


class SpaceBug(SpaceError):
    """A search space's code raised; `traceback` holds what it said."""

    def __init__(self, message: str, *, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


class StudyError(TuningError):
    """A study can't be opened, continued or read."""


class StorageError(TuningError):
    """Results can't be written or read."""


class PoolError(TuningError):
    """Workers can't be started where they were asked for."""


class ExportError(TuningError):
    """An export is missing, unfinished or wrong."""


class ServeError(TuningError):
    """The server can't be started."""
