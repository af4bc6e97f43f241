"""The settings of Keras that the file of a search space changes."""

from pathlib import Path

import keras
import pytest

from tuning.spaces.keras_settings import clear_session, keras_settings_of
from tuning.spaces.loading import declare, load_hypermodel

SPACE = """
import keras

{setting}


def build(hp):
    {in_build}
    hp.Fixed("vocab_size", 10)
    hp.Fixed("sequence_length", 4)
    hp.Int("units", 1, 3)
    assert keras.layers.Dense(1).compute_dtype == "{dtype}"
    model = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        keras.layers.Embedding(10, 2),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1, "sigmoid"),
    ])
    model.compile("sgd", "binary_crossentropy")
    return model
"""
MIXED = 'keras.mixed_precision.set_global_policy("mixed_bfloat16")'


def write(path: Path, setting: str = "", *, in_build: str = "pass", dtype: str = "float32") -> Path:
    path.write_text(SPACE.format(setting=setting, in_build=in_build, dtype=dtype))
    return path


def compute_dtype() -> str:
    return str(keras.layers.Dense(1).compute_dtype)


@pytest.mark.parametrize(
    ("setting", "dtype"),
    [
        (MIXED, "bfloat16"),
        ('keras.config.set_dtype_policy(keras.DTypePolicy("float16"))', "float16"),
        ('keras.config.set_floatx("float64")', "float64"),
        ('keras.config.set_floatx("float64")\n' + MIXED, "bfloat16"),
        ("", "float32"),
    ],
)
def test_settings_of_a_file_hold_for_its_models_alone(
    setting: str, dtype: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "own.py", setting, dtype=dtype)
    assert declare(path, n_classes=2).searched
    hypermodel, other = load_hypermodel(path), load_hypermodel(write(tmp_path / "other.py"))
    for _ in range(2):
        with keras_settings_of(hypermodel):
            clear_session()
            assert compute_dtype() == dtype
        with keras_settings_of(other):
            assert (compute_dtype(), keras.config.floatx()) == ("float32", "float32")
    assert (compute_dtype(), keras.config.floatx()) == ("float32", "float32")


def test_other_settings_of_a_file_hold_for_its_models_alone(tmp_path: Path) -> None:
    lines = (
        'keras.config.set_image_data_format("channels_first")',
        "keras.config.set_epsilon(1e-5)",
        "keras.config.disable_flash_attention()",
    )
    hypermodel = load_hypermodel(write(tmp_path / "own.py", "\n".join(lines)))

    def settings() -> list[object]:
        config = keras.config
        flash = config.is_flash_attention_enabled()
        return [config.image_data_format(), config.epsilon(), flash]

    before = settings()
    with keras_settings_of(hypermodel):
        clear_session()
        assert settings() == ["channels_first", 1e-5, False]
    assert settings() == before


def test_policy_that_build_sets_ends_with_its_model(tmp_path: Path) -> None:
    path = write(tmp_path / "own.py", in_build=MIXED, dtype="bfloat16")
    assert declare(path, n_classes=2).searched
    assert compute_dtype() == "float32"


def test_policy_of_a_notebook_stays_and_does_not_reach_the_models_of_files(tmp_path: Path) -> None:
    with keras_settings_of(None):
        keras.config.set_dtype_policy("mixed_float16")
        hypermodel = load_hypermodel(write(tmp_path / "own.py"))
        with keras_settings_of(hypermodel):
            clear_session()
            assert compute_dtype() == "float32"
        assert compute_dtype() == "float16"
