"""Hyperparameter tuning for Keras text classifiers.

Optuna proposes configurations, Keras trains them, and the best is exported as one model that takes
raw text.

```python
import tuning

study = tuning.tune(data="reviews.csv", n_trials=20)
study.best
export = study.export()
export.predict(["I love it"])
```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.api.comparison import Comparison, compare
    from tuning.api.exports import Export, load_export
    from tuning.api.search import tune
    from tuning.api.study import Configuration, Study, load_study
    from tuning.config import Data, Limits, Workers
    from tuning.errors import TuningError

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Configuration",
    "Data",
    "Export",
    "Limits",
    "Study",
    "TuningError",
    "Workers",
    "compare",
    "load_export",
    "load_study",
    "tune",
]

# The names are imported at their first use: `import tuning` is part of every command and worker.
_HOMES = {
    "tuning.api.comparison": ("Comparison", "compare"),
    "tuning.api.exports": ("Export", "load_export"),
    "tuning.api.search": ("tune",),
    "tuning.api.study": ("Configuration", "Study", "load_study"),
    "tuning.config": ("Data", "Limits", "Workers"),
    "tuning.errors": ("TuningError",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
