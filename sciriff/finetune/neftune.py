"""NEFTune: uniform noise on embeddings in training (Jain et al. 2023, arXiv 2310.05914).

Each entry of a row's embeddings gets noise between -e and e, e = alpha / sqrt(L d), with L the row's own tokens and d
the hidden size. The noise of a row follows from the run's seed, the optimizer step and the row's tokens: a resumed run
repeats it, and it depends neither on packing nor on the number of processes.
"""

import hashlib
import math
from typing import Any

import torch
from torch import nn

from sciriff.finetune.packing import Batch


class Noise:
    """Noise on the output of a model's embedding layer, only while that is in training mode."""

    def __init__(self, language_model: Any, alpha: float, seed: int) -> None:
        self.step = 0
        """Optimizer step, from 0."""
        self._alpha, self._seed = alpha, seed
        self._seeds: list[int] = []
        self._lengths: tuple[int, ...] = ()
        language_model.get_input_embeddings().register_forward_hook(self._add)

    def expect(self, batch: Batch) -> None:
        """Prepare for the forward pass of `batch`, whose tokens are still on the CPU."""
        self._lengths = batch.lengths
        self._seeds = []
        for row in batch.tokens[0].split(list(batch.lengths)):
            key = f"neftune {self._seed} {self.step} ".encode() + row.numpy().tobytes()
            self._seeds.append(int.from_bytes(hashlib.sha256(key).digest()[:8], "big", signed=True))

    def _add(self, module: nn.Module, inputs: Any, embeddings: torch.Tensor) -> torch.Tensor | None:
        if not module.training:
            return None
        width = embeddings.shape[-1]
        noise = torch.empty(sum(self._lengths), width, device=embeddings.device)
        for row, seed in zip(noise.split(list(self._lengths)), self._seeds, strict=True):
            generator = torch.Generator(embeddings.device).manual_seed(seed)
            limit = self._alpha / math.sqrt(len(row) * width)
            row.uniform_(-limit, limit, generator=generator)
        return embeddings + noise.to(embeddings.dtype).reshape(embeddings.shape)
