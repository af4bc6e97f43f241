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
    from tuning.api.configuration import Configuration
    from tuning.api.exports import Export
    from tuning.api.loading import load_export, load_study
    from tuning.api.search import tune
    from tuning.api.study import Study
    from tuning.errors import TuningError

__version__ = "0.1.0"
__all__ = ["Configuration", "Export", "Study", "TuningError", "load_export", "load_study", "tune"]

# The names are imported at their first use: `import tuning` is part of every command and worker.
_HOMES = {
    "Configuration": "tuning.api.configuration",
    "Export": "tuning.api.exports",
    "Study": "tuning.api.study",
    "TuningError": "tuning.errors",
    "load_export": "tuning.api.loading",
    "load_study": "tuning.api.loading",
    "tune": "tuning.api.search",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
