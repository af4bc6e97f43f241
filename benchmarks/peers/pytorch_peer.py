"""The same training step in PyTorch: `nn.Embedding`, `nn.LSTM`, `nn.Linear` and Adam.

Where several ways were possible, this code uses the way that favors PyTorch. Texts are padded at
their end, so the state at a text's last token equals Keras' masked output without packed sequences,
which are slower. Adam is PyTorch's fused version. Denormal numbers are flushed to 0, as in
TensorFlow; otherwise a gradient that vanishes over 200 time steps makes the step ten times slower.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.configurations import DROPOUT, LEARNING_RATE


class Classifier(nn.Module):
    """Logits (batch,) from ids (batch, length) and the number of tokens of each text (batch,)."""

    def __init__(self, *, vocab_size: int, embedding_dim: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(embedding_dim, units, batch_first=True)
        self.dense = nn.Linear(units, 1)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.dropout(self.embedding(ids)))
        last = outputs[torch.arange(len(ids)), lengths - 1]
        logits: torch.Tensor = self.dense(last)
        return logits[:, 0]


def step_seconds(
    ids: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int64],
    *,
    vocab_size: int,
    embedding_dim: int,
    units: int,
) -> float:
    """Return the seconds per training step over batches (n_batches, batch, length)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = Classifier(vocab_size=vocab_size, embedding_dim=embedding_dim, units=units)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    loss = nn.BCEWithLogitsLoss()
    batches = [
        (
            torch.from_numpy(x.astype(np.int64)),
            torch.from_numpy((x > 0).sum(1)),
            torch.from_numpy(y.astype(np.float32)),
        )
        for x, y in zip(ids, labels, strict=True)
    ]
    started = 0.0
    for number, (x, lengths, y) in enumerate(batches):
        if number == 1:  # The first step is a warm-up.
            started = time.perf_counter()
        optimizer.zero_grad()
        loss(model(x, lengths), y).backward()
        optimizer.step()
    return (time.perf_counter() - started) / (len(batches) - 1)
