"""Load `search_spaces/<name>.py`, read the hyperparameters that it declares, and build its model.

Loading and building run in a worker; the coordinator receives a `SearchSpace`, which is data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config import is_keras_file
from tuning.documents import OMIT_DEFAULT, unstructure
from tuning.errors import SpaceBug, SpaceError
from tuning.inputs.features import TRAINED_LAYERS
from tuning.inputs.kinds import IDS, KINDS
from tuning.spaces.files import (
    as_hypermodel,
    find_hypermodel,
    load_module,
    run_user_code,
    short_name,
    source_sha256,
    split_place,
)
from tuning.spaces.hyperparameters import declared, replay
from tuning.spaces.keras_settings import keras_settings_of, record_keras_settings
from tuning.spaces.models import mentions_texts, takes_texts
from tuning.spaces.objects import is_object, unpickle
from tuning.spaces.ranges import (
    MAX_ORDER,
    NGRAM_ORDER,
    PRESET,
    REQUIRED,
    SMALLEST,
    Hyperparameter,
    Value,
    Values,
)
from tuning.spaces.sizes import (
    ModelSizes,
    Sizes,
    lacks_sizes,
    sizes_of_model,
    stated_lengths,
    with_sizes,
)
from tuning.spaces.starting_points import STARTING_POINTS, points_of, resolve_points

if TYPE_CHECKING:
    import keras
    import keras_tuner

# Number of tokens of a text with which an own `fit` is tried before the data are known.
N_TRIED_TOKENS = 8
MAX_BUILDS = 100  # maximum number of conditional scopes of a space that has to be explored
# Maximum number of further builds, in which a value differs from its default: enough for 32 layers,
# each with a boolean and a choice of three texts. Building 20 dense layers takes 0.1 s.
MAX_VARIATIONS = 120
# An integer up to this value may be the number of layers, which decides which names a loop
# declares. A larger integer is a size. KerasTuner's documentation has loops of up to 20 layers.
MAX_LAYERS = 32
LOADING_SEED = 0  # random seed with which a file is loaded

Build = Callable[[Any], object]


@dataclass(frozen=True)
class SearchSpace:
    """A declared search space as data: its hyperparameters in order of declaration.

    `source_sha256` is the hash of the file, which may change although the hyperparameters do not.
    `starting_points` contains the values of all active hyperparameters for each starting point, and
    `linear_points` the numbers, from 1, of those whose n-grams a linear model chooses.
    `notes` contains sentences about sizes that the space does not declare, and about its models.
    `takes_texts` is true if a model of the space takes the texts themselves.
    """

    name: str
    hyperparameters: tuple[Hyperparameter, ...]
    source_sha256: str = ""
    starting_points: tuple[Values, ...] = field(default=(), metadata=OMIT_DEFAULT)
    linear_points: tuple[int, ...] = field(default=(), metadata=OMIT_DEFAULT)
    notes: tuple[str, ...] = field(default=(), metadata=OMIT_DEFAULT)
    takes_texts: bool = field(default=False, metadata=OMIT_DEFAULT)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the declared hyperparameters. The starting points do not count."""
        text = json.dumps([unstructure(item) for item in self.hyperparameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def deciding(self) -> tuple[str, ...]:
        """The names of the hyperparameters that decide which others are active."""
        names = (name for item in self.hyperparameters for name, _ in item.conditions)
        return tuple(dict.fromkeys(names))

    def declares(self, name: str) -> bool:
        return any(item.name == name for item in self.hyperparameters)

    def searches(self, name: str, value: Value) -> bool:
        items = [item for item in self.hyperparameters if item.name == name]
        return any(value in (item.choices or (item.default,)) for item in items)

    @property
    def presets(self) -> list[str]:
        items = [item for item in self.hyperparameters if item.name == PRESET]
        return list(dict.fromkeys(str(v) for item in items for v in item.choices or [item.default]))

    def with_presets(self, presets: Iterable[str]) -> SearchSpace:
        """Return the space as if it declared these presets alone."""
        others = [item for item in self.hyperparameters if item.name != PRESET]
        fixed = [Hyperparameter(name=PRESET, kind="fixed", default=name) for name in presets]
        return replace(self, hyperparameters=(*others, *fixed))

    @property
    def searched(self) -> list[Hyperparameter]:
        return [item for item in self.hyperparameters if item.kind != "fixed"]


def load_hypermodel(path: Path) -> keras_tuner.HyperModel:
    """Execute a space's file and return its hypermodel; `path` may end in `:Name`, or be the place
    of a Python object.

    A hypermodel without `starting_points` gets the starting points of the file. Settings of Keras
    that the file changes are recorded for its models, and stay as they were for others.
    """
    import keras

    # A file may draw numbers when it is loaded, such as the vectors of words that GloVe lacks. They
    # must be the same in every process.
    keras.utils.set_random_seed(LOADING_SEED)
    with keras_settings_of(None):
        if is_object(path):
            defined = run_user_code(lambda: unpickle(path), doing=f"loading {short_name(path)}")
            hypermodel = as_hypermodel(defined, path)
            record_keras_settings(hypermodel)
            return hypermodel
        path, name = split_place(path)
        module = load_module(path)
        hypermodel = as_hypermodel(find_hypermodel(module, file=path.name, name=name), path)
        record_keras_settings(hypermodel)
    if hasattr(module, STARTING_POINTS) and not hasattr(hypermodel, STARTING_POINTS):
        setattr(hypermodel, STARTING_POINTS, getattr(module, STARTING_POINTS))
    return hypermodel


def has_own_fit(hypermodel: keras_tuner.HyperModel) -> bool:
    import keras_tuner

    # A function that is set as `fit` of an instance has no `__func__`.
    return getattr(hypermodel.fit, "__func__", None) is not keras_tuner.HyperModel.fit


def declare(
    path: Path,
    *,
    n_classes: int,
    multi_label: bool = False,
    preset: str | None = None,
    sizes: Sizes | None = None,
    try_fit: Callable[..., None] | None = None,
) -> SearchSpace:
    """Read the hyperparameters that a space declares.

    If `declare_hyperparameters` declares nothing, models are built to find the hyperparameters that
    `build` declares (`_explore`).

    `n_classes`, a fact of the data, is declared as `hp.Fixed` before the space's own declarations,
    and so is `multi_label`, if it is True. `preset` replaces the values of the hyperparameter of
    this name. `sizes` fixes the vocabulary size and the sequence length, and gives them to a space
    that declares none; without `sizes`, such a space stays without them. `try_fit` is called after
    each build of a hypermodel that has its own `fit`.
    """
    hypermodel = load_hypermodel(path)
    hp = replay({})
    # First, because in KerasTuner the first declaration of a name wins.
    hp.Fixed("n_classes", n_classes)
    if multi_label:
        hp.Fixed("multi_label", True)
    n_facts = len(hp.space)
    run_user_code(lambda: hypermodel.declare_hyperparameters(hp), doing="declaring hyperparameters")
    models: list[ModelSizes] = []
    build_once = partial(_build_once, hypermodel, sizes=sizes, models=models)

    def try_build(hp: Any) -> None:
        # The code need not take every combination of values, nor the machine every size.
        with contextlib.suppress(SpaceBug, MemoryError):
            build_once(hp)

    if len(hp.space) == n_facts:
        _explore(partial(build_once, try_fit=try_fit), hp, vary=try_build)
    space = SearchSpace(short_name(path), declared(hp), source_sha256(path))
    if preset is not None:
        space = _with_preset(space, preset)
    if not models and (
        mentions_texts(path) or (sizes is not None and lacks_sizes(space.hyperparameters))
    ):
        build_once(hp)
    knows_padding = not models  # The space is written for this program.
    if knows_padding and sizes is not None and not space.presets:
        try_build(hp)  # The notes need a model. An encoder would take seconds.
    if sizes is not None and models and lacks_sizes(space.hyperparameters):
        try_build(replay(_shifted(hp)))
    of_models = [
        note
        for model in models
        for note in (model.notes if knows_padding else model.notes + model.notes_on_masks)
    ]
    notes = tuple(dict.fromkeys(of_models))
    space = replace(space, takes_texts=any(model.takes_texts for model in models), notes=notes)
    if sizes is not None:
        items, of_sizes = with_sizes(space.hyperparameters, sizes, models, space=space.name)
        space = replace(space, hyperparameters=items, notes=(*of_sizes, *notes))
    cuts_texts = not models or any(not model.takes_texts for model in models)
    _check_required(space, cuts_texts=cuts_texts)
    points = run_user_code(lambda: points_of(hypermodel), doing="reading its starting points")
    points = sizes.without_fixed(points) if sizes else points
    if is_keras_file(preset) and isinstance(points, list | tuple):
        points = [p for p in points if not (isinstance(p, dict) and p.get(TRAINED_LAYERS))]
    resolved, linear = resolve_points(points, space.hyperparameters, space=space.name)
    return replace(space, starting_points=resolved, linear_points=linear)


def _explore(build: Build, hp: Any, *, vary: Build) -> None:
    """Add all hyperparameters that `build(hp)` declares to `hp`, a `keras_tuner.HyperParameters`.

    A model is built at the defaults, and once for each conditional scope that was not active
    before. Then a model is built for each other value that may decide which names exist: of a
    boolean, of a choice of texts, and the largest number of layers. The names that appear then are
    varied too. A name that appears only if several such values differ from their defaults may not
    be found. The last model has the next value of each larger integer.

    Args:
        build: builds a model at the defaults and in each scope.
        vary: builds a model for each other value.

    Raises:
        SpaceError: names appear with the next values of larger integers.
    """
    seen: set[tuple[str, Value]] = set()
    _explore_scopes(build, hp, seen)
    left = _variations(hp.space, {}, seen)
    for _ in range(MAX_VARIATIONS):
        if not left:
            break
        chosen = left.pop(0)
        n_known = len(hp.space)
        _activate(hp, chosen)
        vary(hp)
        if len(hp.space) > n_known:
            new = hp.space[n_known:]
            _explore_scopes(vary, hp, seen, first=chosen)
            left += _variations(new, chosen, seen)
    n_known = len(hp.space)
    _activate(hp, {item.name: value for item in hp.space for value in _next_sizes(item)})
    if any(item.name in hp.values and _next_sizes(item) for item in hp.space):
        vary(hp)
    if len(hp.space) > n_known:
        raise SpaceError(
            f"An integer that decides which names exist must be at most {MAX_LAYERS};"
            f" {hp.space[n_known].name} exists only for some values of a larger one. Lower its"
            " maximum, or declare all names in declare_hyperparameters(hp)."
        )


def _explore_scopes(
    build: Build, hp: Any, seen: set[tuple[str, Value]], *, first: Values | None = None
) -> None:
    """Build at the present values, then once for each conditional scope that was not active.

    `first` contains the values of a model that has been built; the further builds keep them.
    """
    tried: list[Any] = []
    for n_builds in range(MAX_BUILDS):
        if n_builds or first is None:
            build(hp)
        seen.update(hp.values.items())
        tried += hp.active_scopes
        untried = [scope for scope in hp.inactive_scopes if scope not in tried]
        if first is not None:  # The scopes of names that were known have been explored.
            untried = [
                scope
                for scope in untried
                if not all(any((c.name, value) in seen for value in c.values) for c in scope)
            ]
        if not untried:
            return
        tried.append(untried[0])
        _activate(hp, (first or {}) | {c.name: c.values[0] for c in untried[0]})
    raise SpaceError(
        f"A space must have at most {MAX_BUILDS} conditional scopes; declare them in"
        " declare_hyperparameters(hp)."
    )


def _variations(items: list[Any], chosen: Values, seen: set[tuple[str, Value]]) -> list[Values]:
    """Return `chosen` with each value of an item that no model had yet, and with the values that
    make the item active.
    """
    return [
        chosen | {c.name: c.values[0] for c in item.conditions} | {item.name: value}
        for item in items
        for value in _values_to_try(item)
        if (item.name, value) not in seen
    ]


def _values_to_try(item: Any) -> list[Value]:
    """Return the values that may decide which other names are declared."""
    import keras_tuner.engine.hyperparameters as kt

    if isinstance(item, kt.Boolean):
        return [False, True]
    if isinstance(item, kt.Choice) and not _integers(item):
        return [value for value in item.values if isinstance(value, bool | str)]
    return [number for number in _integers(item)[-1:] if number <= MAX_LAYERS]


def _next_sizes(item: Any) -> list[int]:
    """Return the value after the default of an integer that is too large for `_values_to_try`, or
    nothing.
    """
    numbers = _integers(item)
    if not numbers or numbers[-1] <= MAX_LAYERS:
        return []
    place = bisect_right(numbers, item.default)
    return [*numbers[place : place + 1]]


def _integers(item: Any) -> Sequence[int]:
    """Return the values of an integer or of a choice of integers, in ascending order."""
    import keras_tuner.engine.hyperparameters as kt

    if isinstance(item, kt.Int):
        if item.sampling == "log" and item.step:  # a factor
            powers = (item.min_value * item.step**power for power in count())
            return [*takewhile(lambda number: number <= item.max_value, powers)]
        return range(item.min_value, item.max_value + 1, item.step or 1)
    is_of_integers = isinstance(item, kt.Choice) and all(type(v) is int for v in item.values)
    return sorted(item.values) if is_of_integers else []


def _shifted(hp: Any) -> Values:
    """Return the values of `hp` with another value for each number: the smallest, or the next one
    if the default is the smallest. A model that is built from them shows whether its sizes depend
    on a hyperparameter.
    """
    import keras_tuner.engine.hyperparameters as kt

    values = dict(hp.values)
    for item in hp.space:
        ordered: list[Value] = []
        if isinstance(item, kt.Int | kt.Float):
            width = item.max_value - item.min_value
            usual = 1 if isinstance(item, kt.Int) else width / 2
            step = item.step if item.step and item.sampling != "log" else usual
            ordered = [item.min_value, min(item.min_value + step, item.max_value)]
        elif isinstance(item, kt.Choice) and not isinstance(item.values[0], bool | str):
            ordered = sorted(item.values)
        others = [value for value in ordered if value != item.default]
        if others and item.name in values:
            values[item.name] = others[0]
    return values


def _activate(hp: Any, chosen: Values) -> None:
    hp.values = {}
    for item in hp.space:
        if hp.is_active(item):
            hp.values.setdefault(item.name, chosen.get(item.name, item.default))


def _check_required(space: SearchSpace, *, cuts_texts: bool) -> None:
    """Refuse a space whose hyperparameters can't cut the data before a model is built.
    `cuts_texts`: whether a model of the space takes cut token ids; one that takes texts cuts them
    itself.
    """
    by_name = {item.name: item for item in space.hyperparameters}
    # In a space that declares `ngrams` or `preset`, or whose models take texts, some models take no
    # token ids, so the two sizes may be conditional.
    is_of_ids = [kind for kind in KINDS.values() if kind.is_taken_by(space)] == [IDS]
    for name in REQUIRED if is_of_ids else ():
        item = by_name.get(name)
        if item is not None and item.conditions:
            raise SpaceError(
                f"A space must always declare {' and '.join(REQUIRED)}, or never; {space.name} has"
                f" {name!r} under a condition. Use hp.Fixed where it is not searched."
            )
    for item in space.hyperparameters if cuts_texts else ():
        smallest = SMALLEST.get(item.name)
        if smallest is None:
            continue
        limits = tuple(limit for limit in (item.low, item.high) if limit is not None)
        bounds: tuple[Any, ...] = item.choices or limits or (item.default,)
        low = min(bounds)
        if not isinstance(low, int | float) or low < smallest:
            received = f"the text {low!r}" if isinstance(low, str) else repr(low)
            raise SpaceError(
                f"{item.name} must be a number of {smallest} or more; {space.name} allows"
                f" {received}."
            )
        for words in bounds if item.name == NGRAM_ORDER else ():
            if words not in range(1, MAX_ORDER + 1):
                raise SpaceError(
                    f"{NGRAM_ORDER} must be 1, 2 or 3 words; {space.name} allows {words!r}."
                )


def _build_once(
    hypermodel: keras_tuner.HyperModel,
    hp: Any,
    *,
    sizes: Sizes | None,
    models: list[ModelSizes],
    try_fit: Callable[..., None] | None = None,
) -> None:
    """Build a model to read its hyperparameters, and add its sizes to `models`."""
    doing = "building the model to read its hyperparameters"
    with keras_settings_of(hypermodel):
        with stated_lengths() as lengths:
            model = run_user_code(lambda: hypermodel.build(hp), doing=doing)
        stated = lengths.pop() if len(lengths) == 1 else None
        models.append(sizes_of_model(model, stated_length=stated))
        if try_fit and has_own_fit(hypermodel):  # `fit` may declare hyperparameters too.
            doing = "trying its fit() on a few rows"
            of_data = (sizes.sequence_length or sizes.usual_length) if sizes else N_TRIED_TOKENS
            length = models[-1].sequence_length or of_data
            run_user_code(
                partial(try_fit, hypermodel, hp, model, sequence_length=length), doing=doing
            )


def _with_preset(space: SearchSpace, preset: str) -> SearchSpace:
    if not space.presets:
        raise SpaceError(
            f"preset must be given for a space that declares 'preset', such as finetuned_encoder;"
            f" {space.name} declares none."
        )
    fixed: dict[str, Value] = {PRESET: preset}
    if is_keras_file(preset):  # Which of its layers are blocks of an encoder is not known.
        fixed[TRAINED_LAYERS] = 0
    changed = tuple(
        replace(item, kind="fixed", default=fixed[item.name], choices=(), low=None, high=None)
        if item.name in fixed
        else item
        for item in space.hyperparameters
    )
    return replace(space, hyperparameters=changed)


def build(
    hypermodel: keras_tuner.HyperModel, values: Values, *, known: Sequence[str] = ()
) -> tuple[Any, keras.Model]:
    """Build the model of a configuration, and return the `HyperParameters` that `build` read and
    the compiled model. An empty `known` allows hyperparameters of any name.
    """
    import keras

    hp = replay(values)
    run_user_code(lambda: hypermodel.declare_hyperparameters(hp), doing="declaring hyperparameters")
    model = run_user_code(lambda: hypermodel.build(hp), doing="building the model")
    if not isinstance(model, keras.Model) or not model.compiled:
        raise SpaceBug(f"build(hp) must return a compiled keras.Model; it returned {model!r}.")
    takes_texts(model)  # Raises an error for inputs that texts can't be given to.
    check_declared(hp, known)
    return hp, model


def require_same_space(now: SearchSpace, recorded: SearchSpace, *, path: Path, doing: str) -> None:
    if now.fingerprint != recorded.fingerprint:
        raise SpaceError(
            f"{doing} must use the space of its search; {path.name} was {recorded.fingerprint} then"
            f" and is {now.fingerprint} now. Put the file back, or start another study."
        )


def changed_source(now: SearchSpace, recorded: SearchSpace, *, path: Path) -> list[str]:
    """Return a sentence if a study's file has changed although its ranges have not."""
    if recorded.source_sha256 in ("", now.source_sha256):
        return []
    return [
        f"The search space file {path.name} has changed since the study began, but its ranges have"
        " not. All trainings use the present file, also of configurations that were chosen with the"
        " earlier one. For another model, start another study."
    ]


def check_declared(hp: Any, known: Sequence[str]) -> None:
    """Refuse hyperparameters that are not in `known`; an empty `known` allows any name."""
    late = sorted({item.name for item in hp.space} - set(known)) if known else []
    if late:
        raise SpaceBug(
            f"Every hyperparameter must be declared before the search; {', '.join(late)} appeared"
            " during a trial. Declare it, with all others, in declare_hyperparameters(hp), or put"
            " it under hp.conditional_scope.",
        )
