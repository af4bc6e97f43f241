"""Hidden words. What the label loses without them is in the answer of `/explain` (test_app.py)."""

from dataclasses import replace

import numpy as np
import pytest

from tests.numbered import TWO
from tuning.inputs.contract import ModelInput
from tuning.inputs.kinds import KINDS
from tuning.inputs.texts import Texts
from tuning.serving import occlusion
from tuning.serving.occlusion import effects, hide_words

HIDDEN = "\ue000"
NINE = ModelInput(vocab_size=99, sequence_length=9, truncating="pre")
TEXTS = ModelInput(vocab_size=0, sequence_length=0, truncating="pre")
PRESET = replace(TEXTS, sequence_length=2, preset="bert")


def test_each_different_word_is_hidden_wherever_it_stands() -> None:
    hidden = hide_words("Good - good!\ttoo", NINE)
    assert (hidden.words, hidden.counts) == (("good", "too"), (2, 1))
    assert hidden.texts == ("Good good! too", f"{HIDDEN} {HIDDEN} too", f"Good good! {HIDDEN}")


@pytest.mark.parametrize(("ngrams", "words"), [(0, ("a", "d")), (2, ("a", "b", "c", "d"))])
def test_words_that_the_model_does_not_see_are_not_hidden(
    ngrams: int, words: tuple[str, ...]
) -> None:
    """All words of a text are in its n-grams."""
    inputs = replace(NINE, sequence_length=2, truncating="middle", ngrams=ngrams)
    assert hide_words("a b c d", inputs).words == words


@pytest.mark.parametrize("inputs", [TEXTS, PRESET])
def test_model_with_another_tokenizer_gets_the_whole_text(inputs: ModelInput) -> None:
    hidden = hide_words(" Good -\n good!\t:) too\n", inputs)
    assert (hidden.words, hidden.counts) == (("good", "too"), (2, 1))
    assert hidden.texts == (
        " Good -\n good!\t:) too\n",
        f" {HIDDEN} -\n {HIDDEN}\t:) too\n",
        f" Good -\n good!\t:) {HIDDEN}\n",
    )
    assert hide_words("!?", inputs).texts == ("!?",)


def test_model_with_another_input_beside_token_ids_gets_the_whole_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Emoticons(Texts):
        def is_in(self, inputs: ModelInput) -> bool:
            return True

    assert hide_words("Good\n:)", NINE).texts[0] == "Good"
    monkeypatch.setitem(KINDS, "emoticons", Emoticons())
    assert hide_words("Good\n:)", NINE).texts[0] == "Good\n:)"


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("MAX_WORDS", 3, ("aa", "bb", "cc")), ("MAX_CHARACTERS", 23, ("aa",))],
)
def test_words_over_a_limit_are_counted(
    limit: str, value: int, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy has twelve characters, as spaces do not count."""
    monkeypatch.setattr(occlusion, limit, value)
    hidden = hide_words("aa bb cc dd ee aa", NINE)
    assert (hidden.words, len(hidden.texts)) == (words, len(words) + 1)
    assert hidden.n_left_out == 5 - len(words)


@pytest.mark.parametrize("text", ["", " \n", "!? --"])
def test_text_without_a_word_has_nothing_to_hide(text: str) -> None:
    assert hide_words(text, NINE).texts == ("",)


def test_word_without_which_the_model_gives_nan_has_no_effect() -> None:
    hidden = hide_words("good phone", NINE)
    words = effects(hidden, np.array([[0.2, 0.8], [np.nan, np.nan], [0.3, 0.7]]), TWO)
    assert [word.word for word in words] == ["phone"]
