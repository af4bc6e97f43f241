"""The parameters of commands and of the Python interface: as the settings of a call, and in the
messages of errors.

The functions behind the interface are called by the commands too. Their messages therefore name
flags, which parameters replace in Python.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tuning.commands import with_commands, with_names
from tuning.config import given, parse_objectives
from tuning.errors import ArgumentError, TuningError

if TYPE_CHECKING:
    from tuning.search.session import Workers

P = ParamSpec("P")
T = TypeVar("T")

# Parameters whose names differ from the names of their flags.
ALIASES = {"dir": "project", "file": "configurations", "from": "study", "slice": "slice_column"}


@contextlib.contextmanager
def parameters_in_messages() -> Iterator[None]:
    """Replace flags in the message of a `TuningError` by parameters, and commands of make by
    commands that exist without a Makefile, and raise the error again.
    """
    try:
        yield
    except TuningError as error:
        error.args = (with_commands(with_parameters(str(error))), *error.args[1:])
        raise


def with_parameters(message: str) -> str:
    """Return a message with parameters instead of flags: `n_trials` instead of `--n-trials`.

    Commands in backticks are not changed, and neither are flags without a parameter.
    """
    flags = {name.replace("_", "-") for name in _parameters()} | {*ALIASES}
    return with_names(message, flags, lambda flag: ALIASES.get(flag, flag.replace("-", "_")))


@functools.cache
def _parameters() -> frozenset[str]:
    """Return the names of the parameters of all public functions and methods."""
    from tuning.api.comparison import Comparison, compare, load_comparison
    from tuning.api.exports import Export, load_export
    from tuning.api.search import tune
    from tuning.api.study import Study, load_study
    from tuning.api.study_view import StudyView

    kinds = (Comparison, Export, Study, StudyView)
    methods = [method for kind in kinds for method in _public_functions(kind).values()]
    functions: list[Callable[..., object]] = [tune, compare, load_comparison, load_export]
    functions += [load_study, *methods]
    return frozenset(name for made in functions for name in inspect.signature(made).parameters)


def _public_functions(kind: type) -> dict[str, FunctionType]:
    return {
        name: member
        for name, member in vars(kind).items()
        if isinstance(member, FunctionType) and not name.startswith("_")
    }


def public_function(function: Callable[P, T]) -> Callable[P, T]:
    """Apply `parameters_in_messages` to a function, and give it Python's own numbers: a number of
    NumPy is converted, and so is a float such as 1e6 that is given for an integer.

    The function raises an `ArgumentError` for another value that is given for a number.
    """
    signature = inspect.signature(function)
    kinds = {
        name: str(parameter.annotation).removesuffix(" | None")
        for name, parameter in signature.parameters.items()
    }

    @functools.wraps(function)
    @parameters_in_messages()
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # The call itself raises it too, with Python's own words.
            return function(*args, **kwargs)
        for name, value in bound.arguments.items():
            if kinds[name] in ("int", "float") and value is not None:
                bound.arguments[name] = _plain_number(name, value, is_whole=kinds[name] == "int")
        return function(*bound.args, **bound.kwargs)

    return called


def _plain_number(name: str, value: Any, *, is_whole: bool) -> float:
    plain = value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value
    is_number = isinstance(plain, int | float) and not isinstance(plain, bool)
    if not is_number or (is_whole and not float(plain).is_integer()):
        kind = "a whole number" if is_whole else "a number"
        raise ArgumentError(f"{name} must be {kind}; received {value!r}.")
    number: float = int(plain) if is_whole else plain
    return number


def public(kind: type[T]) -> type[T]:
    """Apply `public_function` to the public methods of a class, and `parameters_in_messages` to its
    properties.
    """
    for name, method in _public_functions(kind).items():
        setattr(kind, name, public_function(method))
    decorate = parameters_in_messages()
    for name, member in [*vars(kind).items()]:
        if isinstance(member, property) and member.fget:
            setattr(kind, name, property(decorate(member.fget), doc=member.__doc__))
    return kind


def data_settings(
    *,
    data: str | None,
    text_column: str | None,
    label_column: str | None,
    data_dir: str | Path | None,
    positive_from: float | None,
    drop_stars: Sequence[float] | None,
) -> dict[str, Any]:
    """Return the given arguments about the data by the fields of `DataConfig`.

    Raises:
        ArgumentError: `drop_stars` is a number.
    """
    if isinstance(drop_stars, int | float):
        raise ArgumentError(f"--drop-stars must be a list of numbers; received {drop_stars}.")
    return given(
        data=data,
        text_column=text_column,
        label_column=label_column,
        data_dir=None if data_dir is None else str(Path(data_dir).expanduser()),
        positive_from=positive_from,
        drop_stars=None if drop_stars is None else [*drop_stars] or None,
    )


def objective_settings(text: str, *, metric: str | None, pruner: str | None) -> dict[str, Any]:
    """Return the fields of `StudyConfig` that `--objectives` sets.

    The pruner is none without `--pruner`; `StudyConfig` refuses other pruners.

    Raises:
        ArgumentError: `text` is not a metric and costs, or its metric differs from `--metric`.
    """
    first, costs = parse_objectives(text)
    if metric not in (None, first):
        raise ArgumentError(
            f"--metric must be the first of --objectives, or left out; received {metric!r} and"
            f" {text!r}."
        )
    return {"metric": first, "costs": costs, "pruner": pruner or "none"}


def preset_place(preset: str | Path) -> str:
    """Return a preset as a study records it: the absolute path of a folder, or an unchanged name or
    address.
    """
    folder = Path(preset).expanduser()
    return str(folder.absolute()) if folder.is_dir() else str(preset)


def chosen_workers(
    n_workers: int | None,
    *,
    pool: str = "process",
    ray_address: str | None = None,
    per_worker: tuple[float | None, float | None] = (None, None),
    trial_seconds: float | None = None,
    trial_memory_mb: float | None = None,
    silent_seconds: float | None = None,
) -> Workers:
    """Return the workers and the limits of a trial that the arguments choose.

    Args:
        per_worker: the CPUs and the GPUs that Ray reserves for each worker; None: Ray's defaults.

    Raises:
        ArgumentError: a value is out of range, or an argument of Ray is given for another pool.
    """
    from tuning.search.session import Workers
    from tuning.workers.limits import TrialLimits
    from tuning.workers.pools import PoolChoice

    if n_workers is not None and n_workers < 1:
        raise ArgumentError(f"--workers must be 1 or more; received {n_workers}.")
    limits = given(seconds=trial_seconds, memory_mb=trial_memory_mb, silent_seconds=silent_seconds)
    cpus, gpus = per_worker
    return Workers(
        n_workers=n_workers,
        limits=TrialLimits(**limits),
        pool=PoolChoice(
            pool=pool, ray_address=ray_address, cpus_per_worker=cpus, gpus_per_worker=gpus
        ),
    )
