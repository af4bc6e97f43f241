"""What models with n-grams or a pretrained encoder get from the training split before an epoch."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tuning.models.ngrams import RATIOS, fit_linear_model
from tuning.models.transformer import fit_schedule, own_optimizer


class FittedStart:
    """The `adapt` of a hypermodel whose models are those of this package: it sets the steps of the
    learning rate of `transformer_classifier`, and the weights of n-grams by `fit_linear_model`,
    where the configuration has `ngram_c`.

    `ngram_rate` and `ngram_weighting` are arguments of `fit_linear_model`, if they are declared.
    """

    def adapt(
        self,
        hp: Any,
        model: keras.Model,
        x: Any,
        y: npt.NDArray[Any],
        sample_weight: npt.NDArray[np.float32] | None = None,
    ) -> None:
        if hasattr(own_optimizer(model), "steps_per_epoch"):
            fit_schedule(model, n_texts=len(y), batch_size=hp.get("batch_size"))
        if "ngram_c" in hp:
            fit_linear_model(
                model,
                x.as_numpy_iterator(),
                y,
                c=hp.get("ngram_c"),
                rate=hp.get("ngram_rate") if "ngram_rate" in hp else 1.0,
                n_classes=hp.get("n_classes"),
                weighting=hp.get("ngram_weighting") if "ngram_weighting" in hp else RATIOS,
                sample_weight=sample_weight,
            )
