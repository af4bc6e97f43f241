"""Labelled texts out of a source: `load_reviews` reads, `split_reviews` splits."""

from tuning.datasets.sources import Reviews, load_reviews
from tuning.datasets.splits import SplitReviews, split_reviews

__all__ = ["Reviews", "SplitReviews", "load_reviews", "split_reviews"]
