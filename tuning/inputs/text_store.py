"""The texts of a corpus beside its token ids, for models that take the texts themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tuning.config import SPLITS
from tuning.data.files import Progress
from tuning.data.folders import is_as_written, locked, rebuilt, write_checksums
from tuning.data.splits import SplitReviews, write_texts
from tuning.inputs.corpus import Corpus

logger = logging.getLogger(__name__)


def build_texts(
    corpus: Corpus, *, splits: Callable[[], SplitReviews], progress: Progress | None = None
) -> None:
    """Write the texts of a corpus beside its token ids, in the same order, unless they exist and
    their files are as they were written. `splits` is called only if the texts must be written.
    """
    folder = corpus.texts_dir
    with locked(folder):
        if is_as_written(folder):
            return
        read = splits()
        read.require_fingerprint(corpus.fingerprint)
        with rebuilt(folder) as temporary:
            for number, name in enumerate(SPLITS):
                if progress:
                    progress("storing the texts", number / len(SPLITS))
                write_texts(temporary / name, read.frames[name]["text"])
            write_checksums(temporary)
        logger.info("stored the texts of %s", corpus.fingerprint)
