"""Strategies of Hypothesis for the configurations of studies."""

from hypothesis import strategies as st

from tuning.config import PRUNERS, SAMPLERS, DataConfig, StudyConfig, TrainConfig
from tuning.metrics import objectives_of

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.none() | st.text(max_size=20)
data_configs = st.builds(
    DataConfig,
    data=st.text(min_size=1, max_size=30),
    text_column=names,
    label_column=names,
    data_dir=names,
    positive_from=finite,
    drop_stars=st.lists(finite, max_size=5).map(tuple),
)
counts = st.integers(1, 10_000)
study_configs = st.builds(
    StudyConfig,
    study=st.text(max_size=30),
    space=st.text(max_size=30),
    metric=st.sampled_from(objectives_of("classes")),
    sampler=st.sampled_from(SAMPLERS),
    pruner=st.sampled_from(PRUNERS),
    seed=st.integers(0, 2**31 - 1),
    data=data_configs,
    train=st.builds(TrainConfig, epochs=counts, batch_size=counts, patience=counts),
)
