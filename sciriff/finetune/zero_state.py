"""DeepSpeed's weights and optimizer states on disk, in a form that any number of processes can read.

DeepSpeed's own checkpoints are shares cut for one number of processes, and its converter (universal checkpoints) writes
all of them a second time, offline. Here each process writes what it holds as pieces of parameters, by name and place,
and reads, whatever the cut was, those parts of the pieces that it now holds. No process ever has a whole parameter.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

WEIGHTS = "weights"
"""Key of the master weights among a piece's tensors; the others are the optimizer's: exp_avg, exp_avg_sq."""


@dataclass(frozen=True)
class Piece:
    """A part of a parameter that is in this process's care."""

    name: str
    """Of the parameter."""
    start: int
    """First element, in the parameter laid out flat."""
    count: int
    flat: torch.Tensor
    """This process's master weights of many parameters, shape (elements,), under which the optimizer keeps states."""
    offset: int
    """Where the piece stands in `flat`."""

    def tensors(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """The master weights and the optimizer's states of the piece, each of shape (count,), as views."""
        flats = {WEIGHTS: self.flat, **optimizer.state[self.flat]}
        end = self.offset + self.count
        return {key: flat.detach()[self.offset : end] for key, flat in flats.items() if key != "step"}


def masters(engine: Any) -> list[torch.Tensor]:
    """The flat master weights of this process, under ZeRO-2 or ZeRO-3. The optimizer's states have their size and type,
    and DeepSpeed makes them in the first step."""
    zero = engine.optimizer
    return zero.fp32_partitioned_groups_flat if _shares_weights(engine) else zero.single_partition_of_fp32_groups


def _shares_weights(engine: Any) -> bool:
    return bool(engine.zero_optimization_stage() == 3)


def pieces(engine: Any) -> list[Piece]:
    """What this process holds of the parameters that are trained, under ZeRO-2 or ZeRO-3."""
    zero = engine.optimizer
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    found = []
    if _shares_weights(engine):
        for parameter in (parameter for group in zero.fp16_groups for parameter in group):
            group, offset, share = zero.grad_position[zero.get_param_id(parameter)]
            start = share * torch.distributed.get_rank(parameter.ds_process_group)
            count = min(share, parameter.ds_numel - start)  # the last shares end in padding, or are nothing else
            if count > 0:
                found.append(Piece(names[id(parameter)], start, count, masters(engine)[group], offset))
        return found
    for parameters, flat in zip(zero.bit16_groups, masters(engine), strict=True):
        for parameter in parameters:
            if (mapping := parameter._hp_mapping) is not None:
                here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
                found.append(Piece(names[id(parameter)], here.start, here.numel, flat, there.start))
    return found


def save(engine: Any, folder: Path, rank: int) -> None:
    """Write this process's pieces into `folder`. An optimizer step must have been done."""
    optimizer = engine.optimizer.optimizer
    mine = pieces(engine)
    content = {
        "step": int(optimizer.state[mine[0].flat]["step"]) if mine else None,
        # torch.save writes what lies behind many views once, and takes it off the GPU a flat tensor at a time.
        "pieces": {piece.name: (piece.start, piece.tensors(optimizer)) for piece in mine},
    }
    torch.save(content, folder / f"pieces-{rank:05d}.pt")


def load(engine: Any, folder: Path) -> None:
    """Take this process's pieces from what `save` wrote in however many processes. Every process calls it."""
    zero = engine.optimizer
    saved: dict[str, list[tuple[int, dict[str, torch.Tensor]]]] = defaultdict(list)
    steps = set()
    for file in sorted(folder.glob("pieces-*.pt")):
        part = torch.load(file, map_location="cpu", mmap=True, weights_only=True)  # only what is copied is read
        steps |= {part["step"]} - {None}
        for name, piece in part["pieces"].items():
            saved[name].append(piece)
    (step,) = steps
    if engine.zero_optimization_stage() == 3:
        zero.checkpoint_event_prologue()
    for piece in pieces(engine):
        _make_states(zero.optimizer, piece.flat, next(iter(saved[piece.name]))[1], step)
        _fill(piece, zero.optimizer, saved[piece.name])
    _refresh_weights(engine)


def _make_states(
    optimizer: torch.optim.Optimizer, flat: torch.Tensor, like: dict[str, torch.Tensor], step: int
) -> None:
    """The optimizer's states of `flat`, which it makes in its first step, as they are after `step` steps."""
    state = optimizer.state[flat]
    for key, tensor in like.items():
        if key != WEIGHTS and key not in state:
            state[key] = torch.zeros_like(flat, dtype=tensor.dtype)
    if isinstance(optimizer, torch.optim.AdamW):
        place = flat.device if optimizer.defaults["fused"] else "cpu"
        state["step"] = torch.tensor(float(step), dtype=torch.float32, device=place)
    else:
        state["step"] = step  # DeepSpeed's Adam for the CPU counts in a plain number


def _fill(piece: Piece, optimizer: torch.optim.Optimizer, saved: list[tuple[int, dict[str, torch.Tensor]]]) -> None:
    """Copy into the piece what of the saved ones overlaps it; together they must cover it."""
    end, covered = piece.start + piece.count, 0
    mine = piece.tensors(optimizer)
    for start, tensors in saved:
        low, high = max(piece.start, start), min(end, start + len(tensors[WEIGHTS]))
        if low < high:
            covered += high - low
            for key, tensor in tensors.items():
                mine[key][low - piece.start : high - piece.start].copy_(tensor[low - start : high - start])
    assert covered == piece.count, f"{piece.name}: {covered} of {piece.count} elements were saved"


def _refresh_weights(engine: Any) -> None:
    """Make the weights that the model computes with from the master weights."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        for group in range(len(zero.fp32_partitioned_groups_flat)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        zero.checkpoint_event_epilogue()  # small parameters are kept whole on every process
    else:
        zero.update_lp_params()
