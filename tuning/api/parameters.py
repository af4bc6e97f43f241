"""The parameters of the Python interface, from which the command line is derived."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeAlias, TypeVar

from cyclopts import Parameter

from tuning.config import Data, Limits, Workers, as_number
from tuning.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna
    import pandas as pd
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from tuning.api.study import Study

    DataSource: TypeAlias = str | Path | pd.DataFrame | Data | None
    SpaceSource: TypeAlias = str | Path | type | Callable[[Any], Any] | None
    SpaceSources: TypeAlias = str | Sequence[Any]
    ClassWeight: TypeAlias = str | Mapping[Any, float] | None
    Objectives: TypeAlias = str | Sequence[str] | None
    SamplerOption: TypeAlias = str | BaseSampler | None
    PrunerOption: TypeAlias = str | BasePruner | None
    WorkersOption: TypeAlias = int | Workers | None
    LimitsOption: TypeAlias = Limits | None
    Configurations: TypeAlias = (
        str
        | Path
        | pd.DataFrame
        | Mapping[str, Any]
        | Sequence[Mapping[str, Any]]
        | optuna.Study
        | Study
        | None
    )
else:
    # The command line reads annotations. It takes a text where Python also takes an object, and a
    # flag for each field of a group. It must not import pandas.
    SpaceSource = ClassWeight = Objectives = Configurations = str | None
    SamplerOption = PrunerOption = str | None
    SpaceSources = str
    DataSource = Annotated[Data | None, Parameter(name="*")]
    WorkersOption = Annotated[Workers | None, Parameter(name="*")]
    LimitsOption = Annotated[Limits | None, Parameter(name="*")]

# These options of many functions have one description. A URL may contain a password, which must not
# be visible in the list of processes, so it is also read from the environment.
StudyName = Annotated[
    str | None,
    Parameter(help="name of the study (default: the study that was used last)."),
]
ResultsFolder = Annotated[str | Path, Parameter(help="folder of all studies (default results).")]
StorageURL = Annotated[
    str | None,
    Parameter(
        env_var="STORAGE",
        help="URL of the Optuna storage (default: the file optuna.db in the folder of all"
        " studies).",
    ),
]
Trackers = Annotated[
    Sequence[str],
    Parameter(
        env_var="LOG_TO",
        help="trackers that the study is written to: mlflow:URI, tensorboard:DIR or wandb:DIR"
        " (default: none).",
    ),
]

P = ParamSpec("P")
T = TypeVar("T")


def plain_values(function: Callable[P, T]) -> Callable[P, T]:
    """Give a function Python's own numbers: a number of NumPy is converted, and so is a float such
    as 1e6 that is given for an integer. Other values given for a number are refused, and so are
    texts such as "no" that are given for True or False.
    """
    signature = inspect.signature(function)
    # Annotations are texts, because some of their types are imported for mypy alone.
    kinds = {
        name: str(parameter.annotation).removesuffix(" | None")
        for name, parameter in signature.parameters.items()
    }

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # The call raises the same error, with the name of the function.
            return function(*args, **kwargs)
        for name, value in bound.arguments.items():
            if kinds[name] in ("int", "float") and value is not None:
                bound.arguments[name] = as_number(name, value, is_integer=kinds[name] == "int")
            if kinds[name] == "bool" and value is not None:
                if value not in (True, False):  # Values of NumPy, 0 and 1 are equal to them.
                    raise ArgumentError(f"{name} must be True or False; received {value!r}.")
                bound.arguments[name] = bool(value)
        return function(*bound.args, **bound.kwargs)

    return called


def workers_of(workers: int | Workers | None) -> Workers:
    return workers if isinstance(workers, Workers) else Workers(workers)


def limits_of(limits: Limits | None) -> Limits | None:
    if not isinstance(limits, Limits | None):
        raise ArgumentError(
            "limits must be Limits(...), such as tuning.Limits(trial_seconds=600); received"
            f" {limits!r}."
        )
    return limits


def folder_of(name: str, value: str | Path) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise ArgumentError(f"{name} must be the path of a folder; received {value!r}.")
    return Path(value).expanduser()
