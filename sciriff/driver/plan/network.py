"""What training sends between nodes, and how fast that must be so that the GPUs do not wait for it."""

import math
from dataclasses import dataclass

from sciriff.config import Config
from sciriff.models.training_memory import frozen_bytes, resident_weights, trained_parameters


@dataclass(frozen=True)
class Traffic:
    """What each node receives for one optimizer step, and sends as well."""

    gigabytes: float
    """10^9 bytes."""
    seconds: float
    """Of the step, if nothing waits for the network."""

    @property
    def gigabytes_per_second(self) -> float:
        """At which the network keeps up with the GPUs; with less it sets the pace."""
        return self.gigabytes / self.seconds


def traffic(config: Config, processes: int, nodes: int, capacity: float, tokens: float, seconds: float) -> Traffic:
    """Of one step of so many `tokens` and `seconds` on GPUs of `capacity` GiB, the sum over all nodes being shared out
    among them evenly.

    A gather of W bytes, or a sum of as many that is left shared out, brings each of n nodes (n - 1) / n W at the least
    (Thakur et al. 2005, doi 10.1177/1094342005051521); a sum that all have, twice that. Under ZeRO-3 (Rajbhandari et
    al. 2020, arXiv 1910.02054, section 7) weights are gathered for the forward and for the backward pass of each
    micro-batch, those that stay resident once for each step, and gradients are summed up after each micro-batch; under
    ZeRO-2 weights are gathered once for each step.
    """
    stage = config.deepspeed.zero_stage
    width = 4 if config.train.precision == "fp32" else 2
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
