"""DeepSpeed's weights and optimizer states on disk, in a form that any number of processes can read.

DeepSpeed's own checkpoints are partitioned for one number of processes, and its converter (universal checkpoints)
writes everything again, offline. Here each rank writes the pieces of parameters that it holds, by name and position,
and reads the parts that it holds now. No rank ever has a whole parameter.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

WEIGHTS = "weights"
"""Key of a piece's master weights; its other keys are optimizer states, as exp_avg and exp_avg_sq."""


Saved = dict[str, list[tuple[int, dict[str, torch.Tensor]]]]
"""For each parameter the saved pieces: first element, and their tensors."""


@dataclass(frozen=True)
class Piece:
    """The part of a parameter that this rank holds."""

    name: str
    """Name of the parameter."""
    start: int
    """First element, in the flattened parameter."""
    count: int
    flat: torch.Tensor
    """This rank's flat master weights of many parameters, shape (elements,); the optimizer's key for their states."""
    offset: int
    """First element of the piece in `flat`."""

    def tensors(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Return views of the piece's master weights and optimizer states, each of shape (count,)."""
        flats = {WEIGHTS: self.flat, **optimizer.state[self.flat]}
        end = self.offset + self.count
        return {key: flat.detach()[self.offset : end] for key, flat in flats.items() if key != "step"}


def masters(engine: Any) -> list[torch.Tensor]:
    """Return this rank's flat master weights, whose size and type DeepSpeed's optimizer states will have."""
    zero = engine.optimizer
    return zero.fp32_partitioned_groups_flat if _is_stage_3(engine) else zero.single_partition_of_fp32_groups


def _is_stage_3(engine: Any) -> bool:
    return bool(engine.zero_optimization_stage() == 3)


def pieces(engine: Any) -> list[Piece]:
    """Return the pieces of trained parameters that this rank holds, under ZeRO-2 or ZeRO-3."""
    zero = engine.optimizer
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    found = []
    if _is_stage_3(engine):
        for parameter in (parameter for group in zero.fp16_groups for parameter in group):
            group, offset, share = zero.grad_position[zero.get_param_id(parameter)]
            start = share * torch.distributed.get_rank(parameter.ds_process_group)
            count = min(share, parameter.ds_numel - start)  # the last shares end in padding, or consist of it
            if count > 0:
                found.append(Piece(names[id(parameter)], start, count, masters(engine)[group], offset))
        return found
    for parameters, flat in zip(zero.bit16_groups, masters(engine), strict=True):
        for parameter in parameters:
            if (mapping := parameter._hp_mapping) is not None:
                source, target = mapping.lp_fragment_address, mapping.hp_fragment_address
                found.append(Piece(names[id(parameter)], source.start, source.numel, flat, target.start))
    return found


def save(engine: Any, folder: Path, rank: int) -> None:
    """Write this rank's pieces into `folder`. At least one optimizer step must have been done."""
    # torch.save writes the storage behind many views once, and copies it from the GPU one flat tensor at a time.
    torch.save(content(engine, pieces(engine)), folder / f"pieces-{rank:05d}.pt")


def content(engine: Any, held: list[Piece]) -> dict[str, Any]:
    """Return what the file of a rank that holds these pieces has: the number of steps, and views of all tensors."""
    optimizer = engine.optimizer.optimizer
    return {
        "step": int(optimizer.state[held[0].flat]["step"]) if held else None,
        "pieces": {piece.name: (piece.start, piece.tensors(optimizer)) for piece in held},
    }


def load(engine: Any, folder: Path) -> None:
    """Fill this rank's pieces from what any number of ranks have saved. Every rank calls it."""
    saved: Saved = defaultdict(list)
    steps = set()
    for file in sorted(folder.glob("pieces-*.pt")):
        part = torch.load(file, map_location="cpu", mmap=True, weights_only=True)  # only what is copied is read
        steps |= {part["step"]} - {None}
        for name, piece in part["pieces"].items():
            saved[name].append(piece)
    (step,) = steps
    put(engine, pieces(engine), saved, step)


def put(engine: Any, held: list[Piece], saved: Saved, step: int) -> None:
    """Fill these pieces, and set the number of steps done. Every rank calls it."""
    optimizer = engine.optimizer.optimizer
    if _is_stage_3(engine):
        engine.optimizer.checkpoint_event_prologue()
    for piece in held:
        _make_states(optimizer, piece.flat, next(iter(saved[piece.name]))[1], step)
        fill(piece, optimizer, saved[piece.name])
    _refresh_weights(engine)


def computed(engine: Any, parameter: Any, piece: Piece) -> torch.Tensor:
    """Return the part of `parameter` that the piece is the master weights of, in the type that the model computes in,
    from the share of it that this rank holds between steps."""
    if _is_stage_3(engine):
        share: torch.Tensor = parameter.ds_tensor.detach().flatten()
        return share[: piece.count]
    return parameter.detach().flatten()[piece.start : piece.start + piece.count]


def _make_states(
    optimizer: torch.optim.Optimizer, flat: torch.Tensor, like: dict[str, torch.Tensor], step: int
) -> None:
    """Make the optimizer's states of `flat`, as it does in its first step, with the step count set to `step`."""
    state = optimizer.state[flat]
    for key, tensor in like.items():
        if key != WEIGHTS and key not in state:
            state[key] = torch.zeros_like(flat, dtype=tensor.dtype)
    if isinstance(optimizer, torch.optim.AdamW):
        device = flat.device if optimizer.defaults["fused"] else "cpu"
        state["step"] = torch.tensor(float(step), dtype=torch.float32, device=device)
    else:
        state["step"] = step  # DeepSpeed's CPU Adam has a plain number


def fill(piece: Piece, optimizer: torch.optim.Optimizer, saved: list[tuple[int, dict[str, torch.Tensor]]]) -> None:
    """Copy the overlap of each saved piece into this one; together they must cover it."""
    end, covered = piece.start + piece.count, 0
    tensors = piece.tensors(optimizer)
    for start, source in saved:
        low, high = max(piece.start, start), min(end, start + len(source[WEIGHTS]))
        if low < high:
            covered += high - low
            for key, tensor in source.items():
                tensors[key][low - piece.start : high - piece.start].copy_(tensor[low - start : high - start])
    assert covered == piece.count, f"{piece.name}: {covered} of {piece.count} elements were saved"


def _refresh_weights(engine: Any) -> None:
    """Update the weights that the model computes with from the master weights."""
    zero = engine.optimizer
    if _is_stage_3(engine):
        for group in range(len(zero.fp32_partitioned_groups_flat)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        zero.checkpoint_event_epilogue()  # gathers small parameters, which stay whole on every rank
    else:
        zero.update_lp_params()
