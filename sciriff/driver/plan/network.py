"""Traffic between nodes in training, and the bandwidth at which the GPUs do not wait for it."""

import math
from dataclasses import dataclass

from sciriff.config import Config
from sciriff.models.training_memory import computing_bytes, frozen_bytes, resident_weights, trained_parameters


@dataclass(frozen=True)
class Traffic:
    """Data that each node receives, and sends as well, for one optimizer step."""

    gigabytes: float
    """10^9 bytes."""
    seconds: float
    """Duration of the step if nothing waits for the network."""

    @property
    def gigabytes_per_second(self) -> float:
        """Bandwidth in GB/s at which the network keeps up with the GPUs."""
        return self.gigabytes / self.seconds


def traffic(config: Config, processes: int, nodes: int, capacity: float, tokens: float, seconds: float) -> Traffic:
    """Return the traffic of one step of `tokens` tokens and `seconds` seconds on GPUs of `capacity` GiB.

    An all-gather or a reduce-scatter of W bytes brings each of n nodes at least (n - 1) / n W (Thakur et al. 2005, doi
    10.1177/1094342005051521); an all-reduce twice that. Under ZeRO-3 (Rajbhandari et al. 2020, arXiv 1910.02054,
    section 7) weights are gathered for both passes of each micro-batch, resident ones once per step, and gradients are
    reduced after each micro-batch; under ZeRO-2 weights are gathered once per step.
    """
    stage = config.deepspeed.zero_stage
    width = computing_bytes(config.train)
    trained = trained_parameters(config)
    micro_batches = max(1, math.ceil(tokens / processes / config.train.micro_batch_tokens))
    if stage == 3:
        resident = width * resident_weights(config, processes, capacity)
        weights = max(0.0, width * trained + frozen_bytes(config) - resident)
        received = micro_batches * (2 * weights + width * trained) + resident
    elif stage == 2:
        received = micro_batches * width * trained + width * trained
    else:
        received = 2.0 * (2 if config.train.precision == "bf16_pure" else 4) * trained
    return Traffic((nodes - 1) / nodes * received / 1e9, seconds)
