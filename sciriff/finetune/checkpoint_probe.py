"""Try right after a start's first optimizer step what checkpoints need, on the smallest weights and in memory.

A checkpoint may be due hours later, and the code for DeepSpeed reads parts of it that no documentation promises. The
probe changes no number: what it overwrites gets the same values again, and a run that fails it ends. It covers names,
places and types of all pieces, that the model computes with the master weights that would be saved, one piece of each
rank through torch's file format and back into the optimizer, and DeepSpeed's own refreshing of weights. It does not
cover room on the disk, another number of processes, and moments that a fresh start would have to make.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch

from sciriff.finetune import zero_state
from sciriff.finetune.workers import Workers
from sciriff.run.user_error import UserError

TESTED = "0.19.8"
"""Newest version of DeepSpeed whose checkpoints were tested."""


def of_deepspeed(engine: Any, workers: Workers) -> None:
    """Probe under ZeRO-2 or ZeRO-3, by all ranks together; UserError on all of them if one finds a difference."""
    advice = (
        f"checkpoints cannot be made with DeepSpeed {version('deepspeed')} ({{}}); install deepspeed=={TESTED}, with "
        "which they were tested, or train with deepspeed=none"
    )
    held: list[zero_state.Piece] = []

    def look() -> None:
        held.extend(zero_state.pieces(engine))
        for piece in held:
            for key, tensor in piece.tensors(engine.optimizer.optimizer).items():
                _demand(
                    len(tensor) == piece.count, f"{key} of {piece.name} has {len(tensor)} of {piece.count} elements"
                )
        _compare_weights(engine, held)

    _together(look, advice, workers)
    spans = workers.gather([[(piece.name, piece.start, piece.count) for piece in held]])
    _together(lambda: _check_cover(engine, spans), advice, workers)
    smallest = min(held, key=lambda piece: (piece.count, piece.name), default=None)
    saved: dict[str, list[tuple[int, dict[str, torch.Tensor]]]] = {}
    steps: list[int] = []

    def save_and_fill() -> None:
        if smallest is None:
            return
        content = zero_state.content(engine, [smallest])
        start, views = content["pieces"][smallest.name]
        # Of a view, torch.save would write all that it is a view of.
        alone = {key: view.clone() for key, view in views.items()}
        read = _through_a_file({**content, "pieces": {smallest.name: (start, alone)}})
        saved[smallest.name] = [read["pieces"][smallest.name]]
        steps.append(read["step"])
        now = smallest.tensors(engine.optimizer.optimizer)
        before = {key: tensor.clone() for key, tensor in now.items()}
        for tensor in now.values():
            tensor.zero_()
        zero_state.fill(smallest, engine.optimizer.optimizer, saved[smallest.name])
        _demand(all(torch.equal(now[key], before[key]) for key in before), f"{smallest.name} reads back differently")

    _together(save_and_fill, advice, workers)
    step = max(step for found in workers.gather([steps]) for step in found)

    def refresh() -> None:
        zero_state.put(engine, [smallest] if smallest else [], saved, step)
        _compare_weights(engine, held)

    _together(refresh, advice, workers)


def of_plain(weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Probe the checkpoint of one process or of DDP. UserError if weights or moments read back differently.

    For each kind of optimizer state the smallest weight goes into a second optimizer of the same class.
    """
    kinds: dict[Any, torch.Tensor] = {}
    with_state = [parameter for parameter in optimizer.state if optimizer.state[parameter]]
    for parameter in sorted(with_state, key=lambda parameter: parameter.numel()):
        state = optimizer.state[parameter]
        kinds.setdefault(tuple((key, getattr(value, "dtype", None)) for key, value in state.items()), parameter)
    chosen = set(kinds.values())
    groups = [
        {**group, "params": [parameter for parameter in group["params"] if parameter in chosen]}
        for group in optimizer.param_groups
    ]
    ours = _like(optimizer, groups, {parameter: optimizer.state[parameter] for parameter in chosen})
    copies = [{**group, "params": [p.detach().clone().requires_grad_() for p in group["params"]]} for group in groups]
    fresh = _like(optimizer, copies, {})
    try:
        places = {parameter.data_ptr() for parameter in chosen}
        named = {name: weight for name, weight in weights.items() if weight.data_ptr() in places}
        content = _through_a_file({"model": named, "optimizer": ours.state_dict()})
        fresh.load_state_dict(content["optimizer"])
        _demand(
            all(torch.equal(content["model"][name].to(w.device), w) for name, w in named.items()), "a weight differs"
        )
        for group, copied in zip(ours.param_groups, fresh.param_groups, strict=True):
            for parameter, copy in zip(group["params"], copied["params"], strict=True):
                _demand(_equal(fresh.state[copy], optimizer.state[parameter]), "the state of the optimizer differs")
    except Exception as error:  # whatever a new version raises here, it would raise at the first checkpoint
        kind = type(optimizer).__name__
        raise UserError(
            f"checkpoints cannot be made with this {kind} of {type(optimizer).__module__.partition('.')[0]} "
            f"({_reason(error)}); use another version of it, or train.optimizer=adamw"
        ) from error


def _like(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]], state: dict[Any, Any]) -> Any:
    """Return an optimizer of the same class and settings for other parameters."""
    other = object.__new__(type(optimizer))
    other.__dict__ = {**optimizer.__dict__, "param_groups": groups, "state": defaultdict(dict, state)}
    return other


def _equal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype
        if isinstance(theirs[key], torch.Tensor)
        else ours[key] == theirs[key]
        for key in theirs
    )


def _compare_weights(engine: Any, held: list[zero_state.Piece]) -> None:
    """Refuse pieces whose master weights are not, rounded, those that the model computes with."""
    parameters = dict(engine.module.named_parameters())
    for piece in held:
        computed = zero_state.computed(engine, parameters[piece.name], piece)
        master = piece.flat.detach()[piece.offset : piece.offset + piece.count]
        _demand(torch.equal(master.to(computed), computed), f"{piece.name} is not where its master weights are")


def _check_cover(engine: Any, spans: list[list[tuple[str, int, int]]]) -> None:
    """Refuse pieces that together are not each trained weight, once."""
    by_name: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, start, count in (span for rank in spans for span in rank):
        by_name[name].append((start, count))
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        end = 0
        for start, count in sorted(by_name[name]):
            _demand(start == end, f"{name} is missing from element {end} on, or there twice")
            end = start + count
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        _demand(end == size, f"{name} has {end} of {size} elements")


def _through_a_file(content: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return read


class _Differs(Exception):
    """What is read back, or where it is, is not what it should be."""


def _demand(holds: bool, problem: str) -> None:
    if not holds:
        raise _Differs(problem)


def _reason(error: Exception) -> str:
    said = next(iter(str(error).strip().splitlines()), "no reason given")
    return said if isinstance(error, _Differs) else f"{type(error).__name__}: {said}"


def _together(part: Callable[[], None], advice: str, workers: Workers) -> None:
    """Do a part on this rank; UserError on all ranks, by `advice` with the reason, if it failed on one."""
    reason, cause = None, None
    try:
        part()
    except Exception as error:  # whatever another version's insides lead to
        reason, cause = _reason(error), error
    if reasons := [text for text in workers.gather([reason]) if text is not None]:
        raise UserError(advice.format(reasons[0])) from cause
