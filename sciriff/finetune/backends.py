"""The two implementations of an optimizer step: plain torch (one process, or DDP) and DeepSpeed."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.utils import DistributedDataParallelKwargs

from sciriff.config import Config, TrainConfig
from sciriff.finetune import checkpoint_probe, optimizer_8bit, zero_state
from sciriff.finetune.model import RATE, SummedLoss, parameter_groups
from sciriff.finetune.packing import Batch
from sciriff.finetune.workers import Workers

NORM_AT_ONCE = 1 << 24
"""Elements of a gradient whose squares are summed at a time: 128 MB in float64."""


class Backend(Protocol):
    """The operations that the loop needs; every rank calls every method. Gradients are averaged over the ranks."""

    _device: torch.device
    _module: SummedLoss
    _wrapped: Any
    """The module as DDP or DeepSpeed wraps it."""

    def accumulate(self, batch: Batch, scale: float, last: bool) -> torch.Tensor:
        """Run forward and backward of one micro-batch; adds `scale` times the gradient of its summed loss, which is
        returned as a scalar on the device. `last` marks the last micro-batch of the step."""

    def evaluate(self, batch: Batch, as_logits: bool = False, in_training: bool = False) -> torch.Tensor:
        """Return the summed loss, without dropout or gradient, or `as_logits`, (target tokens, vocabulary) float32.

        With `in_training` layers compute as in training, with the same dropout every time."""
        self._wrapped.train(in_training)
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices, enabled=in_training):
            if in_training:
                torch.manual_seed(0)
                self._module.expect(batch)
            result: torch.Tensor = self._wrapped(*batch.to(self._device), as_logits)
        self._wrapped.train()
        return result

    @contextmanager
    def answering(self) -> Iterator[Callable[..., Any]]:
        """Yield the language model's own forward, without dropout or gradient."""
        self._wrapped.train(False)
        try:
            with torch.no_grad():
                yield self._own_forward()
        finally:
            self._wrapped.train()

    def _own_forward(self) -> Callable[..., Any]:
        return self._wrapped

    def memory_to_come(self) -> int:
        """Return the bytes on this rank's device that the first `update` will allocate and keep."""

    def update(self, learning_rate: float) -> float:
        """Clip the gradient, step the optimizer, clear the gradients. Returns the gradient's norm before clipping; if
        it is not finite, do not save weights: plain torch skips the step, but DeepSpeed tells the norm after it."""

    def save(self, folder: Path) -> None:
        """Write weights and optimizer states into `folder`, in a form that any number of processes can load."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    def probe(self) -> None:
        """Try what `save` and `load` need, in memory, after the first step. UserError if a checkpoint would fail."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all weights, whole; complete on rank 0 only."""
        return self._module.language_model.state_dict()


def backend(config: Config, model: SummedLoss, workers: Workers, uneven: bool = False) -> Backend:
    """Return the backend that the config selects, with the model on its device. `uneven`: micro-batches differ in the
    weights that they use (text_model.Rehearsal.by_chance)."""
    if config.deepspeed.zero_stage:
        return Deepspeed(config.train, model, workers, offloaded=config.deepspeed.offload)
    return Plain(config.train, model, workers, uneven)


def adamw(train: TrainConfig, model: SummedLoss, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer that `train.optimizer` names."""
    groups = parameter_groups(model, train.weight_decay, train.lora_plus_ratio)
    betas = train.adam_beta1, train.adam_beta2
    if train.optimizer == "adamw_8bit":
        return optimizer_8bit.adamw(model, groups, train.learning_rate, betas, train.adam_epsilon)
    return torch.optim.AdamW(
        groups, lr=train.learning_rate, betas=betas, eps=train.adam_epsilon, fused=device.type == "cuda"
    )


def clip_gradient(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> float:
    """Scale the whole gradient down to the norm `max_norm` if it is larger. Returns its norm before.

    The norm is summed in float64, as in DeepSpeed; torch's own function sums in the gradients' type, and was seen to be
    1e-4 off for one embedding table on a CPU.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts = (part for gradient in gradients for part in gradient.flatten().split(NORM_AT_ONCE))
    norm = float(torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]).norm())
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / (norm + 1e-6))
    return norm


class Plain(Backend):
    """One process, or DDP with a full replica of the model on each rank."""

    def __init__(self, train: TrainConfig, model: SummedLoss, workers: Workers, uneven: bool = False) -> None:
        self._accelerator = workers.accelerator
        self._device = workers.device
        if uneven:
            # It costs a walk of the graph in each step, so not for every model.
            self._accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._max_grad_norm = train.max_grad_norm
        self._wrapped = self._accelerator.prepare_model(model)
        self._module = model
        self._optimizer = adamw(train, model, workers.device)
        self._in_8_bits = train.optimizer == "adamw_8bit"

    def accumulate(self, batch: Batch, scale: float, last: bool) -> torch.Tensor:
        self._module.expect(batch)
        with nullcontext() if last else self._accelerator.no_sync(self._wrapped):
            loss = self._wrapped(*batch.to(self._device))
            (loss * scale).backward()
        return loss.detach()

    def _own_forward(self) -> Callable[..., Any]:
        # DDP would send buffers in each pass, and its ranks do not answer in step.
        return self._module

    def memory_to_come(self) -> int:
        if self._in_8_bits:
            return optimizer_8bit.memory(self._module)
        return sum(2 * p.numel() * p.element_size() for p in self._module.parameters() if p.requires_grad)

    def update(self, learning_rate: float) -> float:
        norm = clip_gradient(self._module.parameters(), self._max_grad_norm)
        if not math.isfinite(norm):
            return norm
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group.get(RATE, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def save(self, folder: Path) -> None:
        if self._accelerator.is_main_process:
            state = {"model": self._trained(), "optimizer": self._optimizer.state_dict()}
            torch.save(state, folder / "state.pt")

    def load(self, folder: Path) -> None:
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        for name, parameter in self._trained().items():
            parameter.copy_(state["model"][name])
        self._optimizer.load_state_dict(state["optimizer"])

    def probe(self) -> None:
        checkpoint_probe.of_plain(self._trained(), self._optimizer)

    def _trained(self) -> dict[str, torch.Tensor]:
        """Weights that training changes; frozen ones are read from the base model again."""
        return {name: p.detach() for name, p in self._module.named_parameters() if p.requires_grad}


class Deepspeed(Backend):
    """ZeRO: optimizer states, gradients and (stage 3) weights are partitioned over the ranks."""

    def __init__(self, train: TrainConfig, model: SummedLoss, workers: Workers, *, offloaded: bool) -> None:
        self._accelerator = workers.accelerator
        self._device = workers.device
        self._offloaded = offloaded
        self._workers = workers
        self._module = model
        self._wrapped, _ = self._accelerator.prepare(model, adamw(train, model, workers.device))

    def accumulate(self, batch: Batch, scale: float, last: bool) -> torch.Tensor:
        self._module.expect(batch)
        self._wrapped.set_gradient_accumulation_boundary(last)
        loss = self._wrapped(*batch.to(self._device))
        self._wrapped.backward(loss * scale)
        return loss.detach()

    def memory_to_come(self) -> int:
        moments = sum(2 * flat.numel() * flat.element_size() for flat in zero_state.masters(self._wrapped))
        return 0 if self._offloaded else moments

    def update(self, learning_rate: float) -> float:
        for group in self._wrapped.optimizer.param_groups:
            group["lr"] = learning_rate * group.get(RATE, 1.0)
        self._wrapped.step()  # clips too: gradient_clipping in its JSON
        return float(self._wrapped.get_global_grad_norm())

    def save(self, folder: Path) -> None:
        zero_state.save(self._wrapped, folder, self._accelerator.process_index)

    def load(self, folder: Path) -> None:
        zero_state.load(self._wrapped, folder)

    def probe(self) -> None:
        checkpoint_probe.of_deepspeed(self._wrapped, self._workers)

    def weights(self) -> dict[str, torch.Tensor]:
        if self._wrapped.zero_optimization_stage() < 3:
            return super().weights()
        prefix = "language_model."
        state = self._accelerator.get_state_dict(self._wrapped)  # None on ranks other than 0
        return {name.removeprefix(prefix): tensor for name, tensor in (state or {}).items()}
